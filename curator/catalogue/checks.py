"""Does the catalogue still keep its promises? The queries behind `curator verify`.

Standing labels are derived again from the events by `core.standing`, which shares no
code with the SQL that keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from curator.catalogue.engine import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that does not hold: which check, and a sentence with the place."""

    check: str
    text: str


def check_catalogue(
    catalogue: Catalogue, *, advance: Callable[[int], None] = lambda images: None
) -> Iterator[Finding]:
    """Run every check on the database; `advance` hears of images that were derived again."""
    raise NotImplementedError
