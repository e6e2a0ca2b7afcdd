"""`tune` and `curve` on a real task: does the search help, and is what the curves say true?

    python -m benchmarks.searching tune [--labels 1200] [--trials 16] [--seeds 3]
    python -m benchmarks.searching curve [--labels 3000] [--repetitions 5] [--plots FOLDER]

T-shirts and shirts of Fashion-MNIST, in a workspace as a user makes it, with the recipe
`faces-comics-mlp` and a test split that only the winner, and what is set beside it, meets.
`curve` learns from a part of the labels and says what all of them would give; the network
is then trained on more labels than the curve has seen, which shows how the guess came out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import Line, median, print_report
from curator.api import WorkspaceApi, create_workspace, open_workspace
from curator.settings.file import write_settings
from curator.tuning.curve import curve_of_epochs, curve_of_sizes
from curator.tuning.trials import error_on, study_labels, train_on, with_settings
from curator.tuning.tune import tune
from tests.support import fashion

RECIPE = "faces-comics-mlp"
RATES = "training.learning_rate=log:0.0001..0.3"
CLASSES = {"face": "t-shirt", "comic": "shirt"}


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("tune", "curve"))
    parser.add_argument("--labels", type=int, default=0)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--plots", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.what == "tune":
            lines = _tuned(Path(scratch), arguments)
        else:
            lines = _curved(Path(scratch), arguments)
    print_report(arguments.what, lines, {"recipe": RECIPE, "task": "t-shirt vs. shirt"})


def _tuned(scratch: Path, arguments: argparse.Namespace) -> list[Line]:
    errors: dict[str, list[float]] = {"winner": [], "default": [], "worst tried": []}
    rates, seconds = [], []
    for seed in range(arguments.seeds):
        made = _workspace(scratch / str(seed), arguments.labels or 1200, seed, test=0.4)
        with made:
            report = tune(made._workspace, space=[RATES], search="random", trials=arguments.trials)
            assert report.winner is not None and report.test is not None
            tried = [one for one in report.tried if one.loss is not None]
            worst = max(tried, key=lambda one: one.loss or 0.0)
            errors["winner"].append(report.test.errors / report.test.sample)
            errors["default"].append(_test_error(made, 0.001))
            errors["worst tried"].append(
                _test_error(made, float(worst.settings["training.learning_rate"]))
            )
            rates.append(float(report.winner["training.learning_rate"]))
            seconds.append(sum(one.seconds for one in tried))
            _say(f"seed {seed}: rates {rates[-1]:.2g}, worst {worst.settings}, {errors}")
    lines = [
        Line(name=f"test error, {name} ({', '.join(f'{one:.3f}' for one in found)})",
             median=median(found), unit="share", n=len(found))
        for name, found in errors.items()
    ]  # fmt: skip
    found = ", ".join(f"{rate:.2g}" for rate in rates)
    lines.append(Line(name=f"learning rate of the winner ({found})", median=median(rates),
                      unit="", n=len(rates)))  # fmt: skip
    lines.append(Line(name="training of all trials", median=median(seconds), unit="s",
                      n=len(seconds)))  # fmt: skip
    return lines


def _test_error(made: WorkspaceApi, rate: float) -> float:
    """Of the recipe with this rate, trained as `tune` trains its winner, epochs by validation."""
    changed = with_settings(made._workspace, {"training.learning_rate": rate})
    labels, seed = study_labels(changed, chooses=True), changed.settings.runtime.seed
    train, validation = labels.divided(changed.settings.training.validation_share or 0.2, seed)
    epochs = train_on(changed, train, validation, seed=seed).best_epoch
    trained = train_on(changed, labels.train, None, seed=seed, epochs=epochs, patience=0)
    found = error_on(changed, trained, labels.test)
    return found.errors / found.sample


def _curved(scratch: Path, arguments: argparse.Namespace) -> list[Line]:
    count = arguments.labels or 3000
    with _workspace(scratch / "small", count, 0, test=0.0) as made:
        epochs = curve_of_epochs(made._workspace, epochs=40, repetitions=arguments.repetitions)
        sizes = curve_of_sizes(made._workspace, repetitions=arguments.repetitions)
        for name, curve in (("epochs", epochs), ("sizes", sizes)):
            if arguments.plots is not None:
                shutil.copyfile(curve.plot, arguments.plots / f"curve-{name}.png")
    _say(epochs.verdict)
    _say(sizes.verdict)
    more = {size: found for size, found in sizes.predicted.items() if size <= 9000}
    lines = [
        Line(name=f"epochs that are enough, of 40: {epochs.verdict}", median=epochs.enough,
             unit="epochs", n=epochs.repetitions),
        Line(name=f"accuracy with {sizes.sizes[-1]:,} labels: {sizes.verdict}",
             median=1 - sizes.error[-1], unit="share", n=sizes.repetitions),
    ]  # fmt: skip
    for size, (expected, low, high) in more.items():
        told = f"said of {size:,} labels ({1 - high:.4f} to {1 - low:.4f})"
        lines.append(Line(name=told, median=1 - expected, unit="share", n=sizes.repetitions))
        with _workspace(scratch / str(size), size + 2000, 1, test=0.0) as made:
            found = [_accuracy_at(made, size, seed) for seed in range(arguments.repetitions)]
        told = f"came out with {size:,} labels"
        lines.append(Line(name=told, median=median(found), unit="share", n=len(found)))
    return lines


def _accuracy_at(made: WorkspaceApi, size: int, seed: int) -> float:
    """Accuracy on all other labels, which also choose the epoch, as `curve` measures."""
    labels = study_labels(made._workspace, chooses=False).train
    chosen = np.random.default_rng(seed).permutation(len(labels)) < size
    rest = labels.where(~chosen)
    trained = train_on(made._workspace, labels.where(chosen), rest, seed=seed)
    assert trained.best.validation_error is not None
    return 1 - trained.best.validation_error


def _workspace(folder: Path, labels: int, seed: int, *, test: float) -> WorkspaceApi:
    """A workspace of the recipe with `labels` labelled pictures, half of each class."""
    pictures, numbers = fashion.load("train")
    made = create_workspace(folder / "workspace", positive=None, negative=None, recipe=RECIPE)
    settings = {"splits.test_share": str(test), "runtime.threads": "1", "runtime.seed": str(seed)}
    write_settings(made.root, settings)
    made.close()
    made = open_workspace(folder / "workspace")
    rng = np.random.default_rng(seed)
    for label, name in CLASSES.items():
        root = folder / label
        root.mkdir()
        of_class = np.flatnonzero(numbers == fashion.CLASSES.index(name))
        for index in rng.permutation(of_class)[: labels // 2]:
            Image.fromarray(pictures[index]).save(root / f"{index:05d}.png")
        made.add(root, label=label)
    return made


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
