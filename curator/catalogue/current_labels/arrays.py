"""The human labels of all images at some moment: the rule as arithmetic on arrays.

`rule.py` is the rule for one image; this form lets reports count the labels at each round again
from the events. A test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curator.base.arrays import BoolArray, CodeArray, IntArray
from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, code_of

_ASSERT = code_of(EventKind.ASSERT)
_IMPORT = code_of(Method.IMPORT)
_STANDING_OF_LABEL = np.array([code_of(CurrentLabel(label)) for label in Label], dtype=np.int8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeopleEvents:
    """Events of people in their order, all arrays (n,).

    `event_ids`, `image_ids`, `targets` (0: none): int64. `kinds`, `labels`, `origins`,
    `methods`: int8 codes. `moments`: int64, microseconds since 1970. `sessions`: int64, a
    number for each session, -1 for events of none.
    """

    event_ids: IntArray
    image_ids: IntArray
    targets: IntArray
    kinds: CodeArray
    labels: CodeArray
    origins: CodeArray
    methods: CodeArray
    moments: IntArray
    sessions: IntArray

    def until(self, moment: int) -> PeopleEvents:
        """Those made at or before a moment."""
        return self.where(self.moments <= moment)

    def where(self, selection: BoolArray | IntArray) -> PeopleEvents:
        """Those that a mask (n,) or an array of positions selects."""
        return PeopleEvents(**{name: getattr(self, name)[selection] for name in self.__slots__})


def current_labels_of_people(events: PeopleEvents) -> tuple[IntArray, CodeArray, CodeArray]:
    """Images with a current human label, by id; its `CurrentLabel` code and its origin's code.

    The same as `current_labels.rule.current_label` gives for each image's events of people.
    """
    retracted = np.isin(events.event_ids, events.targets[events.targets > 0])
    asserted = events.where((events.kinds == _ASSERT) & ~retracted)
    asserted = asserted.where(np.lexsort((asserted.event_ids, asserted.image_ids)))
    count = len(asserted.image_ids)
    if not count:
        return asserted.image_ids, asserted.labels, asserted.origins
    first = np.flatnonzero(np.r_[True, np.diff(asserted.image_ids) != 0])
    last = np.r_[first[1:], count] - 1
    standing = _STANDING_OF_LABEL[asserted.labels[last]]
    conflict = code_of(CurrentLabel.CONFLICT)
    standing = np.where(_contradicted(asserted, first, last), conflict, standing).astype(np.int8)
    return asserted.image_ids[last], standing, asserted.origins[last]


def _contradicted(asserted: PeopleEvents, first: IntArray, last: IntArray) -> BoolArray:
    """Per image, whether the imports since the last personal decision name both classes."""
    positions = np.arange(len(asserted.image_ids))
    personal = np.where(asserted.methods != _IMPORT, positions, -1)
    # The latest personal decision up to each position may be another image's: hence `first`.
    since = np.maximum(first, np.maximum.accumulate(personal)[last] + 1)
    both = np.ones(len(first), dtype=np.bool_)
    for label in (Label.POSITIVE, Label.NEGATIVE):
        # The difference of two running counts is the count between them.
        counts = np.r_[0, np.cumsum(asserted.labels == code_of(label))]
        both &= counts[last + 1] > counts[since]
    return both
