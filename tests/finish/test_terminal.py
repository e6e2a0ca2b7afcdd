"""`curator finish` in a real terminal: one review after the other, a round beside it, a check."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import pytest

from curator.catalogue import rounds
from curator.catalogue.counts import counts
from curator.workspace import open_workspace
from tests.support.labelled import make_unlabelled
from tests.tui.test_terminal_session import PATIENCE, in_tmux


@pytest.mark.slow
def test_a_pool_is_finished_by_keys_alone(tmux: str, tmp_path: Path) -> None:
    pictures = make_unlabelled(tmp_path)
    # A blind picture is named by the first digits of its hash.
    class_of = {
        hashlib.sha256(file.read_bytes()).hexdigest()[:12]: file.parent.name
        for file in pictures.rglob("*.*")
    }
    asked: list[str] = []
    shown, since = "", time.monotonic()
    with in_tmux(tmux, tmp_path, "-w", str(tmp_path / "ws"), "finish", "--error", "0.2") as session:
        while "ended" not in (seen := session.screen()):
            assert time.monotonic() < since + PATIENCE, seen
            name = re.search(r"(good|bad)-\d+\.\w+|image ([0-9a-f]{12})", seen)
            header = re.match(r"\s*(\w+) .* (\d+) done", seen)
            if name is None or header is None or shown == name[0] + header[1] + header[2]:
                time.sleep(0.1)
                continue
            time.sleep(0.1)
            if session.screen() != seen:
                continue  # half of it was drawn: its name may be that of the picture before
            shown, since = name[0] + header[1] + header[2], time.monotonic()
            if [header[1]] != asked[-1:] or header[2] == "0":
                asked.append(header[1])
                # A review that has just opened throws away keys that were typed before it.
                time.sleep(2.0)
            session.keys("a" if (name[1] or class_of[name[2]]) == "good" else "x")
        seen = " ".join(session.wait_for("ended 0").split())
    assert asked[:2] == ["diverse", "random"]
    assert "Every image has a label: " in seen
    assert "Estimate, no certificate: 0.00% of the pool is wrong" in seen
    assert "Next: Every image has a label" in seen
    with open_workspace(tmp_path / "ws").catalogue as catalogue:
        present = counts(catalogue)
        assert present.unlabelled == 0 and present.promoted > 0
        assert any(record.likelier is not None for record in rounds.list_rounds(catalogue))
