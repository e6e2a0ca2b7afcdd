"""Closing an audit: one test, and what follows from it, in one transaction.

What passed is promoted and nothing else of what the audit is about stays so; the certificate
is issued in the same transaction. What nobody confirmed counts as wrong. If nothing can be
promised, no label changes, and the report says what it would take. Either way the audit is
closed for good: looking twice is what a promise must not do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.audits.audit import required
from curator.audits.certify_words import what_passed, what_was_bounded, why_not
from curator.audits.claim import CertifiedSet, certified_sets
from curator.audits.draw import AuditDraw, draw_audit
from curator.audits.frame import Frame, certified_set_digest, frame_digest
from curator.audits.ladder import restore
from curator.audits.plan import plan as plan_next
from curator.audits.plan import scope_name
from curator.audits.simple_random import (
    close_simple_random,
    draw_simple_random,
    restore_simple_random,
)
from curator.audits.test import AuditOutcome, AuditResult, can_still_pass, close_audit
from curator.base.progress import SILENT, Progress
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditScope, Label
from curator.catalogue import audits, certificates, frames, rounds
from curator.catalogue.audits import AuditAnswers, AuditRecord
from curator.catalogue.certificates import CertificateRecord, NewCertificate
from curator.catalogue.frames import FrameRows
from curator.catalogue.leases import lease
from curator.catalogue.rounds import NewRound
from curator.errors import DataError
from curator.workspace import Workspace

_OUTCOMES = {
    Label.NEGATIVE: AuditOutcome.NEGATIVE,
    Label.POSITIVE: AuditOutcome.POSITIVE,
    Label.UNSURE: AuditOutcome.UNSURE,
}
_CHUNK = 65_536
_STANDS = ("estimate", "basis", "label_belief", "judgement", "alarms", "usual_distance")
"""What a round says about its scores, which are those of the one that was audited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyReport:
    """What an audit came to.

    `errors` of `sample` audited images were not confirmed; among them `unsure`, `skipped` and
    `unshowable` ones. `certificate` is None if nothing could be promised; `text` then says
    why and what it would take. `promoted` and `revoked` count what changed, `left` the unseen
    images that were no part of the claim any more.
    """

    audit: int
    kind: AuditKind
    scope: str
    attempt: int
    sample: int
    errors: int
    unsure: int
    skipped: int
    unshowable: int
    left: int
    promoted: int
    revoked: int
    max_error: float
    confidence: float
    certificate: CertificateRecord | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Closing:
    """An audit with everything that its test needs."""

    record: AuditRecord
    frame: Frame
    rows: FrameRows
    answers: AuditAnswers
    outcomes: NDArray[np.int8]


def certify(workspace: Workspace, *, progress: Progress = SILENT) -> CertifyReport:
    """Close the open audit, test it, promote what passed, revoke the rest, issue the certificate.

    Raises DataError if no audit is open, or if images of it still want an answer; then
    nothing is changed, and it can be gone on with.
    """
    with lease(workspace.catalogue, "round"):
        closing = _gathered(workspace, required(workspace))
        if closing.record.kind is AuditKind.PROMISE:
            return _promise(workspace, closing, progress)
        return _bound(workspace, closing)


def _gathered(workspace: Workspace, record: AuditRecord) -> _Closing:
    catalogue = workspace.catalogue
    if rounds.head(catalogue) != record.round_id:
        raise DataError(
            f"Audit {record.audit_id} is about the labels of round {record.round_id}, which does"
            " not stand any more.",
            f"`curator rollback --to {record.round_id}` makes it stand again; or give the audit"
            " up with `curator audit --abandon`.",
        )
    rows = frames.frame_rows(catalogue, record.frame_id)
    frame = frame_of(rows)
    answers = audits.answers_of(catalogue, record)
    outcomes = outcomes_of(answers)
    if answers.waiting:
        raise _unfinished(record, frame, answers, outcomes)
    return _Closing(record=record, frame=frame, rows=rows, answers=answers, outcomes=outcomes)


