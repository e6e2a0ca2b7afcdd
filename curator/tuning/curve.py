"""How much is enough: error against epochs, and against the number of labels.

Every figure is the mean of several trainings, each with validation labels, order of
labels and chance of its own. The test split has no part in it. Seconds are those of this
machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import SILENT, Progress
from curator.charts.lines import Chart, Line, draw_charts
from curator.classifiers.devices import core_count, use_threads
from curator.errors import DataError
from curator.tuning.trials import (
    StudyLabels,
    TrialResult,
    needs_networks,
    study_labels,
    subset,
    train_on,
)
from curator.workspace import Workspace

Floats = NDArray[np.float64]

VALIDATION_SHARE = 0.25
"""Share of the labels that judge; more than in training, since nothing else is measured."""

FEWEST_IN_SUBSET = 20
"""Labels of the smallest subset."""

_NEGLIGIBLE = 0.001
"""A gain in error that counts as nothing: a tenth of a percentage point."""

_OVERFITS = 0.02
"""How far validation loss may rise above its best before that is called overfitting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochCurve:
    """Means over repetitions, one value for each epoch, and what they say.

    `enough` is the first epoch whose error is within a tenth of a point of the best, or within
    the standard error of that difference over the repetitions: the rule of one standard error
    of Breiman, Friedman, Olshen and Stone (1984), "Classification and Regression Trees", sec.
    3.4.3. `overfits_from` is the epoch after which validation loss rose, None if it did not.
    """

    epochs: tuple[int, ...]
    train_loss: tuple[float, ...]
    train_error: tuple[float, ...]
    validation_loss: tuple[float, ...]
    validation_error: tuple[float, ...]
    seconds: tuple[float, ...]
    repetitions: int
    enough: int
    overfits_from: int | None
    verdict: str
    plot: Path
    charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeCurve:
    """Error by the number of labels trained on: means, standard errors, and a fitted law.

    `predicted` maps sizes beyond what there is to (error, low, high) at 90%; it is empty
    where too few sizes could be measured.
    """

    sizes: tuple[int, ...]
    error: tuple[float, ...]
    standard_error: tuple[float, ...]
    loss: tuple[float, ...]
    train_error: tuple[float, ...]
    seconds: tuple[float, ...]
    repetitions: int
    rate: float | None
    floor: float | None
    predicted: dict[int, tuple[float, float, float]]
    verdict: str
    plot: Path
    charts: tuple[Chart, ...]


def curve_of_epochs(
    workspace: Workspace,
    *,
    epochs: int | None = None,
    repetitions: int = 3,
    progress: Progress = SILENT,
) -> EpochCurve:
    """Train for all `epochs` (twice the recipe's, if not given), `repetitions` times.

    Raises DataError with too few labels, and what training raises.
    """
    labels = _ready(workspace)
    total = epochs or 2 * workspace.settings.training.epochs
    outcomes = []
    with progress.stage("curve of epochs", repetitions, "trainings") as stage:
        for repetition in range(repetitions):
            train, validation = labels.divided(VALIDATION_SHARE, repetition)
            outcome, _ = train_on(
                workspace, train, validation, seed=repetition, epochs=total, patience=0
            )
            outcomes.append(outcome)
            stage.advance()
    return _epoch_curve(workspace, outcomes)


def curve_of_sizes(
    workspace: Workspace,
    *,
    sizes: int = 5,
    repetitions: int = 3,
    progress: Progress = SILENT,
) -> SizeCurve:
    """Train on nested subsets of the labels, each half of the next, `repetitions` times.

    Raises DataError with too few labels, and what training raises.
    """
    labels = _ready(workspace)
    shares = _shares(labels, sizes)
    found: list[list[TrialResult]] = []
    counts = np.zeros((repetitions, len(shares)))
    judged: set[int] = set()
    with progress.stage("curve of sizes", repetitions * len(shares), "trainings") as stage:
        for repetition in range(repetitions):
            train, validation = labels.divided(VALIDATION_SHARE, repetition)
            judged.update(validation.image_ids.tolist())
            row = []
            for place, share in enumerate(shares):
                part = subset(train, share, repetition)
                counts[repetition, place] = len(part)
                outcome, _ = train_on(workspace, part, validation, seed=repetition)
                row.append(outcome)
                stage.advance()
            found.append(row)
    return _size_curve(workspace, counts.mean(axis=0), found, len(judged))


