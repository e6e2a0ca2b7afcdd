"""Everything that a report shows, collected from one snapshot of the catalogue.

Nothing here is HTML, and nothing is escaped: names and notes are as people and file systems
wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from curator.audits.certificate import certificate_sentence
from curator.base.arrays import CodeArray, IntArray
from curator.base.progress import SILENT, Progress
from curator.base.text import printable
from curator.base.vocabulary import NO_CODE, CurrentLabel, LocationState, Origin, code_of
from curator.catalogue import event_reads
from curator.catalogue.audits import AuditRecord, list_audits
from curator.catalogue.certificates import CertificateRecord
from curator.catalogue.counts import Counts, SourceCount
from curator.catalogue.current_labels.arrays import PeopleEvents, current_labels_of_people
from curator.catalogue.engine import Catalogue
from curator.catalogue.event_reads import Unusable
from curator.catalogue.features import FeatureSetRecord, list_feature_sets
from curator.catalogue.quality import measure_histogram
from curator.catalogue.rounds import RoundRecord, RoundStatus
from curator.export.sidecar import library_versions
from curator.report import sentences
from curator.report.pictures import ThumbnailStrip, load_pictures, picture_strips
from curator.report.scores import ErrorCurve, RoundScores, error_curve_of, scores_of
from curator.report.status import Status, status
from curator.report.work import HumanWork, human_work
from curator.rounds.score_quality import ScoreQuality, SourceQuality, from_stored
from curator.settings.file import as_toml, setting_keys, value_of
from curator.settings.sections import ClassesSettings, Settings
from curator.workspace import Workspace

QUARANTINED_SHOWN = 24

MEASURES_SHOWN = {
    "sharpness": (0.0, 1.2),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 1.0),
    "entropy": (0.0, 8.0),
}
"""The measures of quality that are drawn, and the range of each."""

_CLASSES = (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCounts:
    """Usable images by current label and origin, and those without a label."""

    labels: Mapping[CurrentLabel, Mapping[Origin, int]]
    unlabelled: int

    @property
    def people(self) -> dict[CurrentLabel, dict[Origin, int]]:
        """Label → origin → images, of the labels that people gave."""
        by_label: dict[CurrentLabel, dict[Origin, int]] = {
            label: {origin: n for origin, n in origins.items() if origin is not Origin.PROMOTED}
            for label, origins in self.labels.items()
        }
        return {label: origins for label, origins in by_label.items() if origins}

    @property
    def promoted(self) -> dict[CurrentLabel, int]:
        """Class → images that rounds promoted to it."""
        return {each: self.labels.get(each, {}).get(Origin.PROMOTED, 0) for each in _CLASSES}

    def by_people(self, label: CurrentLabel) -> int:
        """Images to which people gave this label."""
        return sum(self.people.get(label, {}).values())

    @property
    def undecided(self) -> int:
        """Images that people left unsure or labelled both ways."""
        return self.by_people(CurrentLabel.UNSURE) + self.by_people(CurrentLabel.CONFLICT)

    @property
    def total(self) -> int:
        """All images."""
        return sum(sum(by.values()) for by in self.labels.values()) + self.unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMoment(LabelCounts):
    """The pool after a round, or now (`round` is None)."""

    round: int | None

    @property
    def name(self) -> str:
        """`round 3`, or `now`."""
        return "now" if self.round is None else f"round {self.round}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything that a report shows, at one moment of a workspace.

    `quality` is what labels say of the current round's scores. `scores` are those of the latest
    rounds, `missing_scores` the rounds among them whose score files are gone. `no_error_curve`
    says why there is no `error_curve`. `measures` are histograms of quality over
    the ranges of `MEASURES_SHOWN`. `source_labels` has an entry for each source with usable
    images.
    """

    status: Status
    changed_at: datetime | None
    pool: tuple[PoolMoment, ...]
    quality: ScoreQuality | None
    scores: tuple[RoundScores, ...]
    missing_scores: tuple[int, ...]
    error_curve: ErrorCurve | None
    no_error_curve: str
    audits: Sequence[AuditRecord]
    work: tuple[HumanWork, ...]
    source_labels: Mapping[str, LabelCounts]
    quarantined_files: Sequence[Unusable]
    measures: Mapping[str, IntArray]
    feature_set: FeatureSetRecord | None
    versions: Mapping[str, str]
    strips: tuple[ThumbnailStrip, ...] = ()

    @property
    def name(self) -> str:
        """The name of the workspace's folder."""
        return printable(self.status.root.resolve().name)

    @property
    def classes(self) -> ClassesSettings:
        """The user's names of the classes."""
        return self.status.settings.classes

    @property
    def quality_sentences(self) -> list[str]:
        """What labels say of the current round's scores, or why they say nothing."""
        record, positive = self.status.current_round, self.classes.positive
        return list(sentences.quality_sentences(record, self.quality, positive))

    @property
    def quarantine(self) -> dict[str, int]:
        """Reason → images or files that cannot be used."""
        return {str(reason): n for reason, n in self.status.counts.quarantined.items() if n}

    @property
    def model(self) -> dict[str, str]:
        """What the current scores were made with; empty without a current round."""
        record, features = self.status.current_round, self.feature_set
        if record is None:
            return {}
        return {
            "round": str(record.round_id),
            "encoder": "-" if features is None else features.name,
            "fingerprint of the features": "-" if features is None else features.fingerprint,
            "SHA-256 of the model": record.model_digest or "-",
            "SHA-256 of the scores": record.score_digest or "-",
            "seed": str(record.seed),
        }

    @property
    def settings(self) -> list[dict[str, Any]]:
        """All settings as TOML; `usual` says whether a value is the default."""
        defaults, rows = Settings(), []
        for key in setting_keys():
            value = value_of(self.status.settings, key)
            usual = value == value_of(defaults, key)
            rows.append({"key": key, "value": as_toml(value), "usual": usual})
        return rows

    def labels_of(self, source: SourceCount) -> LabelCounts:
        """The labels of a source's images."""
        return self.source_labels.get(source.name, LabelCounts(labels={}, unlabelled=0))

    def quality_of(self, source: SourceCount) -> SourceQuality | None:
        """What labels say of the current scores in a source; None where they are too few."""
        rows = () if self.quality is None else self.quality.sources
        return next((row for row in rows if row.source == source.name), None)

    @property
    def valid_certificate(self) -> CertificateRecord | None:
        """The certificate that holds for the promoted labels."""
        certificates = self.status.certificates
        valid = (each for each in certificates if each.stale is None)
        return next((each for each in valid if self.is_about_promoted(each)), None)

    def is_about_promoted(self, certificate: CertificateRecord) -> bool:
        """Whether a certificate is of the kind that speaks about promoted labels."""
        promoted = self.status.certificate
        return promoted is not None and certificate.kind is promoted.kind

    def as_json(self) -> dict[str, Any]:
        """The content of `curator report --json`; of pictures only what is said about them."""
        counts, curve = self.status.counts, self.error_curve
        return {
            "workspace": self.name,
            "positive": self.classes.positive,
            "negative": self.classes.negative,
            "changed_at": None if self.changed_at is None else self.changed_at.isoformat(),
            "images": counts.images,
            "other_files": counts.other_files,
            "usable": counts.usable,
            "labelled": counts.usable - counts.without_human,
            "promoted": counts.promoted,
            "unlabelled": counts.unlabelled,
            "coverage": counts.coverage,
            "asked": list(sentences.task_sentences(self.status)),
            "came_out": list(sentences.outcome_sentences(self.status)),
            "alarms": warnings_of(self.status.measured_round),
            "next": self.status.advice(),
            "pool": [
                {
                    "round": moment.round,
                    "people": moment.people,
                    "promoted": moment.promoted,
                    "unlabelled": moment.unlabelled,
                }
                for moment in self.pool
            ],
            "rounds": [_round_json(record) for record in self.status.rounds],
            "scores": [asdict(scores) for scores in self.scores],
            "scores_missing": self.missing_scores,
            "selection": None if curve is None else _curve_json(curve),
            "selection_missing": self.no_error_curve,
            "judged": self.quality_sentences,
            "certificates": [self._certificate_json(each) for each in self.status.certificates],
            "no_certificate": sentences.missing_certificate_sentence(self.status),
            "audits": [self._audit_json(audit) for audit in self.audits],
            "work": [asdict(row) for row in self.work],
            "sources": [self._source_json(source) for source in self.status.sources],
            "odd": {str(oddity): n for oddity, n in counts.odd.items()},
            "measures": {name: histogram.tolist() for name, histogram in self.measures.items()},
            "quarantine": self.quarantine,
            "quarantined_files": [
                {
                    "name": printable(file.path),
                    "source": file.source,
                    "reason": file.reason,
                    "detail": file.detail,
                }
                for file in self.quarantined_files
            ],
            "strips": [strip.as_json() for strip in self.strips],
            "settings": self.settings,
            "versions": dict(self.versions),
            "model": self.model,
        }

    def _certificate_json(self, certificate: CertificateRecord) -> dict[str, Any]:
        return {
            "sentence": certificate_sentence(certificate, self.classes),
            "valid": certificate.stale is None,
            "state": sentences.certificate_state(certificate),
            "attempt": certificate.attempt,
            "frame": certificate.frame_digest,
            "issued_at": certificate.issued_at.isoformat(),
            "certified": certificate.certified,
            "bound": certificate.bound,
            "about_promoted": self.is_about_promoted(certificate),
        }

    def _audit_json(self, audit: AuditRecord) -> dict[str, Any]:
        return {
            "audit": audit.audit_id,
            "kind": audit.kind,
            "scope": self.classes.name_of(str(audit.scope)),
            "state": audit.state,
            "sample": audit.sample,
            "answered": audit.answered,
            "opened_at": audit.opened_at.isoformat(),
        }

    def _source_json(self, source: SourceCount) -> dict[str, Any]:
        labels, quality = self.labels_of(source), self.quality_of(source)
        return {
            "name": source.name,
            "licence": source.licence,
            "attribution": source.attribution,
            "files": files_of(source),
            "missing": source.locations.get(LocationState.MISSING, 0),
            "people": {label: labels.by_people(label) for label in CurrentLabel},
            "promoted": labels.promoted,
            "unlabelled": labels.unlabelled,
            "judged": 0 if quality is None else quality.labels,
            "expected": None if quality is None else quality.expected_positive,
            "found": None if quality is None else quality.positive,
            "differs": quality is not None and quality.differs,
        }


