"""How much is enough: error by epochs, and by the number of labels with a fitted power law.

Every figure is the mean of several trainings, each with its own validation labels, order of
labels and seed. The test split is not used. Seconds are those of this machine.

error(n) = floor + scale * n^-rate describes most learning curves: Hestness et al. (2017),
"Deep learning scaling is predictable, empirically"; Rosenfeld et al. (2020), ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from curator.base.arrays import FloatArray
from curator.base.progress import SILENT, Progress
from curator.charts.lines import Chart, Line, draw_charts
from curator.classifiers.devices import core_count, use_threads
from curator.errors import DataError
from curator.tuning.head_trials import head_trials
from curator.tuning.trials import (
    StudyLabels,
    Trial,
    TrialSample,
    needs_networks,
    study_labels,
    subset,
    train_on,
)
from curator.workspace import Workspace

VALIDATION_SHARE = 0.25
"""Share of the labels that validate; more than in training, because the error is the result."""

HEAD_REPETITIONS = 10
"""Trainings of heads for each size: each takes a part of a second."""

FEWEST_OF_CLASS = 5
"""Labels of the rarer class in the smallest subset that heads are trained on."""

FEWEST_IN_SUBSET = 20
"""Labels of the smallest subset."""

_NEGLIGIBLE = 0.001
"""A difference in error that counts as none: a tenth of a percentage point."""

_OVERFITS = 0.02
"""Relative rise of the validation loss above its minimum from which on it is overfitting."""

FEWEST_SIZES = 3
"""Different sizes below which no curve is fitted."""

_SIZES_FOR_FLOOR = 5
"""Different sizes below which the floor of the fitted curve is 0."""

_SMALLEST_ERROR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochCurve:
    """Means over repetitions, one value for each epoch, and the conclusion in words.

    `enough` is the first epoch whose error is about that of the best, see `_enough`.
    `overfits_from` is the epoch after which validation loss rose, None if it did not.
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
    """Error by the number of training labels: means, standard errors, and a fitted power law.

    `predicted` maps larger sizes to (error, low, high) with a 90% interval; it is empty if too
    few sizes were measured, or if the error does not fall by more than chance. `train_error` is
    that of networks, `coverage` that of heads; the other one is empty.
    """

    sizes: tuple[int, ...]
    error: tuple[float, ...]
    standard_error: tuple[float, ...]
    loss: tuple[float, ...]
    train_error: tuple[float, ...]
    coverage: tuple[float, ...]
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
    """Train `repetitions` times for `epochs` epochs (default: twice `training.epochs`).

    Raises DataError with too few labels, and what training raises.
    """
    labels = _ready(workspace)
    total = epochs or 2 * workspace.settings.training.epochs
    histories = []
    with progress.stage("curve of epochs", repetitions, "trainings") as stage:
        for repetition in range(repetitions):
            train, validation = labels.divided(VALIDATION_SHARE, repetition)
            trained = train_on(
                workspace, train, validation, seed=repetition, epochs=total, patience=0
            )
            histories.append(trained.history)
            stage.advance()

    def measured(field: str) -> FloatArray:
        """One figure of all epochs, (repetitions, epochs)."""
        return np.array([[getattr(epoch, field) for epoch in history] for history in histories])

    def mean(field: str) -> tuple[float, ...]:
        return tuple(measured(field).mean(axis=0).tolist())

    train_loss, train_error = mean("train_loss"), mean("train_error")
    loss, error, seconds = mean("validation_loss"), mean("validation_error"), mean("seconds")
    enough, overfits = _enough(measured("validation_error")), _overfits_from(loss)
    x = tuple(float(epoch) for epoch in range(1, len(loss) + 1))
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
        epochs=tuple(range(1, len(loss) + 1)),
        train_loss=train_loss,
        train_error=train_error,
        validation_loss=loss,
        validation_error=error,
        seconds=seconds,
        repetitions=repetitions,
        enough=enough,
        overfits_from=overfits,
        verdict=_epoch_verdict(error, seconds, enough, overfits),
        plot=draw_charts(workspace.folder("reports") / "curve-epochs.png", charts),
        charts=charts,
    )