def _ready(workspace: Workspace) -> StudyLabels:
    needs_networks(workspace.settings)
    use_threads(workspace.settings.runtime.threads or core_count())
    return study_labels(workspace)


def _shares(labels: StudyLabels, sizes: int) -> list[float]:
    most = len(labels.divided(VALIDATION_SHARE, 0)[0])
    shares = [share for share in (0.5**step for step in range(sizes)) if share * most >= 20]
    if len(shares) < 2:
        raise DataError(
            f"{most} labels to train on are too few for a curve of sizes.",
            f"Label at least {2 * FEWEST_IN_SUBSET * 4 // 3} images.",
        )
    return shares[::-1]


def _epoch_curve(workspace: Workspace, outcomes: list[TrialResult]) -> EpochCurve:
    def mean(field: Callable[[TrialResult], list[float]]) -> tuple[float, ...]:
        return tuple(np.mean([field(one) for one in outcomes], axis=0).tolist())

    train_loss = mean(lambda one: [record.train_loss for record in one.history])
    train_error = mean(lambda one: [record.train_error for record in one.history])
    loss = mean(lambda one: [record.validation_loss or 0.0 for record in one.history])
    error = mean(lambda one: [record.validation_error or 0.0 for record in one.history])
    seconds = mean(lambda one: [record.seconds for record in one.history])
    epochs = tuple(range(1, len(loss) + 1))
    enough = _enough(np.array([[one.validation_error for one in run.history] for run in outcomes]))
    overfits = _overfits_from(loss)
    x = tuple(float(at) for at in epochs)
    charts = (
        Chart(
            title="Loss",
            x_name="epoch",
            y_name="log loss",
            lines=(Line(name="training", x=x, y=train_loss), Line(name="validation", x=x, y=loss)),
            marked=None if overfits is None else float(overfits),
            mark_name="overfits",
        ),
        Chart(
            title="Error",
            x_name="epoch",
            y_name="share wrong",
            lines=(
                Line(name="training", x=x, y=train_error),
                Line(name="validation", x=x, y=error),
            ),
            marked=float(enough),
            mark_name="enough",
        ),
    )
    return EpochCurve(
        epochs=epochs,
        train_loss=train_loss,
        train_error=train_error,
        validation_loss=loss,
        validation_error=error,
        seconds=seconds,
        repetitions=len(outcomes),
        enough=enough,
        overfits_from=overfits,
        verdict=_epoch_verdict(error, seconds, enough, overfits),
        plot=draw_charts(workspace.folder("reports") / "curve-epochs.png", charts),
        charts=charts,
    )


def _enough(error: Floats) -> int:
    """The first epoch, from 1, that is as good as the best as far as (repetitions, epochs) tell."""
    mean = error.mean(axis=0)
    behind = error - error[:, [int(np.argmin(mean))]]
    doubt = np.zeros_like(mean)
    if len(error) > 1:
        doubt = behind.std(axis=0, ddof=1) / np.sqrt(len(error))
    return int(np.flatnonzero(behind.mean(axis=0) <= np.maximum(_NEGLIGIBLE, doubt))[0]) + 1


def _overfits_from(loss: tuple[float, ...]) -> int | None:
    """The epoch of the lowest validation loss, if what follows is clearly worse."""
    best = int(np.argmin(loss))
    if loss[-1] > loss[best] * (1 + _OVERFITS) + 1e-4:
        return best + 1
    return None


def _epoch_verdict(
    error: tuple[float, ...], seconds: tuple[float, ...], enough: int, overfits: int | None
) -> str:
    rest = len(error) - enough
    if rest == 0:
        told = (
            f"{enough} epochs are not yet enough: the last one still helped. Error"
            f" {error[-1]:.2%} after {seconds[-1]:.1f} s."
        )
    else:
        gain = 100 * (error[enough - 1] - min(error[enough:]))
        bought = f"buy {gain:.2f} points" if gain > 0 else "buy nothing"
        if gain > 100 * _NEGLIGIBLE:
            bought += ", which may be chance,"
        told = (
            f"{_count(enough, 'epoch is', 'epochs are')} enough, with an error of"
            f" {error[enough - 1]:.2%} after {seconds[enough - 1]:.1f} s: the next {rest} {bought}"
            f" and multiply the time by {seconds[-1] / seconds[enough - 1]:.1f}."
        )
    if overfits is not None:
        told += f" After epoch {overfits} the network overfits: its validation loss rises."
    return told


