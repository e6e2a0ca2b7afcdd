"""What a workspace holds and how far it has come, for one screen or for a program.

Everything is counted by the catalogue from indexes; no image and no network is touched,
so it answers at once. `as_json` gives exactly the keys that scripts rely on.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.audits.certificate import (
    certificate_json,
    certificate_of_promoted,
    current_certificates,
    uncertified,
)
from curator.audits.ledger import spending
from curator.audits.plan import next_scope, payable_confidence
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditScope, CurrentLabel
from curator.catalogue import audit_answers, audits
from curator.catalogue.audits import AuditRecord
from curator.catalogue.certificates import CertificateRecord
from curator.catalogue.counts import Counts, SourceCount, counts, human_counts, source_counts
from curator.catalogue.event_reads import count_decisions, count_new_labels, people_events
from curator.catalogue.groups import count_contradicted
from curator.catalogue.leases import lease_holder
from curator.catalogue.rounds import RoundRecord, RoundStatus, list_rounds, measured_round
from curator.errors import DataError, StorageError
from curator.report.work import human_work
from curator.rounds.pool_error import PoolError, ThresholdError
from curator.settings.sections import Settings
from curator.workspace import Workspace

_WORTH_A_ROUND = 10
"""New labels from which on `status` advises a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A workspace in numbers; `busy` names work that runs in it now, with its process.

    `certificates` are the newest of every kind and scope, those that hold first. `audit` is
    the open one, of whose images `waiting` want an answer. `contradicted` images have a label of
    people, and near-duplicates with the other one. `decisions` are those of
    people, made or imported, that were not taken back, `minutes` those that they spent looking,
    `per_minute` the decisions a minute in reviews, None before there are any.
    `payable` is the confidence that a further audit could promise, None where
    `promotion.confidence` can be paid for. `news` are labels newer than the scores.
    """

    root: Path
    settings: Settings
    counts: Counts
    sources: list[SourceCount]
    human: Mapping[CurrentLabel, int]
    contradicted: int
    decisions: int
    minutes: float
    per_minute: float | None
    rounds: list[RoundRecord]
    busy: Mapping[str, str]
    certificates: list[CertificateRecord]
    audit: AuditRecord | None
    waiting: int
    payable: float | None
    news: int

    def name_of(self, standing: CurrentLabel) -> str:
        """The user's word for a label."""
        return self.settings.classes.name_of(standing)

    @property
    def current_round(self) -> RoundRecord | None:
        """The current round, None before the first or after a rollback to 0."""
        return next((each for each in self.rounds if each.status is RoundStatus.CURRENT), None)

    @property
    def measured_round(self) -> RoundRecord | None:
        """The round whose classifier and scores are current; a certificate's round has none."""
        return measured_round(self.rounds)

    @property
    def error(self) -> PoolError | None:
        """What is known of the error of the current scores."""
        record = self.measured_round
        return None if record is None else PoolError.from_outcome(record.outcome)

    @property
    def threshold_error(self) -> ThresholdError | None:
        """The cross-validated error beyond the thresholds of the current scores."""
        record = self.measured_round
        return None if record is None else ThresholdError.from_outcome(record.outcome)

    @property
    def remedy(self) -> str:
        """The command that a warning waits for; empty if promotions wait for nothing."""
        record = self.measured_round
        if record is None or record.outcome.get("accepted_warning"):
            return ""
        warnings = record.outcome.get("alarms", [])
        return next((each["command"] for each in warnings if each.get("holds")), "")

    @property
    def certificate(self) -> CertificateRecord | None:
        """The newest certificate about promoted labels, one that holds before a stale one."""
        return certificate_of_promoted(self.certificates, self.settings.classes.delivered)

    @property
    def is_provisional(self) -> bool:
        """Whether labels stand promoted under the certified policy that nothing certifies."""
        return self.settings.promotion.policy == "certified" and not self._is_proven

    @property
    def _is_proven(self) -> bool:
        """Whether a promise holds; a mere bound on what thresholds promoted is none."""
        newest = self.certificate
        promised = newest is not None and newest.kind is AuditKind.PROMISE
        return promised and not uncertified(self.settings.classes, self.certificates)

    @property
    def spent_sentence(self) -> str:
        """What is left to promise where earlier audits spent the risk, without a full stop."""
        if self.payable is None:
            return ""
        if self.payable > 0.5:
            return "Earlier audits spent the whole risk; a further one can promise less"
        return "Earlier audits spent the whole risk, so nothing can be certified any more"

    def advice(self, *, exported: bool = False) -> str:
        """What to do next, in one sentence with its command; `exported`: the export is made."""
        if self.audit is not None and self.waiting:
            return f"Go on with the audit, {count(self.waiting, 'image')} to go: curator audit"
        if self.audit is not None:
            return "Every image that the audit asks for is answered. Test them: curator certify"
        certified = self.certificate is not None and self.certificate.stale is None
        if exported and (certified or not self.counts.unlabelled):
            return "See what was labelled, and how well: curator report"
        scopes = uncertified(self.settings.classes, self.certificates)
        if certified and scopes and self.payable is None:
            names = " and ".join(f"`{self.settings.classes.name_of(str(s))}`" for s in scopes)
            return f"Audit the labels promoted to {names}: curator audit"
        if certified:
            return f"The certificate is valid. Export what it covers: {self._export()}"
        if not self.counts.usable:
            return "Add images: curator add PATH"
        missing = [
            s for s in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE) if not self.human.get(s)
        ]
        if missing:
            names = " and ".join(f"`{self.name_of(standing)}`" for standing in missing)
            return f"Label some images as {names}: curator review diverse"
        if self.human.get(CurrentLabel.CONFLICT) or self.contradicted:
            return (
                "Settle the images and near-duplicates that people labelled both ways:"
                " curator review conflict"
            )
        if self.current_round is None:
            return "Train and promote: curator round"
        if self.remedy:
            return (
                "Promotions wait because of a warning. Follow its advice, then run `curator round`"
                f" again: {self.remedy}"
            )
        if self.is_provisional and self.counts.promoted and self.payable is not None:
            if self.payable > 0.5:
                return (
                    f"{self.spent_sentence}: curator config promotion.confidence={self.payable:.4g}"
                )
            return (
                f"{self.spent_sentence}. Export what is promoted as it is: curator export clean.csv"
                " --provisional"
            )
        current = self.current_round
        if self.is_provisional and current.likelier is not None:
            error = current.likelier["error"]
            return f"Prove the error of the labels: curator finish --certify --error {error:g}"
        if self.is_provisional and self.counts.promoted:
            return "Audit the promoted labels: curator audit"
        if self.news >= _WORTH_A_ROUND and current.likelier is None:  # else it would be refused
            return f"Train on {self.news:,} new labels: curator round"
        if self.counts.unlabelled:
            return "Look at the borderline images, then run rounds again: curator review borderline"
        return "Every image has a label. Export the manifest: curator export clean.csv"

    def _export(self) -> str:
        """The command that writes what is certified; of one class, if it is about one."""
        scope = AuditScope.ALL if self.certificate is None else self.certificate.scope
        valid = {each.scope for each in self.certificates if each.stale is None}
        if {AuditScope.POSITIVE, AuditScope.NEGATIVE} <= valid:
            return "curator export clean.csv"
        if scope in (AuditScope.ALL, self.settings.classes.delivered):
            return "curator export clean.csv"
        name = self.settings.classes.name_of(str(scope))
        return f"curator export clean.csv --label {shlex.quote(name)}"

    def as_json(self) -> dict[str, Any]:
        """The keys of `curator status --json`; classes carry the user's names."""
        return {
            "workspace": os.fspath(self.root),
            "images": self.counts.images,
            "usable": self.counts.usable,
            "locations": self.counts.locations,
            "missing": self.counts.missing,
            "quarantined": {str(reason): n for reason, n in self.counts.quarantined.items()},
            "other_files": self.counts.other_files,
            "labels": {
                self.name_of(standing): {str(origin): n for origin, n in origins.items()}
                for standing, origins in self.counts.labels.items()
            },
            "contradicted": self.contradicted,
            "unlabelled": self.counts.unlabelled,
            "decisions": self.decisions,
            "minutes": round(self.minutes, 1),
            "coverage": self.counts.coverage,
            "blocked": self.counts.blocked,
            "withheld": self.counts.withheld,
            "dropped": self.counts.dropped,
            "odd": {str(oddity): n for oddity, n in self.counts.odd.items()},
            "groups": dict(self.counts.groups),
            "error": None if self.error is None else self.error.as_json(),
            "rounds": [_round_json(each) for each in self.rounds],
            "certificate": None
            if self.certificate is None
            else certificate_json(self.certificate, self.settings.classes),
            "certificates": [
                certificate_json(each, self.settings.classes) for each in self.certificates
            ],
            "audit": None if self.audit is None else self._audit_json(self.audit),
            "busy": dict(self.busy),
            "next": self.advice(),
        }

    def _audit_json(self, audit: AuditRecord) -> dict[str, Any]:
        return {
            "audit": audit.audit_id,
            "kind": str(audit.kind),
            "class": self.settings.classes.name_of(str(audit.scope)),
            "sample": audit.sample,
            "answered": audit.answered,
            "commitment": audit.commitment or None,
            "waiting": self.waiting,
        }