def curve_of_sizes(
    workspace: Workspace,
    *,
    sizes: int = 5,
    repetitions: int | None = None,
    progress: Progress = SILENT,
) -> SizeCurve:
    """Train on nested subsets of the labels, each half of the next.

    Each is trained `repetitions` times: networks 3 times if not given, heads 10 times.

    Raises DataError with too few labels, and what training raises.
    """
    use_threads(workspace.settings.runtime.threads or core_count())
    labels = study_labels(workspace, chooses=False)
    heads = workspace.settings.classifier.kind == "frozen"
    trial = head_trials(workspace, progress) if heads else partial(_network_trial, workspace)
    repetitions = repetitions or (HEAD_REPETITIONS if heads else 3)
    divided = labels.divided(VALIDATION_SHARE, 0)[0]
    most = len(divided)
    # Heads are trained in folds, each without some of the labels of the rarer class.
    rarer = min(int(divided.positive.sum()), int((~divided.positive).sum()))
    fewest = max(FEWEST_IN_SUBSET / most, FEWEST_OF_CLASS / rarer if heads else 0.0)
    shares = [0.5**step for step in range(sizes) if 0.5**step >= fewest][::-1]
    if len(shares) < 2:
        raise DataError(
            f"{most} labels to train on are too few for a learning curve.",
            f"Label at least {2 * FEWEST_IN_SUBSET * 4 // 3} images.",
        )
    counts, error, loss, train_error, coverage, seconds = np.zeros((6, repetitions, len(shares)))
    validated: set[int] = set()
    with progress.stage("curve of sizes", repetitions * len(shares), "trainings") as stage:
        for repetition in range(repetitions):
            train, validation = labels.divided(VALIDATION_SHARE, repetition)
            validated.update(validation.image_ids.tolist())
            for column, share in enumerate(shares):
                sample = subset(train, share, repetition)
                outcome = trial(sample, validation, repetition)
                at = repetition, column
                counts[at] = len(sample)
                error[at], loss[at], seconds[at] = outcome.error, outcome.loss, outcome.seconds
                train_error[at] = outcome.train_error or 0.0
                coverage[at] = outcome.coverage or 0.0
                stage.advance()
    mean_sizes, mean_seconds = counts.mean(axis=0), seconds.mean(axis=0)
    fitted = None
    if falls(error, judged=len(validated)):
        fitted = fit_power_law(mean_sizes, error, judged=len(validated))
    predicted = {}
    if fitted is not None:
        for factor in (2, 4, 10):
            size = mean_sizes[-1:] * factor
            low, high = fitted.interval(size)
            predicted[_two_digits(size[0])] = (
                float(fitted.law.at(size)[0]), float(low[0]), float(high[0])
            )  # fmt: skip
    covered = tuple(coverage.mean(axis=0).tolist()) if heads else ()
    beside = (
        Chart(
            title="Coverage by labels",
            x_name="labels trained on",
            y_name="share promoted",
            lines=(Line(name="pool", x=tuple(mean_sizes.tolist()), y=covered),),
            logarithmic_x=True,
        )
        if heads
        else Chart(
            title="Time by labels",
            x_name="labels trained on",
            y_name="seconds",
            lines=(
                Line(
                    name="training",
                    x=tuple(mean_sizes.tolist()),
                    y=tuple(mean_seconds.tolist()),
                ),
            ),
        )
    )
    charts = (_size_chart(mean_sizes, error, fitted), beside)
    return SizeCurve(
        sizes=tuple(round(size) for size in mean_sizes),
        error=tuple(error.mean(axis=0).tolist()),
        standard_error=tuple(_standard_error(error).tolist()),
        loss=tuple(loss.mean(axis=0).tolist()),
        train_error=() if heads else tuple(train_error.mean(axis=0).tolist()),
        coverage=covered,
        seconds=tuple(mean_seconds.tolist()),
        repetitions=repetitions,
        rate=fitted.law.rate if fitted else None,
        floor=fitted.law.floor if fitted else None,
        predicted=predicted,
        verdict=_size_verdict(mean_sizes, error.mean(axis=0), mean_seconds, predicted, covered),
        plot=draw_charts(workspace.folder("reports") / "curve-sizes.png", charts),
        charts=charts,
    )


def _network_trial(
    workspace: Workspace, train: TrialSample, validation: TrialSample, seed: int
) -> Trial:
    trained = train_on(workspace, train, validation, seed=seed)
    return Trial(
        error=trained.best.validation_error or 0.0,
        loss=trained.best.validation_loss or 0.0,
        train_error=trained.best.train_error,
        coverage=None,
        seconds=trained.seconds,
    )