def _round_json(record: RoundRecord) -> dict[str, Any]:
    quality = score_quality_of_round(record)
    return {
        "round": record.round_id,
        "kind": record.kind,
        "status": record.status,
        "promoted_positive": record.promoted_positive,
        "promoted_negative": record.promoted_negative,
        "revoked": record.revoked,
        "standing_promoted": record.standing_promoted,
        "coverage": record.coverage,
        "seconds": record.seconds,
        "finished_at": record.finished_at.isoformat(),
        "judgement": None if quality is None else asdict(quality),
        "threshold_error": record.outcome.get("threshold_error"),
        "alarms": warnings_of(record),
    }


def _curve_json(curve: ErrorCurve) -> dict[str, Any]:
    return {
        "round": curve.round.round_id,
        "images": curve.images,
        "points": [
            {
                "coverage": point.coverage,
                "certainty": point.certainty,
                "claimed": point.claimed,
                "labels": point.measured.sample,
                "errors": point.measured.errors,
                "low": point.measured.low,
                "high": point.measured.high,
            }
            for point in curve.points
        ],
        "coverage": curve.round.coverage,
        "error": curve.error,
        "promoted": curve.round.standing_promoted,
        "on_pool": curve.on_pool,
        "labels": curve.labels,
        "rests": sentences.error_curve_basis(curve),
    }


