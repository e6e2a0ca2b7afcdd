"""Recipes on tasks, and fine-tuning beside frozen features.

    python -m benchmarks.finetune recipes [--labels 400] [--test 1000] [--seeds 3] [--only NAME]
    python -m benchmarks.finetune frozen [--labels 200,400,2000] [--seeds 3]
    python -m benchmarks.finetune speed [--device cuda] [--side 224] [--images 512]

Test pictures are never trained on nor used to stop. Recipes are those of `seeds/`, with the
network, size and settings that they name; where one validates on nothing, a fifth of the
labels does. `speed` trains with mixed precision off and on. With `--keep FILE` figures are
written as they come, and a second run goes on.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kept import Facts, Kept
from benchmarks.pictures import Drawn, accuracy, draw, fit
from benchmarks.report import Line, print_report
from curator.classifiers.networks.network import (
    NetworkRequest,
    build_network,
    parameter_count,
    resolve_input,
)
from curator.settings.file import read_settings
from curator.settings.sections import ClassifierSettings, TrainingSettings

SEEDS_FOLDER = Path(__file__).resolve().parent.parent / "seeds"
RECIPES = ("faces-comics-mlp", "glasses", "fake-faces", "good-faces", "faces-comics-cnn")
TASKS = "sneaker/boot,t-shirt/shirt,solar"
DEFAULT = "tf_efficientnet_lite0"
HEADS = 5
LOOKS = {200: 16, 400: 10, 2000: 3}
"""Epochs by labels when fine-tuning beside frozen features: some 3,000 to 5,000 looks each."""

Rows = NDArray[np.int64]
Figures = dict[str, Any]
Measured = Iterator[tuple[Facts, Figures]]


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("recipes", "frozen", "speed"))
    parser.add_argument("--labels", default="")
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--tasks", default="")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--images", type=int, default=512)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    kept = Kept(arguments.keep)
    measure = {"recipes": _recipes, "frozen": _frozen}
    if arguments.what == "speed":
        lines = _speed(arguments)
    else:
        lines = list(_lines(measure[arguments.what](arguments, kept)))
    shown = {name: str(value) for name, value in vars(arguments).items()}
    print_report(f"finetune {arguments.what}", lines, {"arguments": shown})


def _lines(found: Iterable[tuple[Facts, Figures]]) -> Iterator[Line]:
    """A line for each figure of each thing, over its seeds."""
    groups: dict[str, list[Figures]] = {}
    for asked, came in found:
        name = ", ".join(str(value) for key, value in asked.items() if key not in ("seed", "what"))
        groups.setdefault(name, []).append(came)
    for name, several in groups.items():
        right = [one["accuracy"] for one in several]
        spread = f" ± {statistics.stdev(right):.4f}" if len(right) > 1 else ""
        told = f"{name}: accuracy, mean {statistics.mean(right):.4f}{spread}"
        yield Line(name=told, median=statistics.median(right), unit="share", n=len(right))
        for key, unit in (("parameters", "weights"), ("seconds", "s"), ("speed", "images/s")):
            values = [one[key] for one in several if key in one]
            if values:
                middle = float(statistics.median(values))
                yield Line(name=f"{name}: {key}", median=middle, unit=unit, n=len(values))


def _speed(arguments: argparse.Namespace) -> list[Line]:
    """Images a second in training steps, without the first epoch, which warms up."""
    request = NetworkRequest(model=DEFAULT, image_size=arguments.side)
    drawn = draw("t-shirt/shirt", arguments.images, arguments.side, 3, 0)
    plain = TrainingSettings(epochs=2, patience=0, validation_share=0.0)
    found: dict[str, list[float]] = {"off": [], "on": []}
    for seed in range(arguments.seeds):
        for precision, speeds in found.items():
            recipe = plain.model_copy(update={"mixed_precision": precision})
            trained, _ = fit(
                request, recipe, drawn, arguments.images, seed=seed, device=arguments.device
            )
            warm, whole = (record.seconds for record in trained.history)
            speeds.append(arguments.images / (whole - warm))
    usual = statistics.median(found["off"])
    return [
        Line(name=f"{DEFAULT} at {arguments.side} pixels on {arguments.device},"
             f" mixed precision {precision}", median=statistics.median(speeds), unit="images/s",
             n=len(speeds), ratio=statistics.median(speeds) / usual, beside="off")
        for precision, speeds in found.items()
    ]  # fmt: skip


def _recipes(arguments: argparse.Namespace, kept: Kept) -> Measured:
    labels = int(arguments.labels or 400)
    names = arguments.only.split(",") if arguments.only else RECIPES
    for name in names:
        request, recipe = _recipe(name, arguments.epochs)
        for seed in range(arguments.seeds):
            for task in (arguments.tasks or TASKS).split(","):
                asked = {"what": "recipe", "recipe": name, "task": task, "labels": labels,
                         "epochs": recipe.epochs, "seed": seed}  # fmt: skip

                def measure() -> Figures:
                    return _recipe_on(task, request, recipe, labels, arguments.test, seed)  # noqa: B023

                yield asked, kept.figures(asked, measure)


def _recipe(name: str, most_epochs: int) -> tuple[NetworkRequest, TrainingSettings]:
    settings = read_settings(SEEDS_FOLDER / name / "curator.toml")
    recipe = settings.training
    recipe = recipe.model_copy(
        update={
            "validation_share": recipe.validation_share or 0.2,
            "epochs": min(recipe.epochs, most_epochs or recipe.epochs),
        }
    )
    model = settings.classifier.model
    side = 64 if model == DEFAULT else None
    return NetworkRequest(model=model, image_size=side, dropout=recipe.dropout), recipe


def _recipe_on(
    task: str, request: NetworkRequest, recipe: TrainingSettings, labels: int, test: int, seed: int
) -> Figures:
    needed = resolve_input(request)
    drawn = draw(task, labels + test, needed.side, needed.channels, seed)
    trained, seconds = fit(request, recipe, drawn, labels, seed=seed)
    return {
        "accuracy": accuracy(trained, drawn, np.arange(labels, len(drawn.positive))),
        "parameters": parameter_count(trained.network),
        "seconds": seconds,
        "speed": trained.images_per_second,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
    }


def _frozen(arguments: argparse.Namespace, kept: Kept) -> Measured:
    """The same labels: heads on the encoder's features, and the encoder trained with them."""
    counts = [int(one) for one in (arguments.labels or "200,400,2000").split(",")]
    request = NetworkRequest(model=DEFAULT, image_size=64)
    for seed in range(arguments.seeds):
        for task in (arguments.tasks or "t-shirt/shirt,solar").split(","):
            drawn = draw(task, max(counts) + arguments.test, 64, 3, seed)
            for count in counts:
                rest = np.arange(count, min(count + arguments.test, len(drawn.positive)))
                epochs = arguments.epochs or LOOKS.get(count, 8)
                recipe = TrainingSettings(
                    epochs=epochs, learning_rate=5e-4, batch_size=32, patience=0
                )

                def heads() -> Figures:
                    return {"accuracy": _heads_accuracy(request, drawn, count, rest)}  # noqa: B023

                def tuned() -> Figures:
                    trained, seconds = fit(request, recipe, drawn, count, seed=seed)  # noqa: B023
                    return {"accuracy": accuracy(trained, drawn, rest), "seconds": seconds}  # noqa: B023

                asked = {"what": "frozen", "task": task, "labels": count, "seed": seed}
                for way, measure in (("heads", heads), (f"fine-tuned, {epochs} epochs", tuned)):
                    if arguments.only and not way.startswith(arguments.only):
                        continue
                    yield {**asked, "way": way}, kept.figures({**asked, "way": way}, measure)


