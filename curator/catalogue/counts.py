"""Counts for `status`: answered from indexes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from curator.catalogue.engine import Catalogue
from curator.core.words import LocationState, Origin, Quarantine, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCount:
    """A source and how many locations of it there are in each state."""

    name: str
    root: bytes
    licence: str
    attribution: str
    locations: Mapping[LocationState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The catalogue in numbers.

    `images` counts all images, `usable` those not in quarantine (the pool). `labels` is
    standing → origin → count over usable images. `quarantined` counts images by reason,
    and files that could not even be read. `duplicates` are present locations beyond the
    first of their image. `without_human` = unlabelled + promoted.
    """

    images: int
    usable: int
    locations: int
    duplicates: int
    missing: int
    labels: Mapping[Standing, Mapping[Origin, int]]
    unlabelled: int
    without_human: int
    promoted: int
    quarantined: Mapping[Quarantine, int]
    blocked: int
    withheld: int
    groups: Mapping[str, int]

    @property
    def coverage(self) -> float:
        """Promoted images / images without a human label."""
        return self.promoted / self.without_human if self.without_human else 0.0


def counts(catalogue: Catalogue) -> Counts:
    """Everything `status` counts, in one consistent view."""
    raise NotImplementedError


def source_counts(catalogue: Catalogue) -> list[SourceCount]:
    """Locations by source and state."""
    raise NotImplementedError


def human_counts(catalogue: Catalogue) -> Mapping[Standing, int]:
    """Usable images by standing human label."""
    raise NotImplementedError
