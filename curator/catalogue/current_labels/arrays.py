"""What people had said by some moment, counted for all images at once.

`core.standing` is the rule for one image; here it is arithmetic on arrays, so that the labels
of each round can be counted again from the events. A test holds the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, code_of

Ints = NDArray[np.int64]
Codes = NDArray[np.int8]

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

    event_ids: Ints
    image_ids: Ints
    targets: Ints
    kinds: Codes
    labels: Codes
    origins: Codes
    methods: Codes
    moments: Ints
    sessions: Ints

    def until(self, moment: int) -> PeopleEvents:
        """Those made at or before a moment."""
        return self.where(self.moments <= moment)

    def where(self, chosen: NDArray[np.bool_]) -> PeopleEvents:
        """Those that a mask (n,) chooses."""
        return PeopleEvents(**{name: getattr(self, name)[chosen] for name in self.__slots__})


def current_labels_of_people(events: PeopleEvents) -> tuple[Ints, Codes, Codes]:
    """Images with a standing human label, by id; its `CurrentLabel` code and its origin's code.

    The same as `core.standing.standing_label` says of each image's events of people.
    """
    taken_back = np.isin(events.event_ids, events.targets[events.targets > 0])
    kept = events.where((events.kinds == _ASSERT) & ~taken_back)
    order = np.lexsort((kept.event_ids, kept.image_ids))
    kept = kept.where(order)  # type: ignore[arg-type]  # an order chooses as well as a mask
    count = len(order)
    if not count:
        return kept.image_ids, kept.labels, kept.origins
    first = np.flatnonzero(np.r_[True, np.diff(kept.image_ids) != 0])
    last = np.r_[first[1:], count] - 1
    contradicted = _contradicted(kept, first, last)
    standing = _STANDING_OF_LABEL[kept.labels[last]]
    standing = np.where(contradicted, code_of(CurrentLabel.CONFLICT), standing).astype(np.int8)
    return kept.image_ids[last], standing, kept.origins[last]


def _contradicted(kept: PeopleEvents, first: Ints, last: Ints) -> NDArray[np.bool_]:
    """Per image, whether the imports since anybody last looked name both classes."""
    places = np.arange(len(kept.image_ids))
    looked = np.where(kept.methods != _IMPORT, places, -1)
    since = np.maximum(first, np.maximum.accumulate(looked)[last] + 1)
    both = np.ones(len(first), dtype=np.bool_)
    for label in (Label.POSITIVE, Label.NEGATIVE):
        said = np.r_[0, np.cumsum(kept.labels == code_of(label))]
        both &= said[last + 1] > said[since]
    return both
