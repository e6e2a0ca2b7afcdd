"""Which rows of the catalogue an export takes, and what it leaves out and why.

The user's words are checked before anything is written. Rows stream from one consistent
view of the catalogue; each one that a filter leaves out is counted under its reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from curator.audits.certificate import ExportableLabels
from curator.base.text import path_text, relative_path
from curator.base.values import ManifestRow
from curator.base.vocabulary import CurrentLabel, Origin, Split
from curator.catalogue.manifest import count_manifest_rows, manifest_rows
from curator.catalogue.rounds import list_rounds
from curator.catalogue.sources import list_sources
from curator.errors import UsageError
from curator.export.division import Division, parse_division
from curator.export.rows import Entry, Item, one_per_unit
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace

Word = TypeVar("Word")

CLASSES = (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)

_TOGETHER = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What an export takes, in the user's words; what is empty takes all there is.

    `labels` are class names, `unsure` or `conflict`; without them, the two classes.
    `splits` are what curator used a label for (`train`, `calibration`, `test`,
    `withheld`), `rounds` those that promoted. `min_probability` is that of the label
    itself; people's labels need none. `one_per_group` takes one image of those that
    belong together. `include_unlabelled` adds images without a label, with their scores;
    `provisional`, under the certified policy, promoted labels that nothing certifies.
    """

    labels: Sequence[str] = ()
    origins: Sequence[str] = ()
    sources: Sequence[str] = ()
    splits: Sequence[str] = ()
    rounds: Sequence[int] = ()
    min_probability: float | None = None
    one_per_group: bool = False
    include_unlabelled: bool = False
    provisional: bool = False

    def as_facts(self) -> dict[str, Any]:
        """Those that are set, for the sidecar."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: list(value) if isinstance(value, (list, tuple)) else value
            for name, value in facts.items()
            if value not in ((), [], None, False)
        }


EVERYTHING = Filters()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChoice:
    """The filters after they were checked, in the catalogue's words."""

    standings: tuple[CurrentLabel, ...]
    origins: tuple[Origin, ...] | None
    sources: Collection[str]
    splits: Collection[Split]
    rounds: Collection[int]
    min_probability: float
    one_per_group: bool
    include_unlabelled: bool
    division: Division | None
    covered: ExportableLabels

    @property
    def is_partial(self) -> bool:
        """Whether some labels of the two classes are left out on purpose."""
        narrowed = self.origins or self.sources or self.splits or self.rounds
        fewer = self.one_per_group or not set(CLASSES) <= set(self.standings)
        return bool(narrowed or fewer or self.min_probability)


def choose_images(workspace: Workspace, filters: Filters, divide: str | None) -> ImageChoice:
    """Check the user's words. Raises UsageError for a word that means nothing here."""
    classes = workspace.settings.classes
    sources = {one.name: one.name for one in list_sources(workspace.catalogue)}
    rounds = {one.round_id: one.round_id for one in list_rounds(workspace.catalogue)}
    minimum = filters.min_probability or 0.0
    if not 0.0 <= minimum <= 1.0:
        raise UsageError(
            f"A probability of {minimum} cannot be asked for.", "Give a number from 0 to 1."
        )
    return ImageChoice(
        standings=_standings(filters.labels, classes),
        origins=_origins(filters.origins),
        sources={_known(one, sources, "source") for one in filters.sources},
        splits={
            _known(one, {str(word): word for word in Split}, "split") for one in filters.splits
        },
        rounds={_known(one, rounds, "round") for one in filters.rounds},
        min_probability=minimum,
        one_per_group=filters.one_per_group,
        include_unlabelled=filters.include_unlabelled,
        division=None
        if divide is None
        else parse_division(divide, workspace.settings.runtime.seed),
        covered=ExportableLabels(
            workspace.catalogue, workspace.settings, provisional=filters.provisional
        ),
    )


