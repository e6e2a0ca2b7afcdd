"""An audit: planned before any of its labels is seen, explained, then opened as a whole.

Only a plan that is worth its decisions is kept, and a planned audit spends nothing. It is opened
right before its first image is shown or exported: salt, drawn images and the risk that they spend
are then in the catalogue, and no round may run before the audit is closed. Answers come through
the review or as CSV, stratum by stratum; `certify` draws the conclusion.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.audits.answers import outcomes_of
from curator.audits.draw import draw_audit, drawn_again
from curator.audits.evidence import opening_commitment, terms_of
from curator.audits.frame import frame_of
from curator.audits.ledger import record_audits, record_lock, spending
from curator.audits.outlook import Advice
from curator.audits.plan import Design, Promise, describe, restore
from curator.audits.planned import PlannedAudit, plan_audit, scope_of
from curator.audits.test import asked_stratum
from curator.base.progress import SILENT, Progress
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditScope
from curator.catalogue import audit_answers, audits, frames
from curator.catalogue.audit_answers import AuditAnswers
from curator.catalogue.audits import AuditRecord, DrawnImages, NewAudit
from curator.catalogue.engine import Catalogue
from curator.catalogue.frames import FrameRows
from curator.catalogue.leases import lease
from curator.errors import BusyError, DataError, UsageError
from curator.settings.sections import ClassesSettings, Settings
from curator.workspace import Workspace

_SMALLEST_DIFFERENCE = 1e-9
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
    """An audit that is only planned (no `record`) or goes on (no `planned`).

    `waiting` images want an answer now; more may be asked later.
    """

    record: AuditRecord | None
    planned: PlannedAudit | None
    promise: Promise
    waiting: int
    text: str

    def as_json(self, classes: ClassesSettings) -> dict[str, Any]:
        """The keys of `curator audit --json`; the scope carries the user's name."""
        record, planned = self.record, self.planned
        outlook = planned.outlook if planned else None
        subject = record or planned
        assert subject is not None  # an audit is opened or planned
        return {
            "audit": record.audit_id if record else None,
            "resumed": planned is None,
            "kind": subject.kind,
            "scope": classes.name_of(str(subject.scope)),
            "attempt": subject.attempt,
            "frame_size": subject.frame_size,
            "sample": subject.sample,
            "answered": record.answered if record else 0,
            "commitment": (record.commitment or None) if record else None,
            "waiting": self.waiting,
            "max_error": subject.max_error,
            "confidence": self.promise.confidence,
            "risk": self.promise.risk,
            "expected_low": outlook.best.expectation.low if outlook else None,
            "expected_high": outlook.best.expectation.high if outlook else None,
            "chance": outlook.best.expectation.chance if outlook else None,
            "fewest": outlook.fewest if outlook else None,
            "enough": outlook.enough if outlook else None,
            "looser": outlook.looser if outlook else None,
            "answer": planned.answer if planned else "ready",
            "text": self.text,
        }


