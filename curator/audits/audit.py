"""An audit: planned before any of its labels is seen, told, then opened as a whole.

Read `audit` to see the whole way. The frame is frozen from the current round's scores, a plan
is made and judged, and only a plan that is worth its decisions is opened; the frame, the
plan, the drawn images and the risk that it spends are then in the catalogue, and no round
may run before the audit is closed. People's answers come through the review or as CSV;
`certify` draws the conclusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.audits.draw import AuditDraw, draw_audit
from curator.audits.ladder import AuditPlan, describe
from curator.audits.outlook import Advice
from curator.audits.plan import PlannedAudit, plan, scope_name, scope_of
from curator.audits.promise import Promise
from curator.audits.simple_random import describe_simple_random, draw_simple_random
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import AuditKind, AuditScope
from curator.catalogue import audits, frames
from curator.catalogue.audits import AuditRecord, NewAudit
from curator.catalogue.frames import FrameRows
from curator.catalogue.leases import lease
from curator.errors import DataError, UsageError
from curator.workspace import Workspace

_ADVICE = {
    Advice.EMPTY_PROMISE: (
        "Audit one class by itself with `curator audit --class {rarer}`, set a smaller"
        " promotion.max_error, or bound what was missed with `curator audit --missed`."
    ),
    Advice.MORE_DECISIONS: (
        "Nothing was opened. Ask for more with `--size {enough}`, or open it all the same"
        " with `--anyway`."
    ),
    Advice.TOO_HARD: (
        "Nothing was opened, and nothing spent. `--anyway` opens an audit that will probably"
        " prove nothing."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """An audit that is planned (`audit` is None), was opened, or is taken up again.

    `scope` is the user's name of a class, or `all`. `frame_size` images are in the frame,
    `sample` of them are drawn, `waiting` want an answer. `risk` is what it spends of
    1 - confidence, `confidence` what its certificate would state. `expected` images are
    expected to be certified, anything at all with the chance `chance` (both None where one
    set is bounded as a whole). `fewest` decisions would do without a single error, `enough`
    would make it worth them, `looser` is the error that this many could promise.
    """

    audit: int | None
    resumed: bool
    kind: AuditKind
    scope: str
    attempt: int
    frame_size: int
    sample: int
    answered: int
    waiting: int
    max_error: float
    confidence: float
    risk: float
    expected: float | None
    chance: float | None
    fewest: int | None
    enough: int | None
    looser: float | None
    answer: Advice
    text: str


def audit(
    workspace: Workspace,
    *,
    size: int | None = None,
    class_name: str | None = None,
    missed: bool = False,
    anyway: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> AuditReport:
    """Take up the audit that is open, or plan one and open it if it is worth its decisions.

    Under the certified policy it is about the pool, ranked by the current round's scores;
    under thresholds about what stands promoted. `class_name` makes it about one class, with
    a budget of its own; `missed` bounds how many images of the rarer class are among those
    that lean to the other. A dry run only plans. Raises DataError where there is nothing to
    audit, nothing left to spend, or (unless `anyway`) too little to be expected;
    UsageError if an audit is open that was asked for differently.
    """
    found = audits.open_audit(workspace.catalogue)
    if found is not None and not dry_run:
        _refuse_other(workspace, found, size=size, class_name=class_name, missed=missed)
        return _report_open(workspace, found, resumed=True)
    with lease(workspace.catalogue, "round"):
        with progress.stage("plan", None):
            planned = plan(workspace, size=size, class_name=class_name, missed=missed)
        if dry_run:
            return _report_planned(workspace, planned)
        _refuse_hopeless(workspace, planned, anyway=anyway)
        return _open(workspace, planned)


def abandon(workspace: Workspace) -> AuditRecord:
    """Give the open audit up: its answers stay labels, its risk stays spent.

    Raises DataError if none is open.
    """
    found = required(workspace)
    audits.abandon(workspace.catalogue, found.audit_id)
    return found


def required(workspace: Workspace) -> AuditRecord:
    """The open audit. Raises DataError if there is none."""
    found = audits.open_audit(workspace.catalogue)
    if found is None:
        raise DataError(
            "There is no open audit.", "`curator audit` plans one, says what to expect, opens it."
        )
    return found


def refuse_open_audit(workspace: Workspace, what: str) -> None:
    """Raises DataError while an audit is open: `what` would change what it is about."""
    found = audits.open_audit(workspace.catalogue)
    if found is not None:
        raise DataError(
            f"Audit {found.audit_id} is open ({found.answered:,} of {found.sample:,} answered), and"
            f" {what} would change the labels that it is about.",
            "Finish it with `curator audit` and `curator certify`, or give it up with"
            " `curator audit --abandon`; what it spent of the confidence stays spent.",
        )


def _refuse_other(
    workspace: Workspace,
    found: AuditRecord,
    *,
    size: int | None,
    class_name: str | None,
    missed: bool,
) -> None:
    scope = scope_of(workspace, class_name)
    other_kind = missed != (found.kind is AuditKind.MISSED)
    other_scope = class_name is not None and not missed and scope is not found.scope
    if other_kind or other_scope or size not in (None, found.sample):
        raise UsageError(
            f"Audit {found.audit_id} is open, with {found.sample:,} images"
            f" ({scope_name(workspace, found.scope)}), and another cannot be opened beside it.",
            "Go on with it by `curator audit` alone, or give it up with `curator audit --abandon`.",
        )


def _refuse_hopeless(workspace: Workspace, planned: PlannedAudit, *, anyway: bool) -> None:
    if planned.answer is Advice.READY:
        return
    if anyway and planned.plan is not None and planned.answer is not Advice.EMPTY_PROMISE:
        return
    rarer = AuditScope.POSITIVE if planned.frame.positive.mean() < 0.5 else AuditScope.NEGATIVE
    advice = _ADVICE[planned.answer].format(
        rarer=scope_name(workspace, rarer),
        enough=planned.outlook.enough if planned.outlook else "",
    )
    raise DataError(planned.text, advice)


def _open(workspace: Workspace, planned: PlannedAudit) -> AuditReport:
    assert planned.plan is not None  # `_refuse_hopeless` has let it pass
    catalogue, seed = workspace.catalogue, workspace.settings.runtime.seed
    draw, shells, design = _drawn(planned, seed, audits.attempts(catalogue) + 1)
    frame_id = frames.keep_frame(
        catalogue,
        FrameRows(
            digest=planned.frame.digest,
            image_ids=planned.frame.image_ids,
            positive=planned.frame.positive,
            probability=planned.probability,
            shells=shells,
        ),
        round_id=planned.round_id,
        details={"kind": str(planned.kind), "scope": str(planned.scope)},
    )
    record = audits.begin_audit(
        catalogue,
        frame_id,
        NewAudit(
            kind=planned.kind,
            scope=planned.scope,
            plan=design,
            round_id=planned.round_id,
            seed=seed,
            max_error=workspace.settings.promotion.max_error,
            risk=planned.promise.risk,
            overlooked=workspace.settings.audit.overlooked,
            image_ids=draw.image_ids,
            shells=draw.shells,
            inclusion_probability=draw.inclusion_probability,
        ),
    )
    return _report_open(workspace, record, resumed=False, planned=planned)


def _drawn(
    planned: PlannedAudit, seed: int, attempt: int
) -> tuple[AuditDraw, NDArray[np.int64], dict[str, Any]]:
    """The draw, the shell of every place, and the plan as plain values."""
    plan, frame = planned.plan, planned.frame
    if isinstance(plan, AuditPlan):
        shells = np.searchsorted(plan.sizes, np.arange(len(frame)), side="right")
        draw = draw_audit(frame, plan, seed=seed, attempt=attempt)
        return draw, shells.astype(np.int64), describe(plan)
    assert plan is not None
    draw = draw_simple_random(frame, plan, seed=seed, attempt=attempt)
    return draw, np.zeros(len(frame), dtype=np.int64), describe_simple_random(plan)


def _report_planned(workspace: Workspace, planned: PlannedAudit) -> AuditReport:
    outlook = planned.outlook
    sample = planned.plan.sample if planned.plan is not None else (outlook.sample if outlook else 0)
    return AuditReport(
        audit=None,
        resumed=False,
        kind=planned.kind,
        scope=scope_name(workspace, planned.scope),
        attempt=audits.attempts(workspace.catalogue) + 1,
        frame_size=len(planned.frame),
        sample=sample,
        answered=0,
        waiting=sample,
        max_error=workspace.settings.promotion.max_error,
        confidence=planned.promise.confidence,
        risk=planned.promise.risk,
        expected=outlook.expectation.certified if outlook else None,
        chance=outlook.expectation.chance if outlook else None,
        fewest=outlook.fewest if outlook else None,
        enough=outlook.enough if outlook else None,
        looser=outlook.looser if outlook else None,
        answer=planned.answer,
        text=planned.text,
    )


def _report_open(
    workspace: Workspace, record: AuditRecord, *, resumed: bool, planned: PlannedAudit | None = None
) -> AuditReport:
    waiting = audits.answers_of(workspace.catalogue, record).waiting
    outlook = planned.outlook if planned else None
    text = (
        planned.text
        if planned
        else (
            f"Audit {record.audit_id} goes on: {record.answered:,} of {record.sample:,} answered."
        )
    )
    return AuditReport(
        audit=record.audit_id,
        resumed=resumed,
        kind=record.kind,
        scope=scope_name(workspace, record.scope),
        attempt=record.attempt,
        frame_size=record.frame_size,
        sample=record.sample,
        answered=record.answered,
        waiting=waiting,
        max_error=record.max_error,
        confidence=Promise(**record.plan["promise"]).confidence,
        risk=record.risk,
        expected=outlook.expectation.certified if outlook else None,
        chance=outlook.expectation.chance if outlook else None,
        fewest=outlook.fewest if outlook else None,
        enough=outlook.enough if outlook else None,
        looser=outlook.looser if outlook else None,
        answer=planned.answer if planned else Advice.READY,
        text=text,
    )