def _size_curve(
    workspace: Workspace, sizes: Floats, found: list[list[TrialResult]], judged: int
) -> SizeCurve:
    error = np.array([[one.best.validation_error or 0.0 for one in row] for row in found])
    loss = np.array([[one.best.validation_loss or 0.0 for one in row] for row in found])
    train_error = np.array([[one.best.train_error for one in row] for row in found])
    seconds = np.array([[one.seconds for one in row] for row in found])
    fitted = fit_power_law(sizes, error, judged=judged)
    charts = (_size_chart(sizes, error, fitted), _cost_chart(sizes, seconds))
    spread = error.std(axis=0, ddof=1) if len(error) > 1 else np.zeros(len(sizes))
    ahead = (2, 4, 10) if fitted else ()
    predicted = {_rounded(sizes[-1] * factor): _at(fitted, sizes[-1] * factor) for factor in ahead}
    return SizeCurve(
        sizes=tuple(round(size) for size in sizes),
        error=tuple(error.mean(axis=0).tolist()),
        standard_error=tuple((spread / np.sqrt(len(error))).tolist()),
        loss=tuple(loss.mean(axis=0).tolist()),
        train_error=tuple(train_error.mean(axis=0).tolist()),
        seconds=tuple(seconds.mean(axis=0).tolist()),
        repetitions=len(error),
        rate=fitted.law.rate if fitted else None,
        floor=fitted.law.floor if fitted else None,
        predicted=predicted,
        verdict=_size_verdict(sizes, error.mean(axis=0), seconds.mean(axis=0), predicted),
        plot=draw_charts(workspace.folder("reports") / "curve-sizes.png", charts),
        charts=charts,
    )


def _at(fitted: FittedCurve | None, size: float) -> tuple[float, float, float]:
    assert fitted is not None
    there = np.array([size])
    low, high = fitted.interval(there)
    return float(fitted.law.at(there)[0]), float(low[0]), float(high[0])


def _size_verdict(
    sizes: Floats,
    error: Floats,
    seconds: Floats,
    predicted: dict[int, tuple[float, float, float]],
) -> str:
    told = (
        f"With {round(sizes[-1]):,} labels you are at {1 - error[-1]:.2%}"
        f" ({seconds[-1]:.1f} s of training)"
    )
    if not predicted:
        return f"{told}. There are too few sizes to say what more labels would give."
    size, (expected, low, high) = list(predicted.items())[-1]
    factor = size / sizes[-1]
    return (
        f"{told}; {size:,} would give about {1 - expected:.2%} ({1 - high:.2%} to"
        f" {1 - low:.2%}), in about {seconds[-1] * factor:.0f} s. Beyond what was measured, this"
        " is a guess."
    )


def _size_chart(sizes: Floats, error: Floats, fitted: FittedCurve | None) -> Chart:
    x = tuple(sizes.tolist())
    mean = error.mean(axis=0)
    spread = error.std(axis=0, ddof=1) / np.sqrt(len(error)) if len(error) > 1 else 0 * mean
    lines = [
        Line(
            name="validation",
            x=x,
            y=tuple(mean.tolist()),
            low=tuple((mean - spread).tolist()),
            high=tuple((mean + spread).tolist()),
        )
    ]
    if fitted is not None:
        grid = np.geomspace(sizes[0], 10 * sizes[-1], 40)
        low, high = fitted.interval(grid)
        lines.append(
            Line(
                name="power law",
                x=tuple(grid.tolist()),
                y=tuple(fitted.law.at(grid).tolist()),
                low=tuple(low.tolist()),
                high=tuple(high.tolist()),
                dashed=True,
            )
        )
    return Chart(
        title="Error by labels",
        x_name="labels trained on",
        y_name="share wrong",
        lines=tuple(lines),
        logarithmic_x=True,
        logarithmic_y=bool((mean > 0).all()),
        marked=float(sizes[-1]),
        mark_name="you are here",
    )


