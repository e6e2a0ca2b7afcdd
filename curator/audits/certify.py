"""Closing an audit: one test, and what follows from it, in one transaction.

What passed is promoted, and nothing else that the audit is about stays promoted; the certificate
is issued in the same transaction. What nobody confirmed counts as wrong. If nothing can be
promised, no label changes, and the report says what it would take. Either way the audit is
closed for good: a second test of the same answers would break the promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from curator.audits.answers import outcomes_of
from curator.audits.audit import ask_on, lock_answers, required
from curator.audits.certificate import certificate_json
from curator.audits.draw import AuditDraw, drawn_again
from curator.audits.evidence import commitment_of
from curator.audits.frame import Frame
from curator.audits.ledger import record_audits
from curator.audits.plan import AuditPlan, Design
from curator.audits.planned import plan_audit
from curator.audits.test import (
    AuditOutcome,
    AuditResult,
    CertifiedSet,
    close_audit,
)
from curator.base.arrays import BoolArray, CodeArray, FloatArray, IntArray
from curator.base.progress import SILENT, Progress
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditScope
from curator.catalogue import audit_answers, certificates, frames, rounds
from curator.catalogue.audit_answers import AuditAnswers
from curator.catalogue.audits import AuditRecord
from curator.catalogue.certificates import CertificateRecord, NewCertificate
from curator.catalogue.engine import Catalogue
from curator.catalogue.leases import lease
from curator.catalogue.rounds import (
    NewRound,
    RoundRecord,
    list_rounds,
    standing_warnings,
)
from curator.errors import DataError
from curator.settings.sections import ClassesSettings, Settings
from curator.workspace import Workspace

_OF_THE_SCORES = (
    "estimate",
    "basis",
    "label_belief",
    "judgement",
    "alarms",
    "error",
    "accepted_warning",
    "usual_distance",
)
"""What a round's outcome says about its scores, which are those of the audited round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyReport:
    """What an audit proved.

    `errors` of its images were not confirmed; among them are `unsure`, `skipped` and
    `unshowable` ones. `certificate` is None if nothing could be promised; `text` then says why
    and what it would take. `round` holds what changed, if labels did. `left` unseen images were
    no part of the certified set any more. `commitment` covers the answers and the certified set.
    """

    audit: AuditRecord
    errors: int
    unsure: int
    skipped: int
    unshowable: int
    left: int
    round: RoundRecord | None
    certificate: CertificateRecord | None
    commitment: str
    text: str

    @property
    def promoted(self) -> int:
        """Labels that were promoted."""
        return self.round.promoted_positive + self.round.promoted_negative if self.round else 0

    @property
    def revoked(self) -> int:
        """Promotions that were revoked."""
        return self.round.revoked if self.round else 0

    def as_json(self, classes: ClassesSettings) -> dict[str, Any]:
        """The keys of `curator certify --json`; classes carry the user's names."""
        record, certificate = self.audit, self.certificate
        return {
            "audit": record.audit_id,
            "kind": record.kind,
            "class": classes.name_of(str(record.scope)),
            "attempt": record.attempt,
            "sample": record.sample,
            "errors": self.errors,
            "unsure": self.unsure,
            "skipped": self.skipped,
            "unshowable": self.unshowable,
            "left": self.left,
            "promoted": self.promoted,
            "revoked": self.revoked,
            "text": self.text,
            "certificate": None if certificate is None else certificate_json(certificate, classes),
            "closing_commitment": self.commitment or None,
            "steps": [] if certificate is None else certificate.details.get("steps", []),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Closing:
    """An audit with everything that its test and its commit need, read once.

    `round` is the audited one, and `warnings` those of the rounds that hold. `left` is (images,),
    see `close_audit`. `promoted_ids` (rising), `promoted_positive` and `promoted_probability` are
    the promoted labels of the audit's scope.
    """

    record: AuditRecord
    round: RoundRecord | None
    warnings: list[str]
    frame: Frame
    probability: FloatArray
    plan: AuditPlan
    draw: AuditDraw
    answers: AuditAnswers
    outcomes: CodeArray
    left: BoolArray
    promoted_ids: IntArray
    promoted_positive: BoolArray
    promoted_probability: FloatArray


def certify(workspace: Workspace, *, progress: Progress = SILENT) -> CertifyReport:
    """Close the open audit, test it, promote what passed, revoke the rest, issue the certificate.

    Raises DataError if no audit is open, or if images of it still want an answer; then
    nothing is changed, and the audit can go on.
    """
    catalogue, settings = workspace.catalogue, workspace.settings
    with lease(catalogue, "round"):
        record = required(catalogue)
        record_audits(workspace)
        record = ask_on(workspace, record)
        with catalogue.snapshot() as snapshot:
            closing = _gather(snapshot, record)
        if not closing.answers.locked[closing.answers.requested].all():
            lock_answers(workspace, record, closing.answers, then=record.asking)
        result = close_audit(
            closing.frame,
            closing.plan,
            closing.draw,
            closing.outcomes,
            left=closing.left,
            miss_rate=record.overlooked,
        )
        committed, certificate = _commit(catalogue, settings, closing, result, progress)
        text = _explain(workspace, record, result, certificate)
    outcomes = closing.outcomes
    return CertifyReport(
        audit=record,
        errors=result.errors,
        unsure=int((outcomes == AuditOutcome.UNSURE).sum()),
        skipped=int((outcomes == AuditOutcome.SKIPPED).sum()),
        unshowable=int((outcomes == AuditOutcome.UNSHOWABLE).sum()),
        left=0 if result.certified is None else len(result.certified.left),
        round=committed,
        certificate=certificate,
        commitment="" if certificate is None else commitment_of(catalogue, record, certificate),
        text=text,
    )


def _gather(catalogue: Catalogue, record: AuditRecord) -> _Closing:
    """Everything about an audit that is answered. Raises DataError if it cannot be tested."""
    if rounds.head(catalogue) != record.round_id:
        raise DataError(
            f"Audit {record.audit_id} is about the labels of round {record.round_id}, which was"
            " rolled back.",
            f"`curator rollback --to {record.round_id}` restores it; or give the audit"
            " up with `curator audit --abandon`.",
        )
    rows = frames.frame_rows(catalogue, record.frame_id)
    answers = audit_answers.answers_of(catalogue, record)
    outcomes = outcomes_of(answers)
    frame, plan, draw = drawn_again(record, rows)
    if answers.waiting:
        raise _unfinished(record, answers)
    if not np.array_equal(draw.image_ids, answers.image_ids):
        raise DataError(
            f"The images of audit {record.audit_id} are not those that were drawn.",
            "`curator verify` says more; restore the workspace from a backup.",
        )
    left = frames.unavailable(catalogue, record.frame_id)
    if record.kind is AuditKind.MISSED:
        # It is about what images are, not about what is promoted: images labelled since stay in.
        left = np.zeros(len(frame), dtype=np.bool_)
    ids, positive, probability = certificates.promoted_labels(
        catalogue, record.scope, usable_only=False
    )
    past = list_rounds(catalogue)
    return _Closing(
        record=record,
        round=next((each for each in past if each.round_id == record.round_id), None),
        warnings=standing_warnings(past),
        frame=frame,
        probability=rows.probability,
        plan=plan,
        draw=draw,
        answers=answers,
        outcomes=outcomes,
        left=left,
        promoted_ids=ids,
        promoted_positive=positive,
        promoted_probability=probability,
    )


def _unfinished(record: AuditRecord, answers: AuditAnswers) -> DataError:
    # Nothing is said about how it stands: who can still take answers back must not know.
    again = int(answers.contradicted.sum())
    changed = (
        f" {count(again, 'image')} labelled differently since the answer: answer again."
        if again
        else ""
    )
    present = int((answers.requested & ~answers.locked).sum())
    return DataError(
        f"Audit {record.audit_id} waits for {count(answers.waiting, 'answer')}"
        f" about the {present:,} images that it asks for now.{changed}",
        "Go on with `curator audit`, or `curator queue audit` and `curator label FILE`. An image"
        " that you skip, or cannot tell, counts as wrong.",
    )


def _commit(
    catalogue: Catalogue,
    settings: Settings,
    closing: _Closing,
    result: AuditResult,
    progress: Progress,
) -> tuple[RoundRecord | None, CertificateRecord | None]:
    """Close the audit with what it proved, all at once or not at all."""
    record, certified, answers = closing.record, result.certified, closing.answers
    # Each way refuses if the answers are not those that were tested: people may label meanwhile.
    if certified is None:
        certificates.close_unproven(catalogue, record.audit_id, tested=answers)
        return None, None
    certificate = _new_certificate(closing, result, certified)
    if record.kind is not AuditKind.PROMISE:
        return None, certificates.issue(catalogue, certificate, tested=answers)
    with progress.stage("certify", len(certified.ranks)):
        return _commit_round(catalogue, settings, closing, certified, certificate)


def _commit_round(
    catalogue: Catalogue,
    settings: Settings,
    closing: _Closing,
    certified: CertifiedSet,
    certificate: NewCertificate,
) -> tuple[RoundRecord, CertificateRecord]:
    """Commit a round of the kind `certify` with its certificate.

    It promotes what is certified and not promoted so, revokes what is promoted and not
    certified, and keeps the model and the scores of the round that was audited.
    """
    record, frame, parent = closing.record, closing.frame, closing.round
    assert parent is not None  # it is the head
    started_at = datetime.now(UTC)
    token = rounds.begin_staging(catalogue)
    try:
        by_id = certified.ranks[np.argsort(frame.image_ids[certified.ranks])]
        ids, positive = frame.image_ids[by_id], frame.positive[by_id]
        probability = closing.probability[by_id]
        new, lost = ~_promoted_so(closing, ids, positive), ~np.isin(closing.promoted_ids, ids)
        rounds.stage_decisions(
            catalogue,
            token,
            np.concatenate([ids[new], closing.promoted_ids[lost]]),
            promote=np.repeat([True, False], [new.sum(), lost.sum()]),
            positive=np.concatenate([positive[new], closing.promoted_positive[lost]]),
            probabilities=np.concatenate([probability[new], closing.promoted_probability[lost]]),
        )
        certify_round = NewRound(
            parent_id=parent.round_id,
            seed=record.seed,
            settings=settings.model_dump(mode="json"),
            outcome={key: parent.outcome[key] for key in _OF_THE_SCORES if key in parent.outcome}
            | {"audit": record.audit_id, "certified": len(ids), "bound": certified.bound},
            started_at=started_at,
            feature_set_id=parent.feature_set_id,
            model_digest=parent.model_digest,
            score_digest=parent.score_digest,
            kind="certify",
        )
        # Refuses, too, if then other images would be promoted than the certified ones.
        return certificates.certify(
            catalogue, certificate, token, certify_round, tested=closing.answers
        )
    finally:
        rounds.clean_scores(catalogue)


def _promoted_so(closing: _Closing, ids: IntArray, positive: BoolArray) -> BoolArray:
    """Which of these images are promoted to this very class, (images,); ids rise."""
    promoted = closing.promoted_ids
    if not len(promoted):
        return np.zeros(len(ids), dtype=np.bool_)
    row = np.minimum(np.searchsorted(promoted, ids), len(promoted) - 1)
    same: BoolArray = (promoted[row] == ids) & (closing.promoted_positive[row] == positive)
    return same


def _new_certificate(
    closing: _Closing, result: AuditResult, certified: CertifiedSet
) -> NewCertificate:
    record = closing.record
    if closing.plan.design is not Design.SIMPLE_RANDOM:
        details: dict[str, Any] = {
            # Stored text, older than today's terms: certificates of one catalogue read alike.
            "design": "one set in one random order, tested until it is proved"
            if closing.plan.design is Design.SEQUENTIAL
            else "nested shells, each a simple random sample, tested from strict to loose",
            "steps": [
                {
                    "size": tested.step.size,
                    "drawn": tested.step.drawn,
                    "allowed": tested.step.allowed,
                    "critical": tested.step.critical,
                    "errors": tested.errors,
                    "passed": tested.passed,
                    "rescue": tested.rescue,
                }
                for tested in result.steps
            ],
        }
    else:
        details = {"design": "simple random sample of the frame"}
    return NewCertificate(
        audit_id=record.audit_id,
        place_limit=certified.size,
        certified=len(certified.ranks),
        left=closing.frame.image_ids[certified.left].tolist(),
        max_error=record.max_error,
        bound=certified.bound,
        wrong=certified.wrong,
        confidence=closing.plan.promise.confidence,
        sample=certified.sample,
        errors=certified.errors,
        claim=certified.digest,
        details={
            **details,
            "estimate": certified.estimate,
            "overlooked": record.overlooked,
            "warnings": closing.warnings,
        },
    )


def _explain(
    workspace: Workspace,
    record: AuditRecord,
    result: AuditResult,
    certificate: CertificateRecord | None,
) -> str:
    """What the audit came to, in sentences."""
    name = workspace.settings.classes.name_of(str(record.scope))
    if certificate is None:
        class_name = None if record.scope is AuditScope.ALL else name
        try:
            text = f"Another audit: {plan_audit(workspace, class_name=class_name).text}"
        except DataError as error:
            text = f"{error.problem} {error.advice}"
        return f"{_why_not(result, record)} {text}"
    confidence = f"at {100 * certificate.confidence:.4g}% confidence"
    unconfirmed = f"{certificate.errors:,} of {certificate.sample:,}"
    wrong = f"{certificate.wrong:,} ({certificate.bound:.2%})"
    if record.kind is AuditKind.PROMISE:
        return (
            f"At most {wrong} of the {certificate.certified:,} certified labels, which nobody has"
            f" seen, are wrong, {confidence}; {unconfirmed} audited ones were not confirmed."
        )
    bounded = (
        f"{unconfirmed} audited images were not confirmed. At most {wrong} of the"
        f" {certificate.certified:,}"
    )
    if record.kind is AuditKind.MISSED:
        return (
            f"{bounded} images that lean to {name} and that the audit did not show are not {name},"
            f" {confidence}."
        )
    comparison = "within" if certificate.bound <= record.max_error else "more than"
    return (
        f"{bounded} promoted labels that nobody has seen are wrong, {confidence}; that is"
        f" {comparison} the {100 * record.max_error:.3g}% of promotion.max_error."
    )


def _why_not(result: AuditResult, record: AuditRecord) -> str:
    widest = result.widest
    if widest is not None:
        return (
            f"Nothing can be certified: {len(widest.left):,} unseen images of the set that passed"
            " have been labelled by people, or cannot be used any more, since the audit was drawn,"
            f" and among those that are left {widest.wrong:,} ({widest.bound:.3%}) may be wrong,"
            f" more than the {100 * record.max_error:.3g}% that was promised."
        )
    if record.plan["format"] == Design.SEQUENTIAL:
        last = result.steps[-1]
        return (
            f"Nothing can be certified: {last.errors:,} of {last.step.drawn:,} audited images were"
            f" not confirmed, and no more than {len(record.plan['rungs']) - 1:,} would have proved"
            f" {100 * record.max_error:.3g}% with the {record.sample:,} that were planned. The"
            " labels that were found wrong are put right, and the audit's answers stay."
        )
    first, rescue = result.steps[0], result.steps[-1]
    again = (
        f" Of {rescue.step.drawn:,} more from the most certain part {rescue.errors:,} were not,"
        " and at"
        f" most {rescue.step.critical:,} would have proved it for that part."
        if rescue.rescue
        else ""
    )
    return (
        f"Nothing can be certified: {first.errors:,} of the first {first.step.drawn:,} audited"
        f" images were not confirmed, and at most {first.step.critical:,} would have proved"
        f" {100 * record.max_error:.3g}%.{again} The labels that were found wrong are put right,"
        " and the audit's answers stay."
    )
