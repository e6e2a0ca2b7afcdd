"""Tables from Python: names of the manifest, Arrow for other libraries, pictures in a notebook."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import curator
from curator.api import WorkspaceApi
from curator.base.vocabulary import Label
from curator.export.rows import COLUMNS
from curator.workspace import Workspace
from tests.support.filled import decide, fill, promote
from tests.support.images import make_folder


def test_labels_and_scores_have_the_names_of_the_manifest(
    workspace: Workspace, tmp_path: Path
) -> None:
    ids = fill(workspace, tmp_path / "photos", [b"a.jpg", b"b.jpg", b"caf\xe9.jpg", b"d.jpg"])
    api = WorkspaceApi(workspace)
    assert len(api.labels()) == len(api.scores()) == 0
    assert api.labels().columns == list(COLUMNS)
    decide(workspace, [ids["a.jpg"]], Label.POSITIVE)
    rest = [image_id for name, image_id in ids.items() if name != "a.jpg"]
    promote(workspace, dict(zip(rest, (0.001, 0.999, 0.4), strict=True)))
    labels = api.labels().to_pandas()
    assert sorted(labels["label"]) == ["bad", "good", "good"]
    assert set(labels["origin"]) == {"seed", "promoted"}
    assert labels["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert any(path.startswith("file:") for path in labels["path"]), "no text can be these bytes"
    scores = api.scores()
    assert {row["probability"] for row in scores} >= {0.001, 0.999, 0.4}
    assert scores[-1]["sha256"] == list(scores)[-1]["sha256"]
    with pytest.raises(IndexError, match="row 9 of a table of"):
        scores[9]
    streamed = pa.RecordBatchReader.from_stream(scores).read_all()
    assert pd.DataFrame(streamed.to_pylist()).equals(pd.DataFrame(list(scores)))
    for table in (api.labels(), scores):
        frame = pl.DataFrame(table)
        assert frame.columns == list(table.columns) and frame.to_dicts() == list(table)
    assert pl.DataFrame(scores)["probability"].dtype == pl.Float64


@pytest.mark.slow
def test_a_notebook_shows_a_queue_with_its_pictures(tmp_path: Path) -> None:
    pictures = make_folder(tmp_path / "pictures & <b>", good=3, bad=2, seed=4)
    with curator.init(tmp_path / "ws") as workspace:
        workspace.add(pictures)
        queue = workspace.queue("random", size=5)
        page = queue._repr_html_()
        assert page.count("data:image/jpeg;base64,") == len(queue) == 5
        assert "pictures &amp; &lt;b&gt;" in page
        assert queue[0]["sha256"][:12] in page and queue[0]["sha256"] not in page
        assert queue[0]["path"].startswith(str(tmp_path))
        assert len(workspace.queue("conflict")) == 0
        assert "0 rows" in workspace.queue("conflict")._repr_html_()
    assert "5 rows" in queue._repr_html_()
