"""Claims, skips and flags: what several reviewers need to work at once.

A claim says that an image is before somebody's eyes; it expires by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from curator.catalogue.engine import Catalogue


def claim(
    catalogue: Catalogue,
    image_ids: Sequence[int],
    *,
    queue: str,
    actor: str,
    session: str,
    seconds: float = 600.0,
) -> list[int]:
    """Claim those of these images that no other session holds; returns them in order."""
    raise NotImplementedError


def release(catalogue: Catalogue, *, session: str) -> int:
    """Let go of everything a session has claimed."""
    raise NotImplementedError


def skip(catalogue: Catalogue, image_id: int, *, queue: str, actor: str, session: str) -> None:
    """Leave an image out of this queue for this session."""
    raise NotImplementedError


def flag(catalogue: Catalogue, image_id: int, *, note: str, actor: str) -> int:
    """Mark an image for somebody to look at; returns the flag's id."""
    raise NotImplementedError