def score_quality_of_round(record: RoundRecord | None) -> ScoreQuality | None:
    """What labels said of a round's scores when it was committed."""
    return None if record is None else from_stored(record.outcome.get("judgement"))


def warnings_of(record: RoundRecord | None) -> list[str]:
    """The warnings of a round, each with its remedy."""
    if record is None:
        return []
    accepted = " It was accepted: promotions were made all the same."
    end = accepted if record.outcome.get("accepted_warning") else ""
    alarms = record.outcome.get("alarms", [])
    return [f"{warning['problem']} {warning['cure']}{end}" for warning in alarms]


def files_of(source: SourceCount) -> int:
    """Files of a source; those whose content has changed since are counted as other images."""
    return sum(n for state, n in source.locations.items() if state is not LocationState.CHANGED)


def collect_report(workspace: Workspace, progress: Progress = SILENT) -> ReportData:
    """Everything that a report shows. Nothing is written, and no writer has to wait."""
    with workspace.catalogue.snapshot() as catalogue:
        frozen = replace(workspace, catalogue=catalogue)
        current = status(frozen)
        with progress.stage("collect", None, "facts"):
            events = event_reads.people_events(catalogue)
            human_ids = current_labels_of_people(events)[0]
            scores, missing_scores = scores_of(frozen, current.rounds, human_ids)
            curve, no_curve = error_curve_of(frozen, current.current_round, human_ids)
            report = ReportData(
                status=current,
                changed_at=event_reads.last_change(catalogue),
                pool=pool_over_rounds(catalogue, current.rounds, events, current.counts),
                quality=score_quality_of_round(current.current_round),
                scores=scores,
                missing_scores=missing_scores,
                error_curve=curve,
                no_error_curve=no_curve,
                audits=list_audits(catalogue),
                work=human_work(events),
                source_labels=_labels_by_source(catalogue),
                measures={
                    name: measure_histogram(catalogue, name, low=low, high=high)
                    for name, (low, high) in MEASURES_SHOWN.items()
                },
                quarantined_files=event_reads.unusable(catalogue, size=QUARANTINED_SHOWN),
                feature_set=_feature_set(catalogue, current.current_round),
                versions=library_versions(),
            )
        strips = picture_strips(frozen, current.rounds)
        with progress.stage("pictures", sum(len(strip.image_ids) for strip in strips)) as stage:
            return replace(report, strips=load_pictures(frozen, strips, stage))