def audit(
    workspace: Workspace,
    *,
    size: int | None = None,
    class_name: str | None = None,
    missed: bool = False,
    until: float | None = None,
    pool_error: float | None = None,
    anyway: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> AuditReport:
    """Take up the audit that is open, or plan one and keep the plan if it is worth its decisions.

    Under the certified policy it is about the pool, ranked by the current round's scores;
    under thresholds about all promoted images. If one class is delivered it is about that one,
    and if each is, about the first without a certificate;
    `class_name` makes it about another, with a budget of its own; `missed` bounds how many images
    of the rarer class are among those that lean to the other; `until` asks about the surest share
    of the images until that is proved, `size` images at most; `pool_error` is about all images
    without a human label, see `plan_audit`. A dry run keeps nothing; `begin`
    opens what is planned. Raises DataError where there is nothing to audit, nothing left to spend,
    or (unless `anyway`) too little to be expected; UsageError if an audit is open that was asked
    for differently.
    """
    catalogue, settings = workspace.catalogue, workspace.settings
    record = audits.open_audit(catalogue)
    if record is not None and not dry_run:
        _refuse_other(
            settings.classes, record, size=size, class_name=class_name, missed=missed, until=until
        )
        record_audits(workspace)
        record = ask_on(workspace, record)
        return AuditReport(
            record=record,
            planned=None,
            promise=Promise(**record.plan["promise"]),
            waiting=audit_answers.answers_of(catalogue, record).waiting,
            text=f"Audit {record.audit_id} goes on: {record.answered:,} of at most"
            f" {record.sample:,} answered.",
        )
    with lease(catalogue, "round"):
        # Read before the pool: a label that comes between the two asks for another plan.
        last_event = audits.newest_event(catalogue)
        with progress.stage("plan", None):
            planned = plan_audit(
                workspace,
                size=size,
                class_name=class_name,
                missed=missed,
                until=until,
                pool_error=pool_error,
            )
        if not dry_run:
            _keep(
                catalogue,
                settings,
                planned,
                last_event,
                # Of a whole pool, what people labelled counts, too, so no promise is empty here.
                insisted=pool_error is not None
                or (anyway and planned.answer is not Advice.EMPTY_PROMISE),
            )
    first = planned.plan.steps[0].drawn if planned.plan else planned.sample
    return AuditReport(
        record=None,
        planned=planned,
        promise=planned.promise,
        waiting=first,
        text="\n".join([planned.text, *_terms(settings, planned)]),
    )


def _terms(settings: Settings, planned: PlannedAudit) -> Iterator[str]:
    """What a planned audit is about, what it asks and what it costs, before anybody agrees to it.

    Nothing for a frame that no plan can be made for.
    """
    if planned.plan is None:
        return
    classes, promise, plan = settings.classes, planned.promise, planned.plan
    name = classes.name_of(str(planned.scope))
    if planned.kind is AuditKind.MISSED:
        covered = f"unlabelled images that lean to `{name}`, not promoted labels"
    elif planned.scope is AuditScope.ALL:
        covered = (
            f"labels promoted to `{classes.positive}` and `{classes.negative}`, both together and"
            " neither by itself"
        )
    else:
        covered = f"labels promoted to `{name}`, and no others"
    yield f"Its certificate covers {covered}."
    rescue = (
        f", and {plan.rescue.drawn:,} more only if the most certain part fails"
        if plan.rescue
        else ""
    )
    yield (
        f"It asks for {count(plan.steps[0].drawn, 'image')} first and at most {plan.sample:,}"
        f"{rescue}."
    )
    budget = 1.0 - settings.promotion.confidence
    left = budget - promise.spent - promise.risk
    later = f"{left:.3g}" if left > _SMALLEST_DIFFERENCE else "none"
    yield (
        f"Opening it spends {promise.risk:.3g} of the allowed risk of {budget:.3g} (1 -"
        f" promotion.confidence), whatever the result; {later} is left for later audits."
    )


def begin(workspace: Workspace, *, salt: str | None = None) -> AuditRecord:
    """The open audit, or the planned one, opened now: call it before its first image is seen.

    Chance comes from the system; simulations and tests pass a `salt` of their own. An image is
    only handed out once the ledger has the audit. Raises DataError if no audit is open or
    planned, BusyError if it has to be planned again.
    """
    catalogue = workspace.catalogue
    record = audits.open_audit(catalogue)
    if record is None:
        with lease(catalogue, "round"):
            planned = audits.planned_audit(catalogue)
            if planned is None:
                raise _no_audit()
            spent = sum(earlier.risk for earlier in spending(workspace))
            if abs(spent - planned.plan["promise"]["spent"]) > _SMALLEST_DIFFERENCE:
                raise BusyError(
                    "The risk spent by earlier audits changed after this audit was planned.",
                    "Plan it again: `curator audit`.",
                )
            frame = frame_of(frames.frame_rows(catalogue, planned.frame_id))
            plan = restore(planned.plan, frame, planned.kind)
            chance = salt or secrets.token_hex(32)
            draw = draw_audit(frame, plan, chance)
            terms = terms_of(planned, workspace.settings.classes)
            drawn = DrawnImages(
                salt=chance,
                salt_chosen=salt is not None,
                terms=terms,
                commitment=opening_commitment(
                    frames.frame_hashes(catalogue, planned.frame_id),
                    frame.positive,
                    plan.digest,
                    chance,
                    terms,
                ),
                image_ids=draw.image_ids,
                strata=draw.strata,
                inclusion_probability=draw.inclusion_probability,
            )
            record = audits.begin_audit(catalogue, planned, drawn)
    record_audits(workspace)
    return ask_on(workspace, record)


def ask_on(workspace: Workspace, record: AuditRecord) -> AuditRecord:
    """Test the steps whose strata are answered, lock these, and ask the next stratum.

    Answers that a verdict has used cannot be taken back any more: whoever is asked for more, or
    for no more, knows how it went.
    """
    catalogue = workspace.catalogue
    while record.salt is not None and record.kind is AuditKind.PROMISE:
        answers = audit_answers.answers_of(catalogue, record)
        current = answers.strata == record.asking
        if answers.waiting or answers.locked[current].all():
            break
        frame, plan, draw = drawn_again(record, frames.frame_rows(catalogue, record.frame_id))
        following = asked_stratum(frame, plan, draw, outcomes_of(answers))
        then = record.asking if following is None else following
        record = lock_answers(workspace, record, answers, then=then or 0)
    return record


def lock_answers(
    workspace: Workspace, record: AuditRecord, answers: AuditAnswers, *, then: int | None
) -> AuditRecord:
    """Lock the answers to what is asked now, in the ledger and then in the catalogue."""
    return audit_answers.lock_stratum(
        workspace.catalogue,
        record,
        tested=answers,
        then=then,
        beforehand=lambda: record_lock(workspace, record, answers),
    )


def abandon(workspace: Workspace) -> AuditRecord:
    """Give the open audit up: its answers stay labels, its risk stays spent.

    Raises DataError if none is open.
    """
    record = required(workspace.catalogue)
    record_audits(workspace)
    audit_answers.abandon(workspace.catalogue, record.audit_id)
    return record


def required(catalogue: Catalogue) -> AuditRecord:
    """The open audit. Raises DataError if there is none."""
    record = audits.open_audit(catalogue)
    if record is None:
        raise _no_audit()
    return record


def _no_audit() -> DataError:
    return DataError(
        "There is no open audit.", "`curator audit` plans one, says what to expect, opens it."
    )


def _refuse_other(
    classes: ClassesSettings,
    record: AuditRecord,
    *,
    size: int | None,
    class_name: str | None,
    missed: bool,
    until: float | None,
) -> None:
    scope = scope_of(classes, class_name, missed=missed)
    other_kind = missed != (record.kind is AuditKind.MISSED)
    other_scope = class_name is not None and not missed and scope is not record.scope
    # A plan takes at most as many images as it was asked for; those of a rescue come on top.
    planned = record.plan.get("sample") or record.plan["rungs"][-1]["drawn"]
    steps = record.plan.get("rungs", [])
    set_size = steps[0]["size"] if record.plan["format"] == Design.SEQUENTIAL else None
    other_design = until is not None and round(until * record.frame_size) != set_size
    if other_kind or other_scope or other_design or (size is not None and size < planned):
        raise UsageError(
            f"Audit {record.audit_id} is open, with {planned:,} images"
            f" ({classes.name_of(str(record.scope))}), and another cannot be opened beside it.",
            "Go on with it by `curator audit` alone, or abandon it with `curator audit --abandon`.",
        )


def _keep(
    catalogue: Catalogue,
    settings: Settings,
    planned: PlannedAudit,
    last_event: int,
    *,
    insisted: bool,
) -> None:
    """Keep a plan with its frame. Raises DataError if it is not worth its decisions."""
    plan, frame = planned.plan, planned.frame
    if plan is None or not (planned.answer is Advice.READY or insisted):
        rarer = AuditScope.POSITIVE if frame.positive.mean() < 0.5 else AuditScope.NEGATIVE
        advice = _ADVICE[planned.answer].format(
            rarer=settings.classes.name_of(str(rarer)),
            enough=planned.outlook.enough if planned.outlook else "",
        )
        raise DataError(planned.text, advice)
    frame_id = frames.keep_frame(
        catalogue,
        FrameRows(
            digest=frame.digest,
            image_ids=frame.image_ids,
            positive=frame.positive,
            probability=planned.probability,
            strata=np.searchsorted(
                np.unique(plan.sizes), np.arange(len(frame)), side="right"
            ).astype(np.int64),
        ),
        round_id=planned.round_id,
        details={"kind": str(planned.kind), "scope": str(planned.scope)},
    )
    audits.plan_audit(
        catalogue,
        frame_id,
        NewAudit(
            kind=planned.kind,
            scope=planned.scope,
            plan=describe(plan),
            round_id=planned.round_id,
            seed=settings.runtime.seed,
            max_error=planned.max_error,
            risk=planned.promise.risk,
            overlooked=settings.audit.overlooked,
            rescue=len(plan.steps) if plan.rescue else None,
        ),
        last_event=last_event,
    )
