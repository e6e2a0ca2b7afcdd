"""Recipes on tasks, fine-tuning beside frozen features, and consistency beside self-training.

    python -m benchmarks.finetune recipes [--labels 1000] [--test 1000] [--seeds 3] [--only NAME]
    python -m benchmarks.finetune frozen [--labels 200,400,2000] [--seeds 3]
    python -m benchmarks.finetune consistency [--labels 200,400] [--seeds 3]

Tasks are pairs of Fashion-MNIST and the solar cells on which all raters agreed. Every run
draws its labels and its test images anew; the test images are never trained on nor used to
stop. Recipes are those of `seeds/`, with the network, size and settings that they name,
but trained with a fifth of the labels as validation.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import Line, print_report
from curator.core.validation import validation_members
from curator.learn.finetune.batches import PseudoLabels, training_set
from curator.learn.finetune.feeding import Labelled, margins_of
from curator.learn.finetune.network import (
    NetworkRequest,
    build_network,
    parameter_count,
    resolve_input,
)
from curator.learn.finetune.recipe import Recipe
from curator.learn.finetune.run import TrainedNetwork
from curator.learn.finetune.train import train_network
from curator.settings import read_settings
from curator.workflows.finetune import HeldPixels
from tests.support import fashion

SEEDS_FOLDER = Path(__file__).resolve().parent.parent / "seeds"
RECIPES = ("faces-comics-mlp", "faces-comics-cnn", "glasses", "fake-faces", "good-faces")
TASKS = ("footwear", "t-shirt/shirt", "solar")
DEFAULT = "tf_efficientnet_lite0"

Flags = NDArray[np.bool_]


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("recipes", "frozen", "consistency"))
    parser.add_argument("--labels", default="")
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--pool", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=0)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    lines = {"recipes": _recipes, "frozen": _frozen, "consistency": _consistency}[arguments.what](
        arguments
    )
    print_report(f"finetune {arguments.what}", lines, {"arguments": vars(arguments)})


def _recipes(arguments: argparse.Namespace) -> list[Line]:
    labels, lines = int(arguments.labels or 1000), []
    for name in RECIPES:
        if arguments.only and name not in arguments.only.split(","):
            continue
        settings = read_settings(SEEDS_FOLDER / name / "curator.toml")
        recipe = Recipe(**settings.training.model_dump())
        if not recipe.validation_share:
            recipe = dataclasses.replace(recipe, validation_share=0.2)
        if arguments.epochs:
            recipe = dataclasses.replace(recipe, epochs=min(recipe.epochs, arguments.epochs))
        request = _request(settings.classifier.model, recipe)
        for task in arguments.tasks.split(","):
            found = [
                _accuracy(task, request, recipe, labels, arguments.test, seed)
                for seed in range(arguments.seeds)
            ]
            lines += _lines(f"{name}, {task}", found)
    return lines


def _request(model: str, recipe: Recipe) -> NetworkRequest:
    side = 64 if model == DEFAULT else None
    return NetworkRequest(model=model, image_size=side, dropout=recipe.dropout)


def _lines(name: str, found: list[tuple[float, TrainedNetwork, float]]) -> list[Line]:
    accuracy = [one[0] for one in found]
    speed = [one[1].images_per_second for one in found]
    size = parameter_count(found[0][1].network)
    spread = f"±{np.std(accuracy, ddof=1) if len(accuracy) > 1 else 0:.4f}"
    _say(f"{name}: {np.mean(accuracy):.4f} {spread} {size:,} {np.median(speed):.0f}/s")
    return [
        Line(name=f"{name}: accuracy (mean {spread})", median=float(np.mean(accuracy)),
             unit="share", n=len(found)),
        Line(name=f"{name}: parameters", median=float(size), unit="weights", n=1),
        Line(name=f"{name}: training", median=float(np.median([one[2] for one in found])),
             unit="s", n=len(found)),
        Line(name=f"{name}: speed", median=float(np.median(speed)), unit="images/s", n=len(found)),
    ]  # fmt: skip


def _accuracy(
    task: str, request: NetworkRequest, recipe: Recipe, labels: int, test: int, seed: int
) -> tuple[float, TrainedNetwork, float]:
    needed = resolve_input(request)
    pixels, positive = _draw(task, labels + test, needed.side, needed.channels, seed)
    rows, known = np.arange(labels), positive[:labels]
    trained, seconds = _fit(request, recipe, pixels, rows, known, seed)
    odds = margins_of(trained.network, pixels, np.arange(labels, len(positive)))
    return float(((odds > 0) == positive[labels:]).mean()), trained, seconds


def _fit(
    request: NetworkRequest,
    recipe: Recipe,
    pixels: HeldPixels,
    rows: NDArray[np.int64],
    positive: Flags,
    seed: int,
    pseudo: PseudoLabels | None = None,
    unlabelled: NDArray[np.int64] | None = None,
) -> tuple[TrainedNetwork, float]:
    watched = validation_members(rows, positive, recipe.validation_share, seed)
    extra = {} if pseudo is None else {"pseudo": pseudo}
    data = training_set(
        rows[~watched],
        positive[~watched],
        **extra,
        balanced=True,
        pseudo_share=0.5,
        human_share=recipe.human_share,
    )
    network = build_network(request, resolve_input(request), seed=seed)
    start = time.perf_counter()
    trained = train_network(
        network,
        data,
        pixels,
        recipe,
        validation=Labelled(rows=rows[watched], positive=positive[watched]),
        unlabelled=unlabelled,
        seed=seed,
    )
    return trained, time.perf_counter() - start


def _frozen(arguments: argparse.Namespace) -> list[Line]:
    """The same labels: heads on the encoder's features, and the encoder trained with them."""
    from curator.learn.heads import fit_heads
    from curator.learn.model import standardize

    lines = []
    request = NetworkRequest(model=DEFAULT, image_size=64)
    needed = resolve_input(request)
    recipe = Recipe(epochs=arguments.epochs or 8, learning_rate=5e-4, patience=4)
    for count in [int(one) for one in (arguments.labels or "200,400,2000").split(",")]:
        for task in arguments.tasks.split(","):
            heads, tuned = [], []
            for seed in range(arguments.seeds):
                pixels, positive = _draw(task, count + arguments.test, needed.side, 3, seed)
                x = _features(request, pixels)
                scale = standardize(
                    len(x), x.sum(0).astype(float), np.square(x).sum(0).astype(float)
                )
                z = scale.apply(x)
                fitted = fit_heads(
                    z[:count],
                    positive[:count],
                    np.ones((count, 1), np.float32),
                    regularization=0.01,
                )
                guess = fitted.margins(z[count:])[:, 0] > 0
                heads.append(float((guess == positive[count:]).mean()))
                trained, _ = _fit(request, recipe, pixels, np.arange(count), positive[:count], seed)
                odds = margins_of(trained.network, pixels, np.arange(count, len(positive)))
                tuned.append(float(((odds > 0) == positive[count:]).mean()))
            _say(f"{task} {count}: frozen {np.mean(heads):.4f} finetuned {np.mean(tuned):.4f}")
            lines += [
                Line(name=f"{task}, {count} labels, frozen", median=float(np.mean(heads)),
                     unit="accuracy", n=len(heads)),
                Line(name=f"{task}, {count} labels, fine-tuned", median=float(np.mean(tuned)),
                     unit="accuracy", n=len(tuned)),
            ]  # fmt: skip
    return lines