def falls(errors: FloatArray, *, judged: int) -> bool:
    """Whether errors (repetitions, sizes) fall from the smallest to the largest size.

    The difference must exceed two standard errors: over the repetitions, and of the `judged`
    validation images, which all repetitions share.
    """
    first, last = errors[:, 0], errors[:, -1]
    drop = first - last
    spread = drop.std(ddof=1) / np.sqrt(len(drop)) if len(drop) > 1 else 0.0
    # The same images are judged twice, so at most those that differ vary.
    chance = np.sqrt((first.mean() + last.mean()) / judged)
    return bool(drop.mean() > 2 * np.hypot(spread, chance / np.sqrt(2)))


def _ready(workspace: Workspace) -> StudyLabels:
    needs_networks(workspace.settings)
    use_threads(workspace.settings.runtime.threads or core_count())
    return study_labels(workspace, chooses=False)


def _standard_error(figures: FloatArray) -> FloatArray:
    """Standard error of the mean over repetitions (axis 0); 0 for a single one."""
    if len(figures) == 1:
        return np.zeros(figures.shape[1])
    error: FloatArray = figures.std(axis=0, ddof=1) / np.sqrt(len(figures))
    return error


def _enough(error: FloatArray) -> int:
    """The first epoch, from 1, that is about as good as the best; `error` (repetitions, epochs).

    Its error is within a tenth of a point of the best, or within the standard error of that
    difference over the repetitions: the one-standard-error rule of Breiman, Friedman, Olshen
    and Stone (1984), "Classification and Regression Trees", sec. 3.4.3.
    """
    behind = error - error[:, [int(np.argmin(error.mean(axis=0)))]]
    tolerance = np.maximum(_NEGLIGIBLE, _standard_error(behind))
    return int(np.flatnonzero(behind.mean(axis=0) <= tolerance)[0]) + 1


def _overfits_from(loss: tuple[float, ...]) -> int | None:
    """The epoch of the lowest validation loss, if the last one is clearly higher."""
    best = int(np.argmin(loss))
    if loss[-1] > loss[best] * (1 + _OVERFITS) + 1e-4:
        return best + 1
    return None


def _epoch_verdict(
    error: tuple[float, ...], seconds: tuple[float, ...], enough: int, overfits: int | None
) -> str:
    rest = len(error) - enough
    if rest == 0:
        verdict = (
            f"{enough} epochs are not yet enough: the last one still helped. Error"
            f" {error[-1]:.2%} after {seconds[-1]:.1f} s."
        )
    else:
        gain = 100 * (error[enough - 1] - min(error[enough:]))
        effect = f"reduce it by {gain:.2f} points" if gain > 0 else "do not reduce it"
        if gain > 100 * _NEGLIGIBLE:
            effect += ", which may be chance,"
        verdict = (
            f"{enough} {'epoch is' if enough == 1 else 'epochs are'} enough, with an error of"
            f" {error[enough - 1]:.2%} after {seconds[enough - 1]:.1f} s: the next {rest} {effect}"
            f" and multiply the time by {seconds[-1] / seconds[enough - 1]:.1f}."
        )
    if overfits is not None:
        verdict += f" After epoch {overfits} the network overfits: its validation loss rises."
    return verdict


def _size_verdict(
    sizes: FloatArray,
    error: FloatArray,
    seconds: FloatArray,
    predicted: dict[int, tuple[float, float, float]],
    covered: tuple[float, ...],
) -> str:
    measured = (
        f"With {round(sizes[-1]):,} labels the accuracy is {1 - error[-1]:.2%} ({seconds[-1]:.1f}"
        " s of training)"
    )
    if covered:
        measured = (
            f"Trained on {round(sizes[-1]):,} of your labels, {error[-1]:.2%} of the others are"
            f" wrong and {covered[-1]:.0%} of the pool would be promoted; with"
            f" {round(sizes[-2]):,} it was {error[-2]:.2%} and {covered[-2]:.0%}"
        )
    if not predicted and len(sizes) < FEWEST_SIZES:
        return f"{measured}. There are too few sizes to predict the effect of more labels."
    if not predicted:
        return (
            f"{measured}. The error does not fall by more than chance from {round(sizes[0]):,} to"
            f" {round(sizes[-1]):,} labels, so the effect of more labels is not predicted."
        )
    size, (expected, low, high) = list(predicted.items())[-1]
    factor = size / sizes[-1]
    return (
        f"{measured}; {size:,} labels would give about {1 - expected:.2%} ({1 - high:.2%} to"
        f" {1 - low:.2%}), in about {seconds[-1] * factor:.0f} s. This is extrapolated from the"
        " measured sizes."
    )