def status(workspace: Workspace) -> Status:
    """Count the workspace."""
    catalogue = workspace.catalogue
    audit = audits.open_audit(catalogue)
    current = current_certificates(catalogue)
    reviews = human_work(people_events(catalogue, imports=False))
    minutes = sum(row.minutes or 0.0 for row in reviews)
    rounds = list_rounds(catalogue)
    scored = measured_round(rounds)
    holders = {name: lease_holder(catalogue, name) for name in ("add", "round")}
    return Status(
        root=workspace.root,
        settings=workspace.settings,
        counts=counts(catalogue),
        sources=source_counts(catalogue),
        human=human_counts(catalogue),
        contradicted=count_contradicted(catalogue),
        decisions=count_decisions(catalogue),
        minutes=minutes,
        per_minute=sum(row.decisions + row.taken_back for row in reviews) / minutes
        if minutes
        else None,
        rounds=rounds,
        busy={
            name: f"process {holder.pid} on {holder.host}"
            for name, holder in holders.items()
            if holder is not None
        },
        certificates=current,
        audit=audit,
        waiting=0 if audit is None else audit_answers.answers_of(catalogue, audit).waiting,
        payable=_payable(workspace, current),
        news=0 if scored is None else count_new_labels(catalogue, scored.started_at),
    )


