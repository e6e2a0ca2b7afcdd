"""The labelled images nearest to one image, of each class: why the model may think so.

Nearness is the cosine of the current encoder's features, which the heads are fitted to.
Only what is encoded already is compared, and of each class at most `EXAMPLES` images
chosen at random, so that memory and time stay the same whatever has been labelled.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import CurrentLabel, code_of
from curator.catalogue import queues
from curator.catalogue.features import rows_of
from curator.catalogue.pool import human_labels
from curator.encoding.stored_rows import StoredRows, current_features
from curator.review.selection import unit_length
from curator.statistics.folds import sampling_rank
from curator.workspace import Workspace

EXAMPLES = 3_000
"""Labelled images of each class that are compared."""
STALE_AFTER = 20
"""New decisions after which the examples are read again."""

SIDES = (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)


@dataclass(frozen=True, slots=True)
class _Examples:
    ids: NDArray[np.int64]
    features: NDArray[np.float32]


class LabelledNeighbours:
    """Finds neighbours in one workspace. Safe to call from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._features: StoredRows | None = None
        self._examples: dict[CurrentLabel, _Examples] = {}
        self._read_at: int | None = None

    def nearest(self, image_id: int, count: int) -> dict[CurrentLabel, list[int]]:
        """Ids of the nearest labelled images of each class; none without features."""
        with self._lock:
            self._read_again()
            features, examples = self._features, self._examples
        if features is None:
            return {}
        row = rows_of(self._workspace.catalogue, features.feature_set_id, [image_id])
        if row[0] < 0 or row[0] >= features.rows:
            return {}
        target = unit_length(features.gather(row))[0]
        return {side: _nearest(examples[side], target, image_id, count) for side in examples}

    def _read_again(self) -> None:
        catalogue = self._workspace.catalogue
        if self._read_at is not None:
            since = queues.decisions_since(catalogue, self._read_at)
            if since < STALE_AFTER:
                return
        self._read_at = queues.newest_event(catalogue)
        self._features = current_features(self._workspace)
        if self._features is not None:
            self._examples = self._read_examples(self._features)

    def _read_examples(self, features: StoredRows) -> dict[CurrentLabel, _Examples]:
        labels = human_labels(self._workspace.catalogue, features.feature_set_id)
        examples = {}
        for side in SIDES:
            encoded = (labels.standing == code_of(side)) & (labels.feature_rows >= 0)
            encoded &= labels.feature_rows < features.rows
            ids, rows = labels.image_ids[encoded], labels.feature_rows[encoded]
            sample = np.argsort(sampling_rank(ids, 0), kind="stable")[:EXAMPLES]
            if len(sample):
                vectors = unit_length(features.gather(rows[sample]))
                examples[side] = _Examples(ids[sample], vectors)
        return examples


def _nearest(
    examples: _Examples, target: NDArray[np.float32], image_id: int, count: int
) -> list[int]:
    order = np.lexsort((examples.ids, -(examples.features @ target)))
    nearest = [int(i) for i in examples.ids[order[: count + 1]]]
    return [i for i in nearest if i != image_id][:count]  # an image is no neighbour of its own
