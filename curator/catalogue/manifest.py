"""The rows of a manifest, streamed in order of their paths from one consistent view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from curator.catalogue.engine import Catalogue
from curator.core.records import ManifestRow
from curator.core.words import Origin, Standing


def manifest_rows(
    catalogue: Catalogue,
    *,
    standings: Sequence[Standing] = (Standing.POSITIVE, Standing.NEGATIVE),
    origins: Sequence[Origin] | None = None,
    include_unlabelled: bool = False,
    sources: Sequence[str] | None = None,
) -> Iterator[ManifestRow]:
    """One row per present location of each usable image that matches, sorted by path bytes.

    Holds one read transaction until the iterator is exhausted or closed; others may
    write meanwhile. Memory does not grow with the number of rows.
    """
    raise NotImplementedError


def count_manifest_rows(
    catalogue: Catalogue,
    *,
    standings: Sequence[Standing] = (Standing.POSITIVE, Standing.NEGATIVE),
    origins: Sequence[Origin] | None = None,
    include_unlabelled: bool = False,
    sources: Sequence[str] | None = None,
) -> int:
    """How many rows `manifest_rows` would give."""
    raise NotImplementedError