class ExportRows:
    """The catalogue's rows as items, with a count of what was left out.

    `left_out` maps reasons to locations; `check`, where given, opens each file and gives
    a reason to leave it out or None.
    """

    def __init__(
        self,
        workspace: Workspace,
        choice: ImageChoice,
        relative_to: Path | None,
        check: Callable[[ManifestRow], str | None] | None = None,
    ) -> None:
        self._catalogue = workspace.catalogue
        classes = workspace.settings.classes
        self._names: dict[CurrentLabel | None, str | None] = {None: None}
        self._names |= {standing: classes.name_of(standing) for standing in CurrentLabel}
        self._band = workspace.settings.export
        self._choice = choice
        self._check = check
        self._folder = None if relative_to is None else os.fsencode(relative_to.absolute())
        self.left_out: Counter[str] = Counter()

    def count(self) -> int:
        """How many rows the catalogue has to give, before filters that look at each."""
        choice = self._choice
        return count_manifest_rows(
            self._catalogue,
            standings=choice.standings,
            origins=choice.origins,
            include_unlabelled=choice.include_unlabelled,
        )

    def items(self, advance: Callable[[int], None]) -> Iterator[Item]:
        """All that are not left out; `advance` hears of the rows that were looked at."""
        choice = self._choice
        rows = manifest_rows(
            self._catalogue,
            standings=choice.standings,
            origins=choice.origins,
            include_unlabelled=choice.include_unlabelled,
        )
        while some := list(islice(rows, _TOGETHER)):
            taken = [row for row in some if self._takes(row)]
            yield from map(self._item, taken, self._parts(taken))
            advance(len(some))

    def taken(self, advance: Callable[[int], None], scratch: Path) -> Iterator[Item]:
        """The items that the export is made of; sorting them by group goes to `scratch`."""
        items = self.items(advance)
        if not self._choice.one_per_group:
            yield from items
            return
        for item in one_per_unit(self._counted(items), scratch):
            self.left_out["other-in-group"] -= 1
            yield item

    def _counted(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            self.left_out["other-in-group"] += 1
            yield item

    def _takes(self, row: ManifestRow) -> bool:
        reason = self._reason_against(row)
        if reason is None and self._check is not None:
            reason = self._check(row)
        if reason is not None:
            self.left_out[reason] += 1
        return reason is None

    def _reason_against(self, row: ManifestRow) -> str | None:
        choice = self._choice
        if choice.sources and row.source not in choice.sources:
            return "other-source"
        if row.origin is Origin.PROMOTED and row.image_id not in choice.covered:
            return "provisional"
        if choice.splits and row.split not in choice.splits:
            return "other-split"
        if choice.rounds and row.round not in choice.rounds:
            return "other-round"
        if choice.min_probability and not self._is_sure(row):
            return "less-probable"
        low, high = self._band.uncertain_from, self._band.uncertain_to
        if low < high and row.probability is not None and low <= row.probability <= high:
            return "uncertain"
        return None

    def _is_sure(self, row: ManifestRow) -> bool:
        if row.standing is not None and row.origin is not Origin.PROMOTED:
            return True
        if row.probability is None:
            return False
        positive, negative = row.probability, 1 - row.probability
        of_label = {CurrentLabel.POSITIVE: positive, CurrentLabel.NEGATIVE: negative}
        certainty = max(positive, negative) if row.standing is None else of_label[row.standing]
        return certainty >= self._choice.min_probability

    def _parts(self, rows: Sequence[ManifestRow]) -> Sequence[str | None]:
        """The split of each row as it is written: by the user's shares, else as pinned."""
        division = self._choice.division
        if division is None:
            return [None if row.split is None else row.split.value for row in rows]
        return division.part_of(np.array([row.unit_key for row in rows], dtype=np.int64))

    def _item(self, row: ManifestRow, part: str | None) -> Item:
        file = path_text(row.path)
        path = file if self._folder is None else path_text(relative_path(row.path, self._folder))
        entry = Entry(
            path,
            row.sha256.hex(),
            self._names[row.standing],
            None if row.origin is None else row.origin.value,
            row.probability,
            row.round,
            group_name(row),
            part,
            row.width,
            row.height,
        )
        return Item(
            entry,
            row.image_id,
            file,
            row.source,
            row.size,
            row.mtime_ns,
            row.format,
            row.unit_key,
        )


def group_name(row: ManifestRow) -> str | None:
    """The user's name of the group, or `near:` and a number for near-duplicates."""
    if row.user_group is not None:
        return row.user_group
    return near_name(row.unit_key) if row.grouped else None


def near_name(unit_key: int) -> str:
    """The name of a unit of near-duplicates."""
    return f"near:{unit_key & (2**64 - 1):016x}"


def _standings(labels: Sequence[str], classes: ClassesSettings) -> tuple[CurrentLabel, ...]:
    if not labels:
        return CLASSES
    known = {str(standing): standing for standing in CurrentLabel}
    known |= {classes.name_of(standing): standing for standing in CurrentLabel}
    wanted = {_known(label, known, "label") for label in labels}
    return tuple(standing for standing in CurrentLabel if standing in wanted)


def _origins(origins: Sequence[str]) -> tuple[Origin, ...] | None:
    if not origins:
        return None
    known = {str(origin): origin for origin in Origin}
    wanted = {_known(origin, known, "origin") for origin in origins}
    return tuple(origin for origin in Origin if origin in wanted)


def _known(word: Any, known: Mapping[Any, Word], what: str) -> Word:
    if word not in known:
        there_are = ", ".join(map(str, known))
        raise UsageError(
            f"There is no {what} `{word}`.",
            f"Choose from {there_are}." if there_are else f"There is no {what} yet.",
        )
    return known[word]
