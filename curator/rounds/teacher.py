"""Whether the last round's heads may teach this one, and what they say of the pool.

A head may teach its successor only while every human label still lies in the fold that it
had when the head was trained; otherwise the successor would inherit what it is judged on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import Progress
from curator.catalogue import pool, rounds
from curator.catalogue.rounds import RoundRecord
from curator.classifiers.heads.frozen import Plan, Teacher, Trained, recall
from curator.classifiers.heads.model import FrozenClassifier, Standardizer, load_classifier
from curator.classifiers.heads.neighbour_smoothing import FeaturesInMemory, FeatureSource
from curator.classifiers.heads.neighbours import Neighbourhood
from curator.encoding.feature_set import FeatureSet
from curator.errors import LearnError
from curator.rounds.gates import LabelDistances
from curator.statistics.folds import fold_of
from curator.storage.scores import read_scores
from curator.workspace import Workspace

HELD_BYTES = 512 * 1024 * 1024
"""Features of up to this size as float32 are kept in memory from one round to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """The pool of a round: its features, its rows (images,), rising, and who lies near whom."""

    feature_set: FeatureSet
    features: FeatureSource
    rows: NDArray[np.int64]
    around: Neighbourhood | None

    def is_that_of(self, other: PoolView) -> bool:
        """Whether margins on the other view are margins on this one."""
        graphs = [view.around.digest if view.around else None for view in (self, other)]
        return (
            graphs[0] == graphs[1]
            and self.feature_set.fingerprint == other.feature_set.fingerprint
            and np.array_equal(self.rows, other.rows)
        )


class RoundMemory:
    """What the last round of a run computed, so that the next need not do so again.

    Nothing depends on it: forgotten, the same numbers are computed from what is kept.
    """

    def __init__(self, rounds: int) -> None:
        self._left = rounds
        self._view: PoolView | None = None
        self._trained: Trained | None = None
        self.reach: LabelDistances | None = None

    def view(
        self, features: FeatureSet, rows: NDArray[np.int64], around: Neighbourhood | None
    ) -> PoolView:
        """The pool of the round that begins, its features in memory if that pays."""
        view = PoolView(feature_set=features, features=features, rows=rows, around=around)
        if self._view and self._view.is_that_of(view):
            return replace(view, features=self._view.features)
        fits = len(rows) * features.dimension * 4 <= HELD_BYTES
        return (
            replace(view, features=FeaturesInMemory(features, rows))
            if fits and self._left > 1
            else view
        )

    def keep(self, view: PoolView, trained: Trained, reach: LabelDistances | None) -> None:
        """Remember a round."""
        self._view, self._trained, self.reach = view, trained, reach
        self._left -= 1

    def scale_of(self, view: PoolView) -> Standardizer | None:
        """The scale of the features, if it is known."""
        last = self._last(view)
        return last.classifier.standardizer if last else None

    def teacher(self, view: PoolView, classifier: FrozenClassifier) -> Teacher | None:
        """What these heads say of the pool, if it is known."""
        last = self._last(view)
        same = last is not None and last.classifier.to_bytes() == classifier.to_bytes()
        return last.as_teacher() if last and same else None

    def _last(self, view: PoolView) -> Trained | None:
        return self._trained if self._view and self._view.is_that_of(view) else None


def teacher_of(
    workspace: Workspace,
    parent_id: int | None,
    view: PoolView,
    plan: Plan,
    memory: RoundMemory,
    progress: Progress,
) -> Teacher | None:
    """The heads of the last round, or None if there are none that may teach."""
    if parent_id is None or plan.pseudo is None:
        return None
    record = rounds.get_round(workspace.catalogue, parent_id)
    if record.model_digest is None or record.feature_set_id != view.feature_set.feature_set_id:
        return None
    try:
        path = workspace.folder("models") / f"{record.model_digest}.safetensors"
        classifier = load_classifier(path, record.model_digest)
    except LearnError as error:
        progress.note(f"{error.problem} This round learns from people's labels alone.")
        return None
    if classifier.head_count == plan.heads and still_blind(workspace, record, plan.heads):
        return memory.teacher(view, classifier) or recall(
            classifier, view.features, view.rows, view.around, plan.device
        )
    progress.note(
        "Folds have changed since the last round, so its heads may have seen what they would be"
        " judged on. This round learns from people's labels alone."
    )
    return None


def still_blind(workspace: Workspace, record: RoundRecord, folds: int) -> bool:
    """Whether every human label lies in the fold that it had when the teacher was trained."""
    scores = read_scores(workspace.folder("scores"), record.score_digest or "")
    if scores is None:
        return False
    human = pool.human_labels(workspace.catalogue, record.feature_set_id)
    now = fold_of(human.unit_keys, folds, workspace.settings.runtime.seed)
    place = np.searchsorted(scores["image_id"], human.image_ids)
    known = place < len(scores)
    known[known] = scores["image_id"][place[known]] == human.image_ids[known]
    return bool((scores["fold"][place[known]] == now[known]).all())