def _features(request: NetworkRequest, pixels: HeldPixels) -> NDArray[np.float32]:
    import torch

    network = build_network(request, resolve_input(request), seed=0).eval()
    network.network.reset_classifier(0)  # type: ignore[operator]
    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels.pixels), 128):
            part = torch.from_numpy(pixels.pixels[start : start + 128]).permute(0, 3, 1, 2)
            inputs = (part.float() / 255 - network.mean) / network.deviation
            found.append(network.network(inputs).numpy())
    return np.concatenate(found)


def _consistency(arguments: argparse.Namespace) -> list[Line]:
    """Labels alone, one step of self-training, and the two kinds of consistency."""
    lines = []
    request = NetworkRequest(model=arguments.only or "glasses_cnn_32")
    needed = resolve_input(request)
    base = Recipe(epochs=arguments.epochs or 15, learning_rate=1e-3, patience=0, batch_size=32)
    for count in [int(one) for one in (arguments.labels or "200,400").split(",")]:
        for task in ("footwear", "t-shirt/shirt"):
            found: dict[str, list[float]] = {}
            for seed in range(arguments.seeds):
                total = count + arguments.pool + arguments.test
                pixels, positive = _draw(task, total, needed.side, needed.channels, seed)
                rows, pool = np.arange(count), np.arange(count, count + arguments.pool)
                test = np.arange(count + arguments.pool, total)

                def judge(name: str, recipe: Recipe, **more: Any) -> TrainedNetwork:
                    trained, _ = _fit(request, recipe, pixels, rows, positive[:count], seed, **more)  # noqa: B023
                    odds = margins_of(trained.network, pixels, test)  # noqa: B023
                    right = float(((odds > 0) == positive[test]).mean())  # noqa: B023
                    found.setdefault(name, []).append(right)  # noqa: B023
                    return trained

                first = judge("labels alone", base)
                odds = margins_of(first.network, pixels, pool)
                sure = (odds > np.log(0.99 / 0.01)) | (odds < np.log(0.03 / 0.97))
                pseudo = PseudoLabels(rows=pool[sure], positive=odds[sure] > 0)
                judge("self-training", base, pseudo=pseudo)
                for kind in ("fixmatch", "adaptive"):
                    recipe = dataclasses.replace(base, consistency=kind)
                    judge(kind, recipe, unlabelled=pool)
            for name, values in found.items():
                _say(f"{task} {count} {name}: {np.mean(values):.4f} {values}")
                lines.append(
                    Line(name=f"{task}, {count} labels, {name}", median=float(np.mean(values)),
                         unit="accuracy", n=len(values))
                )  # fmt: skip
    return lines


def _draw(task: str, count: int, side: int, channels: int, seed: int) -> tuple[HeldPixels, Flags]:
    """`count` random images of a task as packed pixels, and their classes."""
    rng = np.random.default_rng(seed)
    if task == "solar":
        pictures, positive = _solar()
    else:
        images, labels = fashion.load("train")
        names = np.array(fashion.CLASSES)[labels]
        if task == "footwear":
            chosen, positive = np.arange(len(names)), np.isin(names, list(fashion.FOOTWEAR))
        else:
            chosen = np.flatnonzero(np.isin(names, ["t-shirt", "shirt"]))
            positive = names[chosen] == "t-shirt"
        pictures = [images[index] for index in chosen]
    places = rng.permutation(len(pictures))[:count]
    mode = "L" if channels == 1 else "RGB"
    squares = [
        np.asarray(
            Image.fromarray(pictures[place])
            .convert(mode)
            .resize((side, side), Image.Resampling.BICUBIC)
        ).reshape(side, side, channels)
        for place in places
    ]
    return HeldPixels(np.stack(squares)), np.asarray(positive)[places]


def _solar() -> tuple[list[NDArray[np.uint8]], Flags]:
    from elpv_dataset.utils import load_dataset

    images, probability, _ = load_dataset()
    sure = np.flatnonzero((probability == 0) | (probability == 1))
    return [images[index] for index in sure], probability[sure] == 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