def _heads_accuracy(request: NetworkRequest, drawn: Drawn, count: int, rest: Rows) -> float:
    """Five heads, each on four fifths of the labels, as a round fits them; their mean."""
    from curator.classifiers.heads.label_weights import TeachingLabels, weigh_labels
    from curator.classifiers.heads.model import standardize
    from curator.classifiers.heads.solver import fit_heads

    x = _features(request, drawn)
    z = standardize(len(x), x.sum(0).astype(float), np.square(x).sum(0).astype(float)).apply(x)
    positive, folds = drawn.positive[:count], np.arange(count) % HEADS
    known = TeachingLabels(
        features=z[:count],
        positive=positive,
        folds=folds,
        confirmed=np.zeros(count, dtype=np.bool_),
        measures=np.ones(count, dtype=np.bool_),
    )
    reading = weigh_labels(known, ClassifierSettings(folds=HEADS))
    weights = reading.trust * (folds[:, None] != np.arange(HEADS))
    fitted = fit_heads(z[:count], positive, weights, regularization=reading.noise.regularization)
    return float(((fitted.margins(z[rest]).mean(axis=1) > 0) == drawn.positive[rest]).mean())


_KNOWN_FEATURES: list[tuple[Drawn, NDArray[np.float32]]] = []


def _features(request: NetworkRequest, drawn: Drawn) -> NDArray[np.float32]:
    """The encoder's features of all pictures, once for each draw."""
    import torch

    if _KNOWN_FEATURES and _KNOWN_FEATURES[0][0] is drawn:
        return _KNOWN_FEATURES[0][1]
    network = build_network(request, resolve_input(request), seed=0).eval()
    network.network.reset_classifier(0)  # type: ignore[operator]
    found = []
    with torch.inference_mode():
        for start in range(0, len(drawn.positive), 128):
            rows = np.arange(start, min(start + 128, len(drawn.positive)))
            part = torch.from_numpy(drawn.pixels.gather(rows)).permute(0, 3, 1, 2)
            found.append(network.network((part.float() / 255 - network.mean) / network.deviation))
    _KNOWN_FEATURES[:] = [(drawn, torch.cat(found).numpy())]
    return _KNOWN_FEATURES[0][1]


if __name__ == "__main__":
    main()
