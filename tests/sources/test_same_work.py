"""The same 300 pictures from `add` to `export`, from a folder, an object store and a web server."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import pytest

from curator.catalogue import files, images
from curator.catalogue.rounds import list_rounds
from curator.workspace import open_workspace
from tests.support import encoder
from tests.support.command import curator
from tests.support.images import make_folder
from tests.support.labelled import LOOSE, first, suffix
from tests.support.servers import object_store, web_server


def work(home: Path, source: str | Path) -> dict[str, Any]:
    """From `init` to an exported folder; what must be the same wherever the pictures lie."""
    home.mkdir()
    weights = encoder.write_weights(home.parent / "tiny.safetensors")
    at = ("-w", home / "ws")
    curator("init", home / "ws")
    curator(*at, "config", *encoder.settings(weights), "promotion.promote_above=0.8", *LOOSE)
    curator("-q", *at, "add", str(source), "--source", "pictures")
    seeds = home / "seeds.csv"
    names = [f"{name}/{name}-{n:04d}.{suffix(n)},{name}" for name, n in first(24)]
    seeds.write_text("path,label\n" + "\n".join(f"{source}/{name}" for name in names) + "\n")
    curator(*at, "label", seeds)
    curator("-q", *at, "round")
    curator("-q", *at, "export", home / "manifest.csv")
    curator("-q", *at, "export", home / "folder", "--format", "imagefolder")
    assert not curator(*at, "verify", "--files", "--json").json()["findings"]
    with (home / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["path"].startswith(f"{source}/") for row in rows)
    exported = {
        path.relative_to(home / "folder").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (home / "folder").rglob("*")
        if path.suffix in (".jpg", ".png")
    }
    with open_workspace(home / "ws").catalogue as catalogue:
        (ids,) = images.image_chunks(catalogue)
        details = images.image_details(catalogue, ids.tolist())
        record = list_rounds(catalogue)[-1]
        previews = len(files.preview_places(catalogue, ids.tolist()))
    features = sorted((home / "ws" / ".curator" / "features").rglob("*.f16")) or sorted(
        path for path in (home / "ws" / ".curator" / "features").rglob("*") if path.is_file()
    )
    return {
        "rows": [{**row, "path": row["path"].removeprefix(f"{source}/")} for row in rows],
        "content": [details[image_id].sha256 for image_id in sorted(details)],
        "features": [hashlib.sha256(path.read_bytes()).hexdigest() for path in features],
        "scores": record.score_digest,
        "previews": previews,
        "exported": exported,
    }


@pytest.mark.slow
def test_300_pictures_give_the_same_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = make_folder(tmp_path / "made", good=150, bad=150, seed=5)
    local = work(tmp_path / "local", pictures)
    assert len(local["content"]) == local["previews"] == 300
    assert len(local["exported"]) > 150 and local["features"] and local["scores"]
    with object_store(monkeypatch) as store:
        store.upload(pictures)
        assert work(tmp_path / "s3", store.url) == local
    with web_server(tmp_path / "web") as server:
        server.upload(pictures)
        assert work(tmp_path / "http", server.url) == local
