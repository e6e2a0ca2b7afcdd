"""Eight rounds on cached features beside scikit-learn's self-training on the final layer's.

    python -m benchmarks.rounds [--images 70000] [--rounds 8] [--repeats 3] [--folder DIR]

Footwear against the rest of Fashion-MNIST with 200 random labels. The workspace is made
and encoded once, in `--folder` if one is given. What is timed are whole rounds as a user
runs them, catalogue, files and the search for neighbours included, beside the fit of
`SelfTrainingClassifier` with `LogisticRegression` and as many iterations on the 1,280 numbers of
the final layer, in turn; both by the clock and in seconds of the processor. The first repetition
loads what a new process loads. Errors are compared at the same coverage: of our ranking, as many
images are taken as scikit-learn labelled.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Line, median, print_report
from curator.api import WorkspaceApi, create_workspace, open_workspace
from curator.base.progress import SILENT
from curator.base.vocabulary import Origin, code_of
from curator.catalogue.images import image_files
from curator.catalogue.pool import current_scores, pool_chunks
from curator.encoding.encode import ready_features
from curator.settings.file import write_settings
from tests.support import fashion

SEEDS = 200


def main() -> None:
    """Measure, print a table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=70_000)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep pictures and workspace here")
    arguments = parser.parse_args()
    with _folder(arguments.folder) as folder:
        workspace, truth = _workspace(folder, arguments.images)
        ours: list[tuple[float, float]] = []
        theirs: list[tuple[float, float]] = []
        compared: dict[str, float] = {}
        for _ in range(arguments.repeats):
            ours.append(_our_rounds(workspace, arguments.rounds))
            seconds, compared = _their_rounds(workspace, truth, arguments.rounds)
            theirs.append(seconds)
    lines = []
    for index, kind in enumerate(("by the clock", "of the processor")):
        own, other = [pair[index] for pair in ours], [pair[index] for pair in theirs]
        ratio = median([a / b for a, b in zip(own, other, strict=True)])
        name = f"curator, {arguments.rounds} rounds, {kind}"
        lines += [
            Line(name=name, median=median(own), unit="s", n=len(own), ratio=ratio,
                 beside="scikit-learn"),
            Line(name=f"scikit-learn, {kind}", median=median(other), unit="s", n=len(other)),
        ]  # fmt: skip
    lines += [Line(name=name, median=value, unit="share", n=1) for name, value in compared.items()]
    print_report("rounds", lines, {"images": arguments.images, "seeds": SEEDS})


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="curator-rounds-") as temporary:
        yield Path(temporary)


def _workspace(folder: Path, images: int) -> tuple[WorkspaceApi, dict[str, bool]]:
    """A workspace with all images encoded and 200 random labels; and the truth by file name."""
    truth = _write_pictures(folder / "pictures", images)
    if not (folder / "workspace" / "curator.toml").exists():
        _say("adding pictures")
        workspace = create_workspace(
            folder / "workspace", positive="footwear", negative="rest", recipe=None
        )
        workspace.add(folder / "pictures")
        workspace.label(_write_seeds(folder, truth))
    else:
        workspace = open_workspace(folder / "workspace")
    for layers in ("final", "stages"):
        _say(f"encoding what is new: {layers}")
        workspace = _with_layers(workspace, layers)
        workspace.encode()
    return workspace, truth


def _with_layers(workspace: WorkspaceApi, layers: str) -> WorkspaceApi:
    root = workspace._workspace.root
    write_settings(root, {"classifier.layers": layers})
    return open_workspace(root)


def _write_pictures(folder: Path, images: int) -> dict[str, bool]:
    from PIL import Image

    truth = {}
    folder.mkdir(exist_ok=True)
    count = 0
    for part in ("train", "t10k"):
        pictures, labels = fashion.load(part)
        for index in range(min(len(pictures), images - count)):
            name = f"{part}-{index:05d}.png"
            truth[name] = fashion.CLASSES[labels[index]] in fashion.FOOTWEAR
            if not (folder / name).exists():
                Image.fromarray(pictures[index]).save(folder / name, compress_level=1)
        count += len(pictures)
        if count >= images:
            break
    return truth


def _write_seeds(folder: Path, truth: dict[str, bool]) -> Path:
    chosen = np.random.default_rng(0).permutation(sorted(truth))[:SEEDS]
    path = folder / "seeds.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        for name in chosen:
            writer.writerow([f"pictures/{name}", "footwear" if truth[name] else "rest"])
    return path


def _our_rounds(workspace: WorkspaceApi, rounds: int) -> tuple[float, float]:
    """Seconds by the clock and of the processor; neighbours are searched for anew."""
    workspace.rollback(to=0)
    shutil.rmtree(workspace._workspace.folder("graphs"))
    start, used = time.perf_counter(), time.process_time()
    for report in workspace.round(rounds=rounds):
        _say(f"round {report.round_id}: {report.seconds}")
    return time.perf_counter() - start, time.process_time() - used


def _their_rounds(
    workspace: WorkspaceApi, truth: dict[str, bool], rounds: int
) -> tuple[tuple[float, float], dict[str, float]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.semi_supervised import SelfTrainingClassifier

    features, positive, probability, seeds = _arrays(workspace, truth)
    targets = np.where(seeds, positive, -1).astype(int)
    classifier = SelfTrainingClassifier(LogisticRegression(), threshold=0.99, max_iter=rounds)
    start, used = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(features, targets)
    seconds = time.perf_counter() - start, time.process_time() - used
    labelled = (classifier.transduction_ != -1) & ~seeds
    their_error = float((classifier.transduction_[labelled] != positive[labelled]).mean())
    pool = np.flatnonzero(~seeds)
    surest = pool[np.argsort(-np.abs(probability[pool] - 0.5), kind="stable")[: labelled.sum()]]
    our_error = float(((probability[surest] > 0.5) != positive[surest]).mean())
    return seconds, {
        "scikit-learn coverage": float(labelled.sum() / len(pool)),
        "scikit-learn error": their_error,
        "curator error at that coverage": our_error,
        "curator coverage at its own thresholds": workspace.status().counts.coverage,
        "curator error at its own thresholds": _promoted_error(probability, positive, seeds),
    }


def _promoted_error(
    probability: NDArray[np.float64], positive: NDArray[np.bool_], seeds: NDArray[np.bool_]
) -> float:
    promoted = ((probability > 0.99) | (probability < 0.03)) & ~seeds
    return float(((probability[promoted] > 0.5) != positive[promoted]).mean())


def _arrays(
    workspace: WorkspaceApi, truth: dict[str, bool]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    """Standardised features of the final layer, truth, our probabilities, and which are seeds."""
    other = _with_layers(workspace, "final")._workspace
    try:
        features = ready_features(other, SILENT)
        chunks = list(pool_chunks(other.catalogue, features.feature_set_id))
    finally:
        _with_layers(workspace, "stages")
    ids = np.concatenate([chunk.image_ids for chunk in chunks])
    values = features.gather(np.concatenate([chunk.feature_rows for chunk in chunks]))
    values = values.astype(np.float32)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    names = [
        Path(os.fsdecode(file.path)).name
        for file in image_files(other.catalogue, ids.tolist()).values()
    ]
    seeds = np.concatenate([chunk.origin == code_of(Origin.SEED) for chunk in chunks])
    positive = np.array([truth[name] for name in names])
    return values, positive, current_scores(other.catalogue, ids), seeds


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
