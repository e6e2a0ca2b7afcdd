"""Whether the last round's classifier may teach this one, and what stays in memory between rounds.

A head may teach its successor only while every human label still lies in the fold that it had
when the head was trained, and the same labels are withheld because their groups span splits.
Otherwise the successor would learn, through pseudo-labels, from labels that it is judged on, or
from near-duplicates of images that measure it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.base.arrays import positions_in
from curator.base.progress import Progress
from curator.base.vocabulary import NO_CODE, Split, code_of
from curator.catalogue.pool import HumanLabels
from curator.classifiers.heads.features import PoolFeatures
from curator.classifiers.heads.neighbour_smoothing import Neighbourhood
from curator.classifiers.protocol import Classifier, RowSource, TrainingInputs
from curator.errors import LearnError
from curator.rounds.gates import LabelDistances
from curator.rounds.inputs import RoundInputs
from curator.rounds.labels import PoolSlices
from curator.rounds.score_quality import PastRound
from curator.settings.sections import Settings
from curator.statistics.folds import fold_of

HELD_BYTES = 512 * 1024 * 1024
"""Features of up to this size as float32 stay in memory from one round to the next."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreviousRound:
    """What a round leaves in memory for the next one of the same command.

    Nothing depends on it: without it the same numbers are computed from the files.
    """

    images: RowSource
    neighbours: Neighbourhood | None
    model_digest: str | None
    model: Any
    distances: LabelDistances | None

    def has_pool_of(self, training: TrainingInputs) -> bool:
        """Whether margins for its pool are margins for this one, too."""
        return self.neighbours is training.neighbours and self.images is training.images


def training_inputs(
    inputs: RoundInputs,
    neighbours: Neighbourhood | None,
    previous: PreviousRound | None,
    *,
    folds: int,
    seed: int,
    more_rounds: bool,
) -> TrainingInputs:
    """What the classifier is trained on; with `more_rounds`, small features stay in memory."""
    images = inputs.images
    last_graph = previous.neighbours if previous else None
    if neighbours and last_graph and neighbours.digest == last_graph.digest:
        neighbours = last_graph  # with its edge weights
    source: RowSource = images
    if not images.holds_pixels:
        rows, _ = inputs.pool.by_rows()
        in_memory = more_rounds and len(rows) * images.dimension * 4 <= HELD_BYTES
        last = previous.images if previous else None
        if (
            isinstance(last, PoolFeatures)
            and last.fingerprint == images.fingerprint
            and np.array_equal(last.rows, rows)
        ):
            source = last
        else:
            runs = [chunk.feature_rows for chunk in inputs.pool.chunks]
            source = PoolFeatures(images, runs, fingerprint=images.fingerprint, in_memory=in_memory)
    return TrainingInputs(
        images=source,
        fingerprint=images.fingerprint,
        labels=inputs.labels,
        slices=PoolSlices(pool=inputs.pool, folds=folds, seed=seed),
        image_count=len(inputs.pool),
        neighbours=neighbours,
    )


def load_teacher(
    classifier: Classifier[Any],
    inputs: RoundInputs,
    training: TrainingInputs,
    previous: PreviousRound | None,
    *,
    seed: int,
    progress: Progress,
) -> Any | None:
    """The last round's model, from file or memory; None if there is none that may teach."""
    if inputs.last is None or not classifier.uses_previous:
        return None
    record = inputs.last.record
    if record.model_digest is None or record.feature_set_id != inputs.images.feature_set_id:
        return None
    if inputs.last.scores is None:
        progress.note(
            f"The scores of round {record.round_id} are lost or damaged, so it"
            " is unknown what its model was trained on. This round trains on human labels only."
        )
        return None
    try:
        model = classifier.load(inputs.last.model_path, record.model_digest)
    except LearnError as error:
        progress.note(f"{error.problem} This round trains on human labels only.")
        return None
    if model is None or not same_folds(inputs.last, inputs.human, classifier.folds, seed):
        progress.note(classifier.changed)
        return None
    if (
        previous is not None
        and previous.model_digest == record.model_digest
        and previous.has_pool_of(training)
    ):
        return previous.model
    return model


def same_folds(last: PastRound, human: HumanLabels, folds: int, seed: int) -> bool:
    """Whether every human label lies in the fold that it had, and those withheld were so then."""
    if last.scores is None or last.record.outcome.get("withheld", "") != withheld_digest(human):
        return False
    positions = positions_in(last.scores["image_id"], human.image_ids)
    scored = positions >= 0
    now = fold_of(human.unit_keys[scored], folds, seed)
    return bool(np.array_equal(last.scores["fold"][positions[scored]], now))


def is_finished(inputs: RoundInputs, settings: Settings) -> bool:
    """Whether every image has a label, and labels and settings are those of the last round.

    Another round could then promote nothing, and what it revoked would be no news from people.
    """
    if inputs.last is None:
        return False
    record = inputs.last.record
    nothing_new = (
        record.outcome.get("human_labels") == human_labels_digest(inputs.human)
        and record.settings == settings.model_dump(mode="json")
        and record.feature_set_id == inputs.images.feature_set_id
    )
    return nothing_new and all((chunk.standing != NO_CODE).all() for chunk in inputs.pool.chunks)


def human_labels_digest(human: HumanLabels) -> str:
    """Names what rounds learn from people: the labels, their groups, splits and confirmations."""
    digest = hashlib.sha256()
    for values in (human.image_ids, human.standing, human.unit_keys, human.split, human.confirmed):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def withheld_digest(human: HumanLabels) -> str:
    """Names the set of labelled images that are withheld from training; empty if there is none."""
    withheld = human.image_ids[human.split == code_of(Split.WITHHELD)]
    return hashlib.sha256(withheld.astype("<i8").tobytes()).hexdigest() if len(withheld) else ""