def _cost_chart(sizes: Floats, seconds: Floats) -> Chart:
    line = Line(name="training", x=tuple(sizes.tolist()), y=tuple(seconds.mean(axis=0).tolist()))
    return Chart(
        title="Time by labels", x_name="labels trained on", y_name="seconds", lines=(line,)
    )


def _rounded(size: float) -> int:
    """Two digits are all that a guess deserves."""
    digits = max(0, len(str(int(size))) - 2)
    return int(round(size, -digits))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


FEWEST_SIZES = 3
"""Different sizes below which no curve is fitted; with fewer than five, the floor is nothing."""

_SIZES_FOR_FLOOR = 5
_SMALLEST_ERROR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """error(n) = floor + scale * n^-rate."""

    scale: float
    rate: float
    floor: float

    def at(self, sizes: NDArray[np.floating]) -> Floats:
        """The error at these sizes."""
        found: Floats = self.floor + self.scale * np.asarray(sizes, dtype=np.float64) ** -self.rate
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedCurve:
    """The best law, and the laws that repetitions drawn again would have given."""

    law: PowerLaw
    others: tuple[PowerLaw, ...]

    def interval(self, sizes: NDArray[np.floating], level: float = 0.9) -> tuple[Floats, Floats]:
        """Within which the error at these sizes lies at this level, as far as the draws tell."""
        drawn = np.stack([law.at(sizes) for law in self.others])
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def fit_power_law(
    sizes: NDArray[np.floating],
    errors: NDArray[np.floating],
    *,
    judged: int,
    draws: int = 200,
    seed: int = 0,
) -> FittedCurve | None:
    """Fit errors (repetitions, sizes) measured at `sizes` (sizes,); None with too few sizes.

    `judged` is the number of different images that the errors were counted on, over all
    repetitions: a sample that happens to be hard makes the whole curve too high.
    """
    if len(np.unique(sizes)) < FEWEST_SIZES:
        return None
    rng = np.random.default_rng(seed)
    has_floor = len(np.unique(sizes)) >= _SIZES_FOR_FLOOR
    law = _fit(sizes, errors.mean(axis=0), has_floor)
    last = float(np.clip(errors[:, -1].mean(), 1 / judged, 1 - 1 / judged))
    relative = np.sqrt((1 - last) / last / judged)
    others = []
    for number in range(draws):
        again = rng.integers(0, len(errors), size=errors.shape)
        drawn = np.take_along_axis(errors, again, axis=0).mean(axis=0)
        drawn = drawn * np.exp(relative * rng.standard_normal())
        others.append(_fit(sizes, drawn, has_floor and number % 2 == 0))
    return FittedCurve(law=law, others=tuple(others))


def _fit(sizes: NDArray[np.floating], errors: NDArray[np.floating], has_floor: bool) -> PowerLaw:
    """Least squares on the logarithms, so that small errors count as much as large ones."""
    from scipy.optimize import least_squares

    n = np.asarray(sizes, dtype=np.float64)
    target = np.log(np.maximum(errors, _SMALLEST_ERROR))
    largest_floor = max(float(np.min(errors)), 2 * _SMALLEST_ERROR)

    def law(point: Floats) -> PowerLaw:
        floor = float(point[2]) if has_floor else 0.0
        return PowerLaw(scale=float(np.exp(point[0])), rate=float(point[1]), floor=floor)

    def misfit(point: Floats) -> Floats:
        found: Floats = np.log(np.maximum(law(point).at(n), _SMALLEST_ERROR)) - target
        return found

    slope, level = np.polyfit(np.log(n), target, 1)
    start = np.array([level, np.clip(-slope, 1e-3, 2.9), largest_floor / 10])
    bounds = ([-40.0, 0.0, 0.0], [40.0, 3.0, largest_floor])
    solved = least_squares(misfit, np.clip(start, *map(np.array, bounds)), bounds=bounds)
    return law(solved.x)