def pool_over_rounds(
    catalogue: Catalogue, rounds: Sequence[RoundRecord], events: PeopleEvents, now: Counts
) -> tuple[PoolMoment, ...]:
    """The pool after each round on the way to the current one, and now.

    Labels are counted again from the events; images that came to quarantine later are counted
    as they were.
    """
    promoted: CodeArray = np.empty(0, dtype=np.int8)  # the promoted class by image id
    moments = []
    for record in rounds:
        if record.status is RoundStatus.ROLLED_BACK:
            continue
        images, codes = event_reads.round_events(catalogue, record.round_id)
        missing = int(images.max(initial=-1)) + 1 - len(promoted)
        if missing > 0:
            promoted = np.append(promoted, np.full(missing, NO_CODE, dtype=np.int8))
        promoted[images] = codes
        labelled, labels, origins = current_labels_of_people(
            events.until(_microseconds(record.finished_at))
        )
        # A human label outranks a promotion, also one of an earlier round.
        current = promoted.copy()
        current[labelled[labelled < len(current)]] = NO_CODE
        counts = _count_labels(labels, origins)
        for label in _CLASSES:
            by_origin = counts.setdefault(label, {})
            by_origin[Origin.PROMOTED] = int((current == code_of(label)).sum())
        unlabelled = record.without_human - record.standing_promoted
        moments.append(PoolMoment(round=record.round_id, labels=counts, unlabelled=unlabelled))
    return (*moments, PoolMoment(round=None, labels=now.labels, unlabelled=now.unlabelled))


def _count_labels(labels: CodeArray, origins: CodeArray) -> dict[CurrentLabel, dict[Origin, int]]:
    counts: dict[CurrentLabel, dict[Origin, int]] = {}
    for label in CurrentLabel:
        for origin in Origin:
            number = int(((labels == code_of(label)) & (origins == code_of(origin))).sum())
            if number:
                counts.setdefault(label, {})[origin] = number
    return counts


def _microseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _labels_by_source(catalogue: Catalogue) -> dict[str, LabelCounts]:
    counts = {}
    for source, by_label in event_reads.labels_by_source(catalogue).items():
        labels: dict[CurrentLabel, dict[Origin, int]] = {}
        for (label, origin), number in by_label.items():
            if label is not None and origin is not None:
                labels.setdefault(label, {})[origin] = number
        counts[source] = LabelCounts(labels=labels, unlabelled=by_label.get((None, None), 0))
    return counts


def _feature_set(catalogue: Catalogue, record: RoundRecord | None) -> FeatureSetRecord | None:
    if record is None:
        return None
    by_id = {each.feature_set_id: each for each in list_feature_sets(catalogue)}
    return by_id.get(record.feature_set_id or 0)