def frame_of(rows: FrameRows) -> Frame:
    """The frame as it was frozen. Raises DataError if what is kept is not what was frozen."""
    if frame_digest(rows.image_ids, rows.positive) != rows.digest:
        raise DataError(
            "The frame of this audit is damaged: its images, labels or order are not those that"
            " were frozen.",
            "`curator verify` says more; restore the workspace from a backup.",
        )
    return Frame(
        image_ids=rows.image_ids,
        positive=rows.positive,
        estimated_error=np.minimum(rows.probability, 1.0 - rows.probability),
        digest=rows.digest,
    )


def outcomes_of(answers: AuditAnswers) -> NDArray[np.int8]:
    """What became of each drawn image; nobody's answer is an answer, too."""
    outcomes = [
        _OUTCOMES[label]
        if label is not None
        else AuditOutcome.UNSHOWABLE
        if unshowable
        else AuditOutcome.SKIPPED
        if skipped
        else AuditOutcome.OPEN
        for label, skipped, unshowable in zip(
            answers.labels, answers.skipped, answers.unshowable, strict=True
        )
    ]
    return np.array(outcomes, dtype=np.int8)


def _unfinished(
    record: AuditRecord, frame: Frame, answers: AuditAnswers, outcomes: NDArray[np.int8]
) -> DataError:
    hopeless = ""
    if record.kind is AuditKind.PROMISE:
        plan = restore(dict(record.plan), frame)
        draw = draw_audit(frame, plan, seed=record.seed, attempt=record.attempt)
        if not can_still_pass(frame, plan, draw, outcomes):
            hopeless = (
                " It cannot pass any more, whatever they turn out to be: `curator audit --abandon`"
                " spares you the rest."
            )
    again = int(answers.contradicted.sum())
    changed = (
        f" {count(again, 'image')} called something else since the answer: answer again."
        if again
        else ""
    )
    return DataError(
        f"{answers.waiting:,} of the {record.sample:,} images of audit {record.audit_id} have no"
        f" answer yet, so nothing was tested.{changed}",
        "Go on with `curator audit`, or `curator queue audit` and `curator label FILE --origin"
        f" audit`. An image that you skip, or cannot tell, counts as wrong.{hopeless}",
    )


def _check_drawn(closing: _Closing, draw: AuditDraw) -> None:
    if not np.array_equal(draw.image_ids, closing.answers.image_ids):
        raise DataError(
            f"The images of audit {closing.record.audit_id} are not those that were drawn.",
            "`curator verify` says more; restore the workspace from a backup.",
        )


def _promise(workspace: Workspace, closing: _Closing, progress: Progress) -> CertifyReport:
    record, frame, catalogue = closing.record, closing.frame, workspace.catalogue
    plan = restore(dict(record.plan), frame)
    draw = draw_audit(frame, plan, seed=record.seed, attempt=record.attempt)
    _check_drawn(closing, draw)
    verdict = close_audit(frame, plan, draw, closing.outcomes)
    left, found_wrong = frames.unavailable(catalogue, record.frame_id)
    claim, widest = certified_sets(
        frame,
        plan,
        draw.places,
        verdict,
        left=left,
        found_wrong=found_wrong,
        overlooked=record.overlooked,
    )
    if claim is None:
        certificates.close_unproven(catalogue, record.audit_id, tested=closing.answers)
        text = why_not(verdict, widest, record)
        return _report(workspace, closing, None, text=f"{text} {_what_it_takes(workspace, record)}")
    with progress.stage("certify", len(claim.places)):
        committed, certificate = _issue(workspace, closing, verdict, claim, left, draw)
    return _report(
        workspace,
        closing,
        certificate,
        text=what_passed(claim, certificate),
        left=claim.left,
        promoted=committed.promoted_positive + committed.promoted_negative,
        revoked=committed.revoked,
    )