def _payable(workspace: Workspace, current: list[CertificateRecord]) -> float | None:
    """The confidence that is left to promise if that of the settings is spent, else None."""
    settings = workspace.settings
    try:
        earlier = spending(workspace)
    except (DataError, StorageError):  # a damaged ledger: `curator audit` and `verify` say so
        return None
    scope = next_scope(settings, uncertified(settings.classes, current), earlier)
    alone = scope is settings.classes.delivered
    confidence = settings.promotion.confidence
    payable = payable_confidence(confidence, earlier, scope=scope, alone=alone)
    return payable if payable < confidence else None


def _round_json(each: RoundRecord) -> dict[str, Any]:
    return {
        "round": each.round_id,
        "status": str(each.status),
        "promoted": each.promoted_positive + each.promoted_negative,
        "revoked": each.revoked,
        "coverage": each.coverage,
        "seconds": each.seconds,
        "label_belief": each.outcome.get("label_belief"),
        "judgement": each.outcome.get("judgement"),
        "error": each.outcome.get("error"),
        "threshold_error": each.outcome.get("threshold_error"),
        "other_thresholds": each.outcome.get("other_thresholds", []),
        "alarms": each.outcome.get("alarms", []),
        "below_upper": each.outcome.get("below_upper"),
        "accepted_warning": each.outcome.get("accepted_warning", False),
    }