def _size_chart(sizes: FloatArray, error: FloatArray, fitted: FittedCurve | None) -> Chart:
    mean, spread = error.mean(axis=0), _standard_error(error)
    lines = [
        Line(
            name="validation",
            x=tuple(sizes.tolist()),
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
        mark_name="your labels",
    )


def _two_digits(size: float) -> int:
    """The size to two digits: a prediction supports no more."""
    digits = max(0, len(str(int(size))) - 2)
    return int(round(size, -digits))


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """error(n) = floor + scale * n^-rate."""

    scale: float
    rate: float
    floor: float

    def at(self, sizes: FloatArray) -> FloatArray:
        """The error at these sizes."""
        error: FloatArray = self.floor + self.scale * sizes**-self.rate
        return error


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedCurve:
    """The fitted law, and the laws of resampled repetitions."""

    law: PowerLaw
    resampled: tuple[PowerLaw, ...]

    def interval(self, sizes: FloatArray, level: float = 0.9) -> tuple[FloatArray, FloatArray]:
        """The interval of the error at these sizes, at this level."""
        errors = np.stack([law.at(sizes) for law in self.resampled])
        low, high = np.quantile(errors, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def fit_power_law(
    sizes: FloatArray,
    errors: FloatArray,
    *,
    judged: int,
    draws: int = 200,
    seed: int = 0,
) -> FittedCurve | None:
    """Fit errors (repetitions, sizes) measured at `sizes` (sizes,); None with too few sizes.

    `judged` is the number of different validation images, over all repetitions. The interval
    has three parts: the variance of the repetitions (bootstrap: Efron 1979), that of the
    validation sample, and whether there is a floor.
    """
    if len(np.unique(sizes)) < FEWEST_SIZES:
        return None
    rng = np.random.default_rng(seed)
    has_floor = len(np.unique(sizes)) >= _SIZES_FOR_FLOOR
    law = _fit(sizes, errors.mean(axis=0), has_floor)
    # All repetitions share the validation images; a sample of hard ones raises the whole curve.
    last = float(np.clip(errors[:, -1].mean(), 1 / judged, 1 - 1 / judged))
    relative = np.sqrt((1 - last) / last / judged)
    resampled = []
    for number in range(draws):
        repetitions = rng.integers(0, len(errors), size=errors.shape)
        sample = np.take_along_axis(errors, repetitions, axis=0).mean(axis=0)
        sample = sample * np.exp(relative * rng.standard_normal())
        # Small sizes cannot show whether there is a floor, so half of the laws have none.
        resampled.append(_fit(sizes, sample, has_floor and number % 2 == 0))
    return FittedCurve(law=law, resampled=tuple(resampled))


def _fit(sizes: FloatArray, errors: FloatArray, has_floor: bool) -> PowerLaw:
    from scipy.optimize import least_squares

    # Logarithms, so that small errors count as much as large ones.
    target = np.log(np.maximum(errors, _SMALLEST_ERROR))
    largest_floor = max(float(np.min(errors)), 2 * _SMALLEST_ERROR)

    def law(point: FloatArray) -> PowerLaw:
        floor = float(point[2]) if has_floor else 0.0
        return PowerLaw(scale=float(np.exp(point[0])), rate=float(point[1]), floor=floor)

    def misfit(point: FloatArray) -> FloatArray:
        residual: FloatArray = np.log(np.maximum(law(point).at(sizes), _SMALLEST_ERROR)) - target
        return residual

    slope, level = np.polyfit(np.log(sizes), target, 1)
    start = np.array([level, np.clip(-slope, 1e-3, 2.9), largest_floor / 10])
    bounds = ([-40.0, 0.0, 0.0], [40.0, 3.0, largest_floor])
    solved = least_squares(misfit, np.clip(start, *map(np.array, bounds)), bounds=bounds)
    return law(solved.x)
