"""Rounds on a pool of a million images whose features are there: seconds and memory by stage.

    python -m benchmarks.large_pool [--images 1000000] [--rounds 3] [--folder DIR]

Catalogue rows are made up, without files or perceptual hashes, so near-duplicates are not grouped.
Features are those of garments in their 512 directions, each moved by half the difference of two
others of its class: new images with the spread of the real ones. 200 random labels (upper-body
garments against the rest). What is timed are whole rounds as a user runs them in a new process.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.catalogue import make_up_rows
from benchmarks.pools import FOLDER, tasks
from benchmarks.processes import in_own_process
from benchmarks.report import Line, print_report
from curator.api import create_workspace
from curator.rounds.run import run_rounds
from curator.settings.file import write_settings
from curator.workspace import open_workspace

SEEDS = 200
_CHUNK = 50_000


def main() -> None:
    """Measure, print a table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="the workspace is made here and stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="curator-large-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "workspace").exists():
            _make(folder, arguments.images)
        measured = in_own_process(_rounds, folder, arguments.rounds)
    lines = [
        Line(name=f"round {number}", median=seconds, unit="s", n=1)
        for number, seconds in enumerate(measured.seconds, 1)
    ]
    details = {
        "images": arguments.images,
        "processor_seconds": measured.processor_seconds,
        "peak_megabytes": measured.peak_megabytes,
    }
    print_report("large pool", lines, details)


def _make(folder: Path, images: int) -> None:
    """A workspace with made-up rows, imported features and random labels."""
    task = next(iter(tasks(FOLDER, ["upper-body garments"])))
    generator = np.random.default_rng(0)
    side = generator.random(images) < task.truth.mean()
    shape = (images, task.features.shape[1])
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float16, shape)
    of_class = [np.flatnonzero(task.truth == which) for which in (False, True)]
    for start in range(0, images, _CHUNK):
        part = side[start : start + _CHUNK]
        drawn = np.where(part, *(generator.choice(rows, (3, len(part))) for rows in of_class[::-1]))
        first, second, third = (task.features[rows].astype(np.float32) for rows in drawn)
        features[start : start + _CHUNK] = first + (second - third) / 2
    features.flush()
    workspace = create_workspace(
        folder / "workspace", positive="upper", negative="rest", recipe=None
    )
    make_up_rows(workspace._workspace.catalogue, images)
    with (folder / "index.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sha256"])
        writer.writerows([hashlib.sha256(b"%d" % number).hexdigest()] for number in range(images))
    workspace.import_features(
        name="made-up", array=folder / "features.npy", index=folder / "index.csv"
    )
    with (folder / "seeds.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        for number in generator.choice(images, SEEDS, replace=False).tolist():
            name = f"/bench/images/{number + 1:08d}.jpg"
            writer.writerow([name, "upper" if side[number] else "rest"])
    workspace.label(folder / "seeds.csv")
    chosen = {"classifier.model": "features:made-up", "classifier.imported_scale": "common"}
    write_settings(folder / "workspace", chosen)


def _rounds(folder: Path, rounds: int) -> tuple[float, ...]:
    """Seconds of each round; the first has what a new process loads."""
    workspace = open_workspace(folder / "workspace")
    started, seconds = time.perf_counter(), [0.0]
    for report in run_rounds(workspace, rounds=rounds):
        seconds.append(time.perf_counter() - started)
        print(f"round {report.round_id}: {report.seconds}", file=sys.stderr, flush=True)
    return tuple(np.diff(seconds).tolist())


if __name__ == "__main__":
    main()
