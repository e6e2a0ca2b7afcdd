"""Groups, the units that follow from them, and the images that bridge splits.

A unit is a connected component over primary memberships of the current groupings. Its
key decides its fold and, with the first human label of a member, its split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curator.catalogue.engine import Catalogue
from curator.core.words import GroupKind


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """A group to be recorded.

    `primary` members are tied into one unit; `secondary` ones lie near the representative
    too, but belong to another group. An image is primary in at most one group of a
    grouping. A group with secondary members has a representative among its primary ones.
    """

    name: str
    primary: tuple[int, ...]
    secondary: tuple[int, ...] = ()
    representative_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupingRecord:
    """One version of a grouping."""

    grouping_id: int
    kind: GroupKind
    version: int
    groups: int
    members: int
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupingReport:
    """What replacing a grouping did; `changed` is False if it was the same already."""

    grouping: GroupingRecord
    changed: bool
    units_changed: int
    withheld: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldReport:
    """Images that must not be trained on because they bridge splits.

    `labelled` counts those with a human label; `units` the units that span pinned splits.
    """

    images: int
    labelled: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMate:
    """A membership of an image in a current group."""

    kind: GroupKind
    name: str
    primary: bool
    representative_id: int | None


def replace_grouping(
    catalogue: Catalogue,
    kind: GroupKind,
    groups: Iterable[GroupRecord],
    *,
    details: Mapping[str, Any] | None = None,
) -> GroupingReport:
    """Make `groups` the current grouping of its kind, and derive units and splits anew.

    One transaction. Groups of one image need not be given. A grouping equal to the
    current one changes nothing. Memberships of superseded versions are kept only where
    a round ran under them. Raises DataError if an image is primary in two groups.
    """
    raise NotImplementedError


def current_grouping(catalogue: Catalogue, kind: GroupKind) -> GroupingRecord | None:
    """The current grouping of a kind."""
    raise NotImplementedError


def groups_of(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, tuple[GroupMate, ...]]:
    """The current groups of each image that is in any."""
    raise NotImplementedError


def unit_mates(catalogue: Catalogue, image_id: int, *, limit: int = 100) -> list[int]:
    """Other images of the same unit, by id."""
    raise NotImplementedError


def withheld(catalogue: Catalogue) -> WithheldReport:
    """How many images are withheld from training now."""
    raise NotImplementedError


def withheld_ids(catalogue: Catalogue, *, limit: int = 1_000) -> list[int]:
    """The ids of withheld images."""
    raise NotImplementedError