def _issue(
    workspace: Workspace,
    closing: _Closing,
    verdict: AuditResult,
    claim: CertifiedSet,
    left: NDArray[np.bool_],
    draw: AuditDraw,
) -> tuple[rounds.RoundRecord, CertificateRecord]:
    """Stage what the claim needs and commit it as a round of the kind `certify`."""
    catalogue, record = workspace.catalogue, closing.record
    started_at = datetime.now(UTC)
    token = rounds.begin_staging(catalogue)
    try:
        _stage(workspace, token, closing, claim.places)
        seen = np.zeros(len(closing.frame), dtype=np.bool_)
        seen[draw.places] = True
        gone = np.flatnonzero(left[: claim.size] & ~seen[: claim.size])
        new = NewCertificate(
            audit_id=record.audit_id,
            place_limit=claim.size,
            certified=len(claim.places),
            left=closing.frame.image_ids[gone].tolist(),
            max_error=record.max_error,
            bound=claim.bound,
            wrong=claim.wrong,
            confidence=verdict.confidence,
            sample=claim.sample,
            errors=claim.errors,
            claim=claim.digest,
            details=_details(record, verdict, claim),
        )
        of_kind = _round(workspace, record, claim, started_at)
        return certificates.certify(catalogue, new, token, of_kind, tested=closing.answers)
    finally:
        rounds.clean_scores(catalogue)


def _stage(workspace: Workspace, token: str, closing: _Closing, places: NDArray[np.int64]) -> None:
    """Promote what is certified and not promoted so; revoke what is promoted and not certified."""
    catalogue, frame = workspace.catalogue, closing.frame
    standing, is_positive, probability_then = certificates.promoted_labels(
        catalogue, closing.record.scope, usable_only=False
    )
    order = np.argsort(frame.image_ids[places])
    ids, positive = frame.image_ids[places][order], frame.positive[places][order]
    probability = closing.rows.probability[places][order]
    new = ~_holds(standing, is_positive, ids, positive)
    lost = ~np.isin(standing, ids)
    for chosen, promote, of_ids, of_positive, of_probability in (
        (new, True, ids, positive, probability),
        (lost, False, standing, is_positive, probability_then),
    ):
        where = np.flatnonzero(chosen)
        for start in range(0, len(where), _CHUNK):
            some = where[start : start + _CHUNK]
            rounds.stage_decisions(
                catalogue,
                token,
                of_ids[some],
                promote=np.full(len(some), promote),
                positive=of_positive[some],
                probabilities=of_probability[some],
            )


