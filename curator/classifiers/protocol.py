"""What every kind of classifier offers to a round: fit, score, save, load.

A round prepares what a kind needs (features or pixels), reads labels and pool once, and calls
`fit`. There are two kinds, heads on frozen features (`heads/frozen.py`) and networks trained end
to end (`networks/cross_fitting.py`). Another one is a file with a class like `Classifier`, and a
line in `rounds/inputs.py::prepare`.

One rule holds for every kind: an image is scored, and a label is judged, only by a head that was
never taught it, neither directly nor through pseudo-labels. So a classifier consists of K chains
of heads (or networks). Chain k never trains on the human labels of fold k, and takes its
pseudo-labels from its own predecessor alone, on images outside fold k. If all heads voted for a
pseudo-label, the labels of fold k would reach head k through the other heads, and the measured
error would be too small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.base.progress import Progress
from curator.statistics.calibration import (
    SAMPLE_FOR_POOL,
    CalibrationMap,
    Evidence,
    fit_map,
    move_to_pool,
)
from curator.statistics.metrics import ErrorEstimate, error_estimate

if TYPE_CHECKING:
    from curator.classifiers.heads.label_weights import LabelNoise
    from curator.classifiers.heads.neighbour_smoothing import Neighbourhood

Basis = Literal["pool", "seeds"]
Needs = Literal["features", "pixels"]


class RowSource(Protocol):
    """Features or decoded pixels on disk or in memory, addressed by rows."""

    def gather(self, rows: IntArray) -> NDArray[Any]:
        """Features (rows, features) or pixels (rows, side, side, channels), in the order given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSlice:
    """A run of images of the pool, all arrays (rows,).

    `rows` are rows of features or pixels, `ranks` random numbers. `teachable` marks images that
    may get a pseudo-label; `taught` those whose human label is trained on, so that only the head
    of their own fold may score them.
    """

    rows: IntArray
    folds: IntArray
    ranks: FloatArray
    teachable: BoolArray
    taught: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLabels:
    """Human labels, all arrays (rows,). No head is trained on the labels of its own fold.

    `confirmed`: a person has looked twice, so training does not doubt the label.
    `trains` may teach heads; `calibrates` may calibrate the head of its fold, out of fold;
    `representative` counts in the out-of-fold error; `sampled` is a random sample of the pool;
    `set_aside` judges where one network learns from all other labels (`training.judges`).
    """

    rows: IntArray
    units: IntArray
    folds: IntArray
    positive: BoolArray
    confirmed: BoolArray
    trains: BoolArray
    calibrates: BoolArray
    representative: BoolArray
    sampled: BoolArray
    set_aside: BoolArray

    def among(self, rows: IntArray) -> TrainingLabels:
        """The labels of images with these rows; the other images have left the pool."""
        in_pool = np.isin(self.rows, rows)
        return TrainingLabels(
            **{field.name: getattr(self, field.name)[in_pool] for field in fields(self)}
        )

    def same_as(self, other: TrainingLabels) -> bool:
        """Whether these are the same labels in the same order."""
        return all(
            np.array_equal(getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingInputs:
    """What a classifier is trained on: images, human labels, and the pool in slices.

    `fingerprint` names the features or pixels. `slices` are iterated several times and need not be
    in memory; they have `image_count` images. `neighbours` is the pool's neighbour graph where
    scores are smoothed.
    """

    images: RowSource
    fingerprint: str
    labels: TrainingLabels
    slices: Iterable[PoolSlice]
    image_count: int
    neighbours: Neighbourhood | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """How many labels trained a classifier, and its out-of-fold error.

    Pseudo-label counts are means over the heads. `estimate` is the error of heads on labels that
    never taught them; `basis` says whose labels: `pool` for a random sample, `seeds` for labels
    that may not resemble the pool.
    """

    human_positive: int
    human_negative: int
    pseudo_positive: int
    pseudo_negative: int
    estimate: ErrorEstimate
    basis: Basis
    label_belief: LabelNoise | None = None


PreviousT = TypeVar("PreviousT")
PreviousT_co = TypeVar("PreviousT_co", covariant=True)


class TrainedClassifier(Protocol[PreviousT_co]):
    """A fitted classifier."""

    @property
    def summary(self) -> TrainingSummary:
        """Label counts and out-of-fold error."""

    def score(self, part: PoolSlice) -> tuple[FloatArray, FloatArray]:
        """P(positive), calibrated and raw, both (rows,), by heads not taught the image."""

    def save(self) -> bytes:
        """The content of the model file; the same classifier gives the same bytes."""

    def as_previous(self) -> PreviousT_co:
        """What the next round takes from it."""


class Classifier(Protocol[PreviousT]):
    """A kind of classifier with its settings, before it is fitted."""

    needs: Needs
    changed: str
    """Said when the last round's model cannot teach this one."""

    @property
    def folds(self) -> int:
        """Into how many folds labels and pool are cut."""

    @property
    def uses_previous(self) -> bool:
        """Whether the last round's model teaches this one."""

    def load(self, path: Path, digest: str) -> PreviousT | None:
        """The last round's model; None if it has another form than this classifier's.

        Raises LearnError if the file is missing or not what `digest` says.
        """

    def fit(
        self,
        inputs: TrainingInputs,
        previous: PreviousT | None,
        progress: Progress,
        *,
        checkpoints: Path | None = None,
    ) -> TrainedClassifier[PreviousT]:
        """Train; an interrupted training goes on from `checkpoints` if the kind writes any.

        Raises DataError or LearnError, saying what to do, if the labels cannot train it.
        """


def summarise(
    labels: TrainingLabels,
    log_odds: NDArray[np.floating],
    pseudo_counts: NDArray[np.floating],
    basis: Basis,
    label_belief: LabelNoise | None = None,
) -> TrainingSummary:
    """Label counts, and the error of `log_odds`, (rows,), which no label had a part in."""
    counted = labels.sampled if basis == "pool" else labels.representative
    return TrainingSummary(
        human_positive=int((labels.trains & labels.positive).sum()),
        human_negative=int((labels.trains & ~labels.positive).sum()),
        pseudo_positive=round(pseudo_counts[0]),
        pseudo_negative=round(pseudo_counts[1]),
        estimate=error_estimate((log_odds[counted] > 0) != labels.positive[counted]),
        basis=basis,
        label_belief=label_belief,
    )


def calibrate(
    labels: TrainingLabels,
    evidence: Evidence,
    among: BoolArray | None = None,
    right: NDArray[np.floating] | float = 1.0,
) -> tuple[CalibrationMap, Basis]:
    """The map from out-of-fold margins to probabilities, and whose labels made it.

    `evidence` is (rows,), each label's from heads that were not taught it; `right`, (rows,), the
    probability that the label is right. A random sample of the pool, if it is large enough, moves
    the map to the pool's shares. With `among`, (rows,), only these labels have a part in it.
    """
    used = labels.calibrates if among is None else labels.calibrates & among
    sampled = labels.sampled if among is None else labels.sampled & among
    target = np.where(labels.positive, right, 1.0 - np.asarray(right))
    if int(labels.sampled.sum()) < SAMPLE_FOR_POOL:
        return fit_map(evidence[used], target[used]), "seeds"
    seeds = used & ~sampled
    start = fit_map(evidence[seeds], target[seeds])
    return move_to_pool(start, evidence[sampled], target[sampled]), "pool"
