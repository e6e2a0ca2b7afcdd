"""Which images to look at next: ids only, from indexes, quick at any size.

All queues leave out images that cannot be used (but `quarantine`), and, for a session,
what others have claimed and what it has skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.catalogue.engine import Catalogue
from curator.core.words import Origin, Quarantine, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFilter:
    """What a queue leaves out: skips of `session`, living claims of other sessions."""

    session: str | None = None
    queue: str = ""
    source_id: int | None = None


NO_FILTER = QueueFilter()


def borderline(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Unlabelled images nearest to P = 0.5 in the current scores, least certain first.

    Raises DataError if there are no scores yet.
    """
    raise NotImplementedError


def unfamiliar(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Unlabelled images farthest from anything labelled, where rounds measured that.

    Empty when no distances are staged with the current scores: the workflow may then
    measure them itself.
    """
    raise NotImplementedError


def promoted(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Images that stand promoted, those promoted with the least certainty first."""
    raise NotImplementedError


def random_unlabelled(
    catalogue: Catalogue, *, size: int, seed: int, leave_out: QueueFilter = NO_FILTER
) -> list[int]:
    """A uniform random sample of the unlabelled images, the same for the same seed."""
    raise NotImplementedError


def random_without_human(
    catalogue: Catalogue, *, size: int, seed: int, leave_out: QueueFilter = NO_FILTER
) -> list[int]:
    """A uniform random sample of images without a human label (`calibration`), promoted or not."""
    raise NotImplementedError


def conflicts(catalogue: Catalogue, *, size: int, leave_out: QueueFilter = NO_FILTER) -> list[int]:
    """Images whose human labels contradict each other, by id."""
    raise NotImplementedError


def quarantined(catalogue: Catalogue, *, size: int, reason: Quarantine | None = None) -> list[int]:
    """Images in quarantine, by id."""
    raise NotImplementedError


def id_chunks(
    catalogue: Catalogue,
    *,
    standing: Sequence[Standing | None] | None = None,
    origins: Sequence[Origin] | None = None,
    size: int = 65_536,
) -> Iterator[NDArray[np.int64]]:
    """Ids of usable images with one of these standings (None: unlabelled) and origins.

    Ascending, in short transactions.
    """
    raise NotImplementedError


def score_histogram(catalogue: Catalogue, *, bins: int = 20) -> NDArray[np.int64]:
    """How many usable images have their current score in each of `bins` equal intervals."""
    raise NotImplementedError


def borderline_left(catalogue: Catalogue) -> int:
    """How many usable, scored images have no standing label."""
    raise NotImplementedError
