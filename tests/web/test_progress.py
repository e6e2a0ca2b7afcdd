"""Long work behind a request of the page is shown while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curator.review.pictures import Pictures
from curator.web.progress import PageProgress
from curator.web.visitor import FirstQueue, Visitor
from curator.workspace import open_workspace
from tests.support.command import curator
from tests.support.images import make_folder


class RecordedProgress(PageProgress):
    """Remembers every text that the page could have asked for."""

    texts: list[str]

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__.setdefault("texts", []).append(value)
        super().__setattr__(name, value)


@pytest.mark.slow
def test_choosing_a_queue_that_encodes_new_images_shows_how_far_it_is(
    labelled: Path, tmp_path: Path
) -> None:
    curator("-q", "-w", labelled, "add", make_folder(tmp_path / "more", good=4, bad=3, seed=77))
    workspace = open_workspace(labelled)
    with workspace.catalogue:
        pictures = Pictures(workspace)
        visitor = Visitor(workspace, pictures)
        visitor.progress = RecordedProgress()
        visitor.begin(FirstQueue(queue="odd"), "anna")
        visitor.progress.texts.clear()
        answer = visitor.answer("0" * 16, "queue", {"queue": "diverse"})
        assert answer["queue"] == "diverse"
        texts = visitor.progress.texts
        assert any(text.startswith("encode: ") and " images" in text for text in texts)
        assert visitor.progress.text == "", "nothing runs any more"
        visitor.leave()
        pictures.close()