def _holds(
    standing: NDArray[np.int64],
    is_positive: NDArray[np.bool_],
    ids: NDArray[np.int64],
    positive: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which of these images stand promoted to this very class, (images,); all ids rise."""
    if not len(standing):
        return np.zeros(len(ids), dtype=np.bool_)
    place = np.minimum(np.searchsorted(standing, ids), len(standing) - 1)
    same: NDArray[np.bool_] = (standing[place] == ids) & (is_positive[place] == positive)
    return same


def _round(
    workspace: Workspace, record: AuditRecord, claim: CertifiedSet, started_at: datetime
) -> NewRound:
    """A round that keeps the model and the scores of the one that was audited."""
    assert record.round_id is not None  # checked with the head
    parent = rounds.get_round(workspace.catalogue, record.round_id)
    return NewRound(
        parent_id=parent.round_id,
        seed=record.seed,
        settings=workspace.settings.model_dump(mode="json"),
        outcome={name: parent.outcome[name] for name in _STANDS if name in parent.outcome}
        | {"audit": record.audit_id, "certified": len(claim.places), "bound": claim.bound},
        started_at=started_at,
        feature_set_id=parent.feature_set_id,
        model_digest=parent.model_digest,
        score_digest=parent.score_digest,
        kind="certify",
    )


def _bound(workspace: Workspace, closing: _Closing) -> CertifyReport:
    """One fixed set: bound its unseen rest, whatever the bound turns out to be."""
    record, frame = closing.record, closing.frame
    plan = restore_simple_random(dict(record.plan), frame)
    draw = draw_simple_random(frame, plan, seed=record.seed, attempt=record.attempt)
    _check_drawn(closing, draw)
    verdict = close_simple_random(frame, plan, draw, closing.outcomes)
    left, _ = frames.unavailable(workspace.catalogue, record.frame_id)
    seen = np.zeros(len(frame), dtype=np.bool_)
    seen[draw.places] = True
    measures = record.kind is AuditKind.MEASURE
    gone = left & ~seen if measures else np.zeros(len(frame), dtype=np.bool_)
    places = np.flatnonzero(~seen & ~gone)
    # Those that the annotator may have overlooked, and none of those that were found.
    found = verdict.refuted
    wrong = int((verdict.wrong + found) / (1.0 - record.overlooked)) - found
    wrong = min(wrong, len(places))
    bound = wrong / len(places) if len(places) else 0.0
    certificate = certificates.issue(
        workspace.catalogue,
        NewCertificate(
            audit_id=record.audit_id,
            place_limit=len(frame),
            certified=len(places),
            left=frame.image_ids[gone].tolist(),
            max_error=record.max_error,
            bound=bound,
            wrong=wrong,
            confidence=verdict.confidence,
            sample=verdict.sample,
            errors=verdict.errors,
            claim=certified_set_digest(frame.image_ids[places], frame.positive[places]),
            details={
                "design": "simple random sample of the frame",
                "estimate": verdict.estimate,
                "overlooked": record.overlooked,
            },
        ),
        tested=closing.answers,
    )
    text = what_was_bounded(record, certificate, scope_name(workspace, record.scope))
    return _report(workspace, closing, certificate, text=text, left=int(gone.sum()))


def _details(record: AuditRecord, verdict: AuditResult, claim: CertifiedSet) -> dict[str, Any]:
    return {
        "design": "nested shells, each a simple random sample, tested from strict to loose",
        "steps": [
            {
                "size": step.rung.size,
                "drawn": step.rung.drawn,
                "allowed": step.rung.allowed,
                "critical": step.rung.critical,
                "errors": step.errors,
                "refuted": step.refuted,
                "passed": step.passed,
            }
            for step in verdict.steps
        ],
        "estimate": claim.estimate,
        "overlooked": record.overlooked,
    }


def _what_it_takes(workspace: Workspace, record: AuditRecord) -> str:
    """What another audit of the same scope could promise; nothing is opened for it."""
    class_name = None if record.scope is AuditScope.ALL else scope_name(workspace, record.scope)
    try:
        return f"Another audit: {plan_next(workspace, class_name=class_name).text}"
    except DataError as error:
        return f"{error.problem} {error.advice}"


def _report(
    workspace: Workspace,
    closing: _Closing,
    certificate: CertificateRecord | None,
    *,
    text: str,
    left: int = 0,
    promoted: int = 0,
    revoked: int = 0,
) -> CertifyReport:
    record, outcomes = closing.record, closing.outcomes
    return CertifyReport(
        audit=record.audit_id,
        kind=record.kind,
        scope=scope_name(workspace, record.scope),
        attempt=record.attempt,
        sample=record.sample,
        errors=_errors(closing),
        unsure=int((outcomes == AuditOutcome.UNSURE).sum()),
        skipped=int((outcomes == AuditOutcome.SKIPPED).sum()),
        unshowable=int((outcomes == AuditOutcome.UNSHOWABLE).sum()),
        left=left,
        promoted=promoted,
        revoked=revoked,
        max_error=record.max_error,
        confidence=1.0 - record.risk - float(record.plan["promise"]["spent"]),
        certificate=certificate,
        text=text,
    )


def _errors(closing: _Closing) -> int:
    """Drawn images that were not confirmed, over the whole sample."""
    order = np.argsort(closing.frame.image_ids)
    place = order[np.searchsorted(closing.frame.image_ids[order], closing.answers.image_ids)]
    confirming = np.where(
        closing.frame.positive[place], AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE
    )
    return int((closing.outcomes != confirming).sum())
