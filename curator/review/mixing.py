"""How `borderline` is mixed: mostly the least certain, some diverse, a few at random.

The least certain alone are often many pictures of one difficulty, and an error that the
model is sure of never comes up among them. The mixture is fixed, and each image is told
with why it is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class MixReason(StrEnum):
    """Why an image is in the queue, as a reviewer reads it."""

    UNCERTAIN = "least certain"
    DIVERSE = "unlike the others here"
    RANDOM = "drawn at random"


PATTERN = (
    MixReason.UNCERTAIN, MixReason.UNCERTAIN, MixReason.UNCERTAIN, MixReason.DIVERSE,
    MixReason.UNCERTAIN, MixReason.UNCERTAIN, MixReason.DIVERSE, MixReason.UNCERTAIN,
    MixReason.UNCERTAIN, MixReason.RANDOM,
)  # fmt: skip
"""Out of ten images seven are the least certain, two diverse, and one is random."""

EXPLANATION = "of ten images 7 are the least certain, 2 unlike the others, 1 is drawn at random"


@dataclass(frozen=True, slots=True)
class Mixed:
    """One image of a mixture."""

    image_id: int
    why: MixReason


def mix(
    uncertain: Sequence[int], diverse: Sequence[int], random: Sequence[int], size: int
) -> list[Mixed]:
    """At most `size` images after `PATTERN`, each once, each part in its own order.

    A part that has run out gives its turns to the least certain, then to the others.
    """
    parts = {
        MixReason.UNCERTAIN: iter(uncertain),
        MixReason.DIVERSE: iter(diverse),
        MixReason.RANDOM: iter(random),
    }
    seen: set[int] = set()
    mixed: list[Mixed] = []
    for turn in range(size):
        wanted = PATTERN[turn % len(PATTERN)]
        for why in (wanted, *MixReason):
            image_id = _next_new(parts[why], seen)
            if image_id is not None:
                seen.add(image_id)
                mixed.append(Mixed(image_id, why))
                break
        else:
            return mixed
    return mixed


def _next_new(ids: Iterator[int], seen: set[int]) -> int | None:
    return next((one for one in ids if one not in seen), None)
