"""What an export takes, in the user's words, and these words checked.

Nothing is written before every word is known to mean something here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from curator.audits.certificate import CertifiedImages, ExportableLabels
from curator.base.arrays import IntArray
from curator.base.text import same_text
from curator.base.vocabulary import AuditScope, CurrentLabel, Origin, Split
from curator.catalogue.manifest import CLASSES
from curator.catalogue.quality import QualityBound, read_bound
from curator.catalogue.rounds import list_rounds
from curator.catalogue.sources import list_sources
from curator.errors import UsageError
from curator.export.placing import Way
from curator.statistics.folds import division_rank
from curator.workspace import Workspace

Word = TypeVar("Word")

SHARD_BYTES = 1_000_000_000
"""Size of a shard unless the user says otherwise."""


PARTS = ("train", "validation", "test")
"""The names of the parts, as Hugging Face and most loaders know them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What an export takes, in the user's words; what is empty takes all there is.

    `labels` are class names, `unsure` or `conflict`; without them, what is delivered.
    `splits` are what curator used a label for (`train`, `calibration`, `test`,
    `withheld`), `rounds` those that promoted. `min_probability` is that of the label
    itself; people's labels need none. `quality` are
    bounds, as `sharpness>0.3`. `one_per_group` takes one image of those that
    belong together. `include_unlabelled` adds images without a label, with their scores;
    `provisional`, under the certified policy, promoted labels that nothing certifies.
    """

    labels: Sequence[str] = ()
    origins: Sequence[str] = ()
    sources: Sequence[str] = ()
    splits: Sequence[str] = ()
    rounds: Sequence[int] = ()
    min_probability: float | None = None
    quality: Sequence[str] = ()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What to export, where to and how, in the user's words.

    `format` follows from the suffix of `destination` where it is None. `divide` (`80/10/10`)
    makes train, validation and test parts. Paths in a manifest are relative to `relative_to`.
    `files` and `shard_bytes` say how images come to a folder, `convert` what those are converted
    to that its readers do not decode. `check` makes a manifest open each
    file and leave out what is not the image any more; folders always do.
    """

    destination: Path
    format: str | None = None
    filters: Filters = Filters()
    divide: str | None = None
    relative_to: Path | None = None
    files: str = Way.AUTO
    shard_bytes: int = SHARD_BYTES
    convert: str | None = None
    check: bool = False
    force: bool = False
    evidence: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Shares of the units that go to each part; together 1.

    The part of a unit follows from a hash of its key and the seed alone. Every class is
    therefore divided in the same shares, an image never changes its part because other images
    were added, removed or labelled, and a larger share of one part only takes from its neighbour.
    """

    train: float
    validation: float
    test: float
    seed: int = 0

    def part_of(self, unit_keys: IntArray) -> list[str]:
        """The part of each unit, (rows,)."""
        ranks = division_rank(unit_keys, self.seed)
        upper_ranks = np.array([self.test, self.test + self.validation])
        return [PARTS[2 - code] for code in np.searchsorted(upper_ranks, ranks, side="right")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Filters whose words are known here, with what they stand for in the catalogue.

    `certified` is the newest certificate of promoted labels, None without one.
    """

    filters: Filters
    labels: tuple[CurrentLabel, ...]
    origins: tuple[Origin, ...] | None
    division: Division | None
    exportable: ExportableLabels
    certified: CertifiedImages | None
    bounds: tuple[QualityBound, ...] = ()

    @property
    def scope(self) -> AuditScope:
        """The class whose labels are exported; all for both, and for neither."""
        return scope_of(self.labels)

    @property
    def is_partial(self) -> bool:
        """Whether some labels of its classes are left out on purpose."""
        filters = self.filters
        narrowed = (
            filters.origins
            or filters.sources
            or filters.splits
            or filters.rounds
            or filters.quality
        )
        return bool(narrowed or filters.one_per_group or filters.min_probability)


def scope_of(labels: Sequence[CurrentLabel]) -> AuditScope:
    """The class among these labels; all for both, and for neither."""
    classes = [label for label in labels if label in CLASSES]
    return AuditScope(str(classes[0])) if len(classes) == 1 else AuditScope.ALL


def select(workspace: Workspace, request: ExportRequest) -> Selection:
    """Check the user's words. Raises UsageError for a word that means nothing here."""
    catalogue, settings, filters = workspace.catalogue, workspace.settings, request.filters
    minimum = filters.min_probability or 0.0
    if not 0.0 <= minimum <= 1.0:
        raise UsageError(
            f"A probability of {minimum} cannot be asked for.", "Give a number from 0 to 1."
        )
    label_words = {str(label): label for label in CurrentLabel}
    label_words |= {settings.classes.name_of(label): label for label in CurrentLabel}
    labels = set(_meanings(filters.labels, label_words, "label"))
    origins = _meanings(filters.origins, {str(origin): origin for origin in Origin}, "origin")
    names = {source.name: source.name for source in list_sources(catalogue)}
    words = [same_text(word, names) or word for word in filters.sources]
    filters = replace(filters, sources=_meanings(words, names, "source"))
    _meanings(filters.splits, {str(split): split for split in Split}, "split")
    rounds = {record.round_id: record for record in list_rounds(catalogue)}
    _meanings(filters.rounds, rounds, "round")
    delivered = [
        label for label in CLASSES if settings.classes.delivered in (AuditScope.ALL, label)
    ]
    chosen_labels = tuple(label for label in CurrentLabel if label in (labels or delivered))
    exportable = ExportableLabels(catalogue, settings, provisional=filters.provisional)
    return Selection(
        filters=filters,
        labels=chosen_labels,
        origins=tuple(origins) or None,
        division=None
        if request.divide is None
        else parse_division(request.divide, settings.runtime.seed),
        exportable=exportable,
        certified=exportable.certified(scope_of(chosen_labels)),
        bounds=tuple(map(_bound, filters.quality)),
    )


def _bound(text: str) -> QualityBound:
    try:
        return read_bound(text)
    except ValueError as error:
        raise UsageError(f"`{text}`: {error}.", "Give a bound, as sharpness>0.3.") from None


def parse_division(text: str, seed: int) -> Division:
    """`80/10/10` as shares of train, validation and test, in that order.

    Raises UsageError for anything but three numbers that are not negative, with a train
    part among them.
    """
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    total = sum(numbers)
    possible = len(numbers) == 3 and all(0 <= number < 1e9 for number in numbers) and numbers[0] > 0
    if not possible:
        raise UsageError(
            f"`{text}` does not define the shares.",
            "Give shares of train, validation and test, as in 80/10/10 or 90/0/10.",
        )
    train, validation, test = (number / total for number in numbers)
    return Division(train=train, validation=validation, test=test, seed=seed)


def _meanings(words: Sequence[Any], vocabulary: Mapping[Any, Word], what: str) -> list[Word]:
    for word in words:
        if word not in vocabulary:
            choices = ", ".join(map(str, vocabulary))
            raise UsageError(
                f"There is no {what} `{word}`.",
                f"Choose from {choices}." if choices else f"There is no {what} yet.",
            )
    return [vocabulary[word] for word in words]
