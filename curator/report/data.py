"""What a report tells, as plain values: the facts behind its words, plots and pictures.

Nothing here is HTML, and nothing is safe to look at yet: names and notes are as people and
file systems wrote them. Standing labels and origins are spelled as in `core.words`; the
user's names of the classes stand in `positive` and `negative` once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any

from curator.rounds.score_quality import ScoreQuality


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMoment:
    """The pool after a round (`round` is None: now).

    `people` is standing → origin → images, `promoted` standing → images.
    """

    round: int | None
    people: Mapping[str, Mapping[str, int]]
    promoted: Mapping[str, int]
    unlabelled: int

    @property
    def name(self) -> str:
        """`round 3`, or `now`."""
        return "now" if self.round is None else f"round {self.round}"

    def by_people(self, standing: str) -> int:
        """Images that people gave this label."""
        return sum(self.people.get(standing, {}).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFacts:
    """A round: what it did, when it ended, and what labels say of its scores."""

    round: int
    kind: str
    status: str
    promoted_positive: int
    promoted_negative: int
    revoked: int
    standing_promoted: int
    coverage: float
    seconds: float
    finished_at: datetime
    judgement: ScoreQuality | None
    alarms: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFacts:
    """How a round scored the images without a human label.

    `histogram` counts them in equal intervals of P(positive). `bands` counts those below
    `below`, from there to one half, from one half to `above`, and beyond `above`.
    """

    round: int
    images: int
    histogram: tuple[int, ...]
    bands: tuple[int, int, int, int]
    below: float
    above: float
    raw: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionPoint:
    """The error if the surest images were promoted up to a coverage.

    `claimed` follows from the scores themselves. Of the `labels` that judge and are at least
    as sure, `errors` are wrong: a share between `low` and `high` at 95%.
    """

    coverage: float
    certainty: float
    claimed: float
    labels: int
    errors: int
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Coverage against estimated error, of the round that stands; `rests` says on what.

    `coverage` and `error` are the chosen point: what stood promoted after that round.
    """

    round: int
    images: int
    points: tuple[SelectionPoint, ...]
    coverage: float
    error: float
    promoted: int
    on_pool: bool
    labels: int
    rests: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """A certificate in a sentence; `state` is `valid`, or says why it is stale."""

    sentence: str
    valid: bool
    state: str
    attempt: int
    frame: str
    issued_at: datetime
    certified: int
    bound: float
    about_promoted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFacts:
    """An audit: what for, how far it came."""

    audit: int
    kind: str
    scope: str
    state: str
    sample: int
    answered: int
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFacts:
    """What people decided under one origin, by one method; minutes only where they looked."""

    origin: str
    method: str
    decisions: int
    taken_back: int
    sessions: int
    minutes: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """A source: its files, the labels of its images, and whether scores fare well there.

    `people` and `promoted` are standing → images. `expected` and `found` are positives among
    the `judged` labels, by scores and by people.
    """

    name: str
    licence: str
    attribution: str
    files: int
    missing: int
    people: Mapping[str, int]
    promoted: Mapping[str, int]
    unlabelled: int
    judged: int = 0
    expected: float | None = None
    found: int | None = None
    differs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedFile:
    """An example of what cannot be used."""

    name: str
    source: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A picture, or why there is none, and what is said below it.

    `jpeg` fits a small tile; `width` and `height` are its own.
    """

    name: str
    sha256: str
    caption: tuple[str, ...]
    jpeg: bytes | None = field(repr=False)
    width: int = 0
    height: int = 0
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureStripRow:
    """Pictures of one kind; `remark` says which they are, `empty` why there are none."""

    key: str
    heading: str
    remark: str
    tiles: tuple[Thumbnail, ...]
    empty: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingFacts:
    """A setting, as TOML; `usual` says whether it is the default."""

    key: str
    value: str
    usual: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything that a report tells, at one moment of a workspace."""

    workspace: str
    positive: str
    negative: str
    changed_at: datetime | None
    images: int
    usable: int
    labelled: int
    promoted: int
    unlabelled: int
    coverage: float
    asked: tuple[str, ...]
    came_out: tuple[str, ...]
    alarms: tuple[str, ...]
    next: str
    pool: tuple[PoolMoment, ...]
    rounds: tuple[RoundFacts, ...]
    scores: tuple[ScoreFacts, ...]
    scores_missing: tuple[int, ...]
    selection: Selection | None
    selection_missing: str
    judged: tuple[str, ...]
    certificates: tuple[CertificateFacts, ...]
    no_certificate: str
    audits: tuple[AuditFacts, ...]
    work: tuple[WorkFacts, ...]
    sources: tuple[SourceFacts, ...]
    quarantine: Mapping[str, int]
    quarantined_files: tuple[QuarantinedFile, ...]
    strips: tuple[PictureStripRow, ...]
    settings: tuple[SettingFacts, ...]
    versions: Mapping[str, str]
    model: Mapping[str, str]

    def name_of(self, standing: str) -> str:
        """The user's word for a standing label."""
        return {"positive": self.positive, "negative": self.negative}.get(standing, standing)

    @property
    def current(self) -> RoundFacts | None:
        """The round that stands."""
        return next((one for one in self.rounds if one.status == "current"), None)

    @property
    def minutes(self) -> float:
        """Minutes that people spent looking."""
        return sum(one.minutes or 0.0 for one in self.work)

    @property
    def decisions(self) -> int:
        """Everything that people ever decided or imported, taken back or not."""
        return sum(one.decisions for one in self.work)


def facts(value: Any) -> Any:
    """The story as JSON values; of pictures only what is said about them."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {one.name: getattr(value, one.name) for one in fields(value) if one.name != "jpeg"}
        return {name: facts(one) for name, one in named.items()}
    if isinstance(value, Mapping):
        return {str(name): facts(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [facts(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
