"""Sources: the named root folders that images come from."""

from __future__ import annotations

from dataclasses import dataclass

from curator.catalogue.engine import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """A source as it is catalogued; `root` is an absolute path in bytes."""

    source_id: int
    name: str
    root: bytes
    licence: str
    attribution: str


def add_source(
    catalogue: Catalogue, *, name: str, root: bytes, licence: str = "", attribution: str = ""
) -> SourceRecord:
    """Add a source, or return the one that has this name and root already.

    A licence or attribution that is given replaces an empty one. Raises DataError if the
    name stands for another root, the root has another name, or the licence differs.
    """
    raise NotImplementedError


def find_source(catalogue: Catalogue, name: str) -> SourceRecord | None:
    """The source with this name."""
    raise NotImplementedError


def list_sources(catalogue: Catalogue) -> list[SourceRecord]:
    """All sources, in the order in which they were added."""
    raise NotImplementedError


def relocate_source(catalogue: Catalogue, source_id: int, root: bytes) -> SourceRecord:
    """Say that a source's folder now lies at `root`; its locations move with it.

    Raises DataError if another source has that root.
    """
    raise NotImplementedError
