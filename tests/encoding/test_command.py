"""`encode` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.command import curator, manifest_labels

pytestmark = pytest.mark.slow


def test_encode_estimates_then_encodes_once(labelled: Path) -> None:
    estimate = curator("-w", labelled, "encode", "--dry-run")
    assert "60 images to encode" in estimate.stdout
    first = curator("-q", "-w", labelled, "encode", "--json").json()
    assert (first["encoded"], first["known"]) == (60, 0)
    second = curator("-q", "-w", labelled, "encode", "--json").json()
    assert (second["encoded"], second["known"]) == (0, 60)


def test_own_features_are_imported_and_used(labelled: Path, tmp_path: Path) -> None:
    rows = curator("-q", "-w", labelled, "queue", "random", "--size", "100", "--json").json()
    curator("-q", "-w", labelled, "export", tmp_path / "seeds.jsonl")
    rows += [json.loads(line) for line in (tmp_path / "seeds.jsonl").read_text().splitlines()]
    rng = np.random.default_rng(0)
    good = np.array(["/good/" in row["path"] for row in rows])
    np.save(
        tmp_path / "own.npy", (rng.normal(size=(len(rows), 4)) + 6 * good[:, None]).astype("f4")
    )
    index = tmp_path / "rows.csv"
    index.write_text("sha256\n" + "\n".join(row["sha256"] for row in rows) + "\n")
    source = ("--from", tmp_path / "own.npy", "--index", index, "--name", "mine")
    said = curator("-w", labelled, "encode", *source)
    assert "features:mine: 4 features of 60 images" in said.stdout
    assert curator("-w", labelled, "encode", *source, "--json").json()["unchanged"] is True
    curator("-w", labelled, "config", "classifier.model=features:mine")
    curator("-q", "-w", labelled, "round")
    promoted = [
        (path, label)
        for path, (label, origin) in manifest_labels(labelled).items()
        if origin == "promoted"
    ]
    assert promoted
    assert all(f"/{label}/" in path for path, label in promoted)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--index", "x.csv"], "need --from"),
        (["--from", "x.npy"], "needs --index and --name"),
        (
            ["--from", "x.npy", "--index", "x.csv", "--name", "a", "--dry-run"],
            "do not go with --from",
        ),
        (["--from", "x.npy", "--index", "x.csv", "--name", "a/b"], "is not a name for features"),
    ],
)
def test_encode_refuses_what_makes_no_sense(
    labelled: Path, arguments: list[str], says: str
) -> None:
    assert says in curator("-w", labelled, "encode", *arguments, expect=2).stderr
