"""An audit: planned before any of its labels is seen, explained, then opened as a whole.

Under the certified policy the frame is the pool without human labels, ranked by the round's
scores, and the promise decides how much of it can be certified; under thresholds it is all that
is promoted. Only a plan that is worth its decisions is kept. A planned audit spends nothing. It
is opened right before its first image is shown or exported: salt, drawn images and the risk that
they spend are then in the catalogue, and no round may run before the audit is closed. Answers
come through the review or as CSV, stratum by stratum; `certify` draws the conclusion.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.audits.certificate import current_certificates, uncertified
from curator.audits.draw import AuditDraw, draw_audit, draw_from_seed
from curator.audits.evidence import opening_commitment, terms_of
from curator.audits.forecast import LabelEvidence, forecast_errors, label_evidence
from curator.audits.frame import Frame, frame_digest, freeze_frame, rank_pool
from curator.audits.ledger import record_audits, record_lock, spending
from curator.audits.outlook import Advice, Outlook, assess_audit, explain, fewest_decisions
from curator.audits.plan import (
    LARGEST_SHARE,
    AuditPlan,
    Design,
    Promise,
    Spending,
    describe,
    next_promise,
    payable_confidence,
    restore,
    simple_random_plan,
)
from curator.audits.test import AuditOutcome, asked_stratum, most_wrong
from curator.audits.until import assess_until
from curator.base.arrays import BoolArray, CodeArray, FloatArray, IntArray
from curator.base.progress import SILENT, Progress
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditScope, Label
from curator.catalogue import audits, certificates, frames, rounds
from curator.catalogue.audits import AuditAnswers, AuditRecord, DrawnImages, NewAudit
from curator.catalogue.engine import Catalogue
from curator.catalogue.frames import FrameRows, ScoredPool
from curator.catalogue.leases import lease
from curator.catalogue.pool import human_labels
from curator.errors import BusyError, DataError, UsageError
from curator.settings.sections import ClassesSettings, Settings
from curator.workspace import Workspace

_SMALLEST_DIFFERENCE = 1e-9
_OUTCOMES = {
    Label.NEGATIVE: AuditOutcome.NEGATIVE,
    Label.POSITIVE: AuditOutcome.POSITIVE,
    Label.UNSURE: AuditOutcome.UNSURE,
}
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
class PlannedAudit:
    """A frame with its plan, if there is one, and what can be expected of it.

    `probability` is (images,), P(positive) in the order of the frame. `max_error` is what was
    wished for; the promise may test a smaller one. A simple random sample has no `outlook`.
    """

    kind: AuditKind
    scope: AuditScope
    attempt: int
    round_id: int | None
    frame: Frame
    probability: FloatArray
    max_error: float
    promise: Promise
    plan: AuditPlan | None
    outlook: Outlook | None
    text: str

    @property
    def answer(self) -> Advice:
        """Whether the audit is worth its decisions."""
        return self.outlook.answer if self.outlook else Advice.READY

    @property
    def frame_size(self) -> int:
        """Images in the frame."""
        return len(self.frame)

    @property
    def sample(self) -> int:
        """Images to be audited."""
        if self.plan is not None:
            return self.plan.sample
        return self.outlook.sample if self.outlook else 0


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


def audit(
    workspace: Workspace,
    *,
    size: int | None = None,
    class_name: str | None = None,
    missed: bool = False,
    until: float | None = None,
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
    of the images until that is proved, `size` images at most. A dry run keeps nothing; `begin`
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
            waiting=audits.answers_of(catalogue, record).waiting,
            text=f"Audit {record.audit_id} goes on: {record.answered:,} of at most"
            f" {record.sample:,} answered.",
        )
    with lease(catalogue, "round"):
        # Read before the pool: a label that comes between the two asks for another plan.
        last_event = audits.newest_event(catalogue)
        with progress.stage("plan", None):
            planned = plan(workspace, size=size, class_name=class_name, missed=missed, until=until)
        if not dry_run:
            _keep(catalogue, settings, planned, last_event, anyway=anyway)
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
        f", and {plan.rescue.drawn:,} more only if not even the surest part passes"
        if plan.rescue
        else ""
    )
    yield (
        f"It asks for {count(plan.steps[0].drawn, 'image')} first and at most {plan.sample:,}"
        f"{rescue}."
    )
    budget = 1.0 - settings.promotion.confidence
    left = budget - promise.spent - promise.risk
    later = f"{left:.3g} stay for later audits" if left > _SMALLEST_DIFFERENCE else "nothing stays"
    yield (
        f"Opening it spends {promise.risk:.3g} of the {budget:.3g} that promotion.confidence ="
        f" {settings.promotion.confidence:.4g} leaves for all audits together, whatever comes of"
        f" it; {later}."
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
                    "What earlier audits spent has changed since this audit was planned.",
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
        answers = audits.answers_of(catalogue, record)
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
    return audits.lock_stratum(
        workspace.catalogue,
        record,
        tested=answers,
        then=then,
        beforehand=lambda: record_lock(workspace, record, answers),
    )


def frame_of(rows: FrameRows) -> Frame:
    """A stored frame. Raises DataError if images, labels or order are not those frozen."""
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


def drawn_again(record: AuditRecord, rows: FrameRows) -> tuple[Frame, AuditPlan, AuditDraw]:
    """Frame, plan and draw of a stored audit, each derived again from what is stored.

    Raises DataError if images, labels or their order are not those that were frozen, or if the
    plan is damaged.
    """
    frame = frame_of(rows)
    plan = restore(record.plan, frame, record.kind)
    if record.salt is not None:
        return frame, plan, draw_audit(frame, plan, record.salt)
    return frame, plan, draw_from_seed(frame, plan, seed=record.seed, attempt=record.attempt)


def outcomes_of(answers: AuditAnswers) -> CodeArray:
    """What became of each drawn image, (drawn,); nobody's answer is an answer, too."""
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


def abandon(workspace: Workspace) -> AuditRecord:
    """Give the open audit up: its answers stay labels, its risk stays spent.

    Raises DataError if none is open.
    """
    record = required(workspace.catalogue)
    record_audits(workspace)
    audits.abandon(workspace.catalogue, record.audit_id)
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


def refuse_open_audit(catalogue: Catalogue, what: str) -> None:
    """Raises DataError while an audit is open: `what` would change what it is about."""
    record = audits.open_audit(catalogue)
    if record is not None:
        raise DataError(
            f"Audit {record.audit_id} is open ({record.answered:,} of {record.sample:,} answered),"
            f" and {what} would change the labels that it is about.",
            "Finish it with `curator audit` and `curator certify`, or give it up with"
            " `curator audit --abandon`; what it spent of the confidence stays spent.",
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
    scope = _scope_of(classes, class_name, missed=missed)
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
            "Go on with it by `curator audit` alone, or give it up with `curator audit --abandon`.",
        )


def _scope_of(classes: ClassesSettings, class_name: str | None, *, missed: bool) -> AuditScope:
    """The class that is asked for, else the one that is delivered; missed are the rarer ones."""
    if class_name is None:
        return AuditScope.ALL if missed else classes.delivered
    scopes = {classes.positive: AuditScope.POSITIVE, classes.negative: AuditScope.NEGATIVE}
    if class_name not in scopes:
        raise UsageError(f"There is no class `{class_name}`.", f"Choose from {', '.join(scopes)}.")
    return scopes[class_name]


def _keep(
    catalogue: Catalogue,
    settings: Settings,
    planned: PlannedAudit,
    last_event: int,
    *,
    anyway: bool,
) -> None:
    """Keep a plan with its frame. Raises DataError if it is not worth its decisions."""
    plan, frame = planned.plan, planned.frame
    insisted = anyway and planned.answer is not Advice.EMPTY_PROMISE
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


def plan(
    workspace: Workspace,
    *,
    size: int | None = None,
    class_name: str | None = None,
    missed: bool = False,
    until: float | None = None,
) -> PlannedAudit:
    """Plan an audit, and write nothing.

    Raises DataError where there is nothing to audit or nothing to spend, UsageError where `until`
    has no meaning.
    """
    catalogue, settings = workspace.catalogue, workspace.settings
    if until is not None and (missed or settings.promotion.policy != "certified"):
        raise UsageError(
            "Only a share of the pool that is to be certified can be audited until it is proved.",
            'Leave --missed out, and set promotion.policy = "certified".',
        )
    if until is not None and not 0.0 < until <= 1.0:
        raise UsageError(
            f"A share of {until:g} of the images cannot be audited.",
            "Give a number above 0 and at most 1, such as --until 0.6.",
        )
    pool = frames.scored_pool(catalogue)
    if pool.round_id is None or not len(pool.image_ids):
        raise DataError(
            "No round has scored the pool yet, so there is nothing to audit.",
            "Run `curator round` first.",
        )
    size = size or (settings.audit.size or None if until is None else None)
    earlier = spending(workspace)
    if class_name is None and not missed:
        current = current_certificates(catalogue)
        scope = next_scope(settings, uncertified(settings.classes, current), earlier)
    else:
        scope = _scope_of(settings.classes, class_name, missed=missed)
    if missed:
        return _plan_missed(settings, pool, earlier, scope, size)
    if settings.promotion.policy == "certified":
        outcome = rounds.get_round(catalogue, pool.round_id).outcome
        human = human_labels(catalogue, None)
        sampled_ids = human.image_ids[human.speaks_for_pool]
        return _plan_promise(settings, pool, sampled_ids, outcome, earlier, scope, size, until)
    ids, positive, _ = certificates.promoted_labels(catalogue, scope)
    return _plan_bound(settings, AuditKind.MEASURE, pool, earlier, scope, ids, positive, size)


def next_scope(
    settings: Settings, scopes: Sequence[AuditScope], earlier: Sequence[Spending]
) -> AuditScope:
    """What the next audit is about: the first of `scopes`, or of all, that can be paid for."""
    confidence, scopes = settings.promotion.confidence, scopes or settings.classes.certified_scopes
    payable = (
        scope
        for scope in scopes
        if payable_confidence(
            confidence, earlier, scope=scope, alone=scope is settings.classes.delivered
        )
        >= confidence
    )
    return next(payable, scopes[0])


def _plan_promise(
    settings: Settings,
    pool: ScoredPool,
    sampled_ids: IntArray,
    outcome: Mapping[str, Any],
    earlier: Sequence[Spending],
    scope: AuditScope,
    size: int | None,
    until: float | None,
) -> PlannedAudit:
    """A test of the pool without human labels; `outcome` is that of its round.

    `sampled_ids` have labels of a random sample of the pool. The test is a sequential one of the
    surest share `until`, or a nested one.
    """
    name, probability = settings.classes.name_of(str(scope)), _decisive(settings, pool)
    free = ~pool.human & ~pool.blocked
    # Images that the gate of distances keeps from promotion are no part of the frame, however
    # sure the classifier is: no promise is made of them.
    usual = outcome.get("usual_distance")
    if settings.gates.distance and usual is not None:
        foreign = free & (pool.distance > settings.gates.distance * usual)
    else:
        foreign = np.zeros(len(free), dtype=np.bool_)
    if foreign.any() and (foreign == free).all():
        raise DataError(
            f"All {int(free.sum()):,} images without a human label lie farther from everything"
            " labelled than labelled images lie from each other, so nothing may be promoted.",
            "Label some of them with `curator review unfamiliar`, and run `curator round` again.",
        )
    free &= ~foreign
    has_class = (probability[free] > 0.5) == (scope is AuditScope.POSITIVE)
    if scope is not AuditScope.ALL and len(has_class) and not has_class.any():
        raise DataError(
            f"No image without a human label leans to `{name}`, so there is nothing to audit.",
            f"Label more images `{name}` and run `curator round` again.",
        )
    promise = _promise(settings, earlier, scope, miss_rate=settings.audit.overlooked)
    frame = rank_pool(
        pool.image_ids[free],
        probability[free],
        balanced=settings.audit.ranking == "balanced",
        seed=settings.runtime.seed,
        scope=scope,
    )
    forecast = forecast_errors(
        frame,
        _evidence(pool, sampled_ids, probability, outcome),
        false_alarm_rate=settings.audit.slips,
    )
    seed = settings.runtime.seed
    if until is None:
        outlook = assess_audit(frame, forecast, promise, sample=size, seed=seed)
        text = explain(outlook)
    else:
        sequential = assess_until(frame, forecast, promise, share=until, most=size, seed=seed)
        outlook, text = sequential.outlook, sequential.text
    left_out = (
        f" Left out: {count(int(foreign.sum()), 'image')} unlike anything labelled, however sure;"
        " look at them with `curator review unfamiliar` (gates.distance)."
        if foreign.any()
        else ""
    )
    return PlannedAudit(
        kind=AuditKind.PROMISE,
        scope=scope,
        attempt=len(earlier) + 1,
        round_id=pool.round_id,
        frame=frame,
        probability=probability[np.searchsorted(pool.image_ids, frame.image_ids)],
        max_error=settings.promotion.max_error,
        promise=promise,
        plan=outlook.best.plan,
        outlook=outlook,
        text=f"{text}{left_out}",
    )


def _evidence(
    pool: ScoredPool, sampled_ids: IntArray, probability: FloatArray, outcome: Mapping[str, Any]
) -> LabelEvidence | None:
    """Human labels beside cross-validated scores, None without any."""
    # The scores suggest what a contact sheet shows, so its labels would agree too often.
    labelled = pool.human & pool.settled & ~pool.sheet
    if not labelled.any():
        return None
    noise = float((outcome.get("label_belief") or {}).get("wrong_share", 0.0))
    return label_evidence(
        probability[labelled],
        pool.positive[labelled],
        sampled=np.isin(pool.image_ids[labelled], sampled_ids),
        pool=probability[~pool.human],
        noise=noise,
    )


def _plan_missed(
    settings: Settings,
    pool: ScoredPool,
    earlier: Sequence[Spending],
    scope: AuditScope,
    size: int | None,
) -> PlannedAudit:
    """A sample of the images that lean to the commoner class, where the rarer may be hidden."""
    free = ~pool.human & ~pool.blocked
    leaning = _decisive(settings, pool) > 0.5
    rarer = leaning[free].mean() < 0.5 if scope is AuditScope.ALL else scope is AuditScope.POSITIVE
    ids = pool.image_ids[free & (leaning != rarer)]
    other = AuditScope.NEGATIVE if rarer else AuditScope.POSITIVE
    positive = np.full(len(ids), not rarer)
    return _plan_bound(settings, AuditKind.MISSED, pool, earlier, other, ids, positive, size)


def _plan_bound(
    settings: Settings,
    kind: AuditKind,
    pool: ScoredPool,
    earlier: Sequence[Spending],
    scope: AuditScope,
    ids: IntArray,
    positive: BoolArray,
    size: int | None,
) -> PlannedAudit:
    """A simple random sample of these images with these labels, (images,), ids rising."""
    # Promoted images that have no score any more are part of the frame, too; they get 0.5.
    probability = np.full(len(ids), 0.5)
    _, scored, with_score = np.intersect1d(
        pool.image_ids, ids, assume_unique=True, return_indices=True
    )
    probability[with_score] = _decisive(settings, pool)[scored]
    wrong = np.where(positive, 1.0 - probability, probability)
    estimated_error = np.clip(wrong, 0.0, 0.5)
    frame = freeze_frame(ids, positive, -wrong, estimated_error, seed=settings.runtime.seed)
    promise = _promise(settings, earlier, scope, miss_rate=0.0)
    most = max(1, int(LARGEST_SHARE * len(frame)))
    sample = size or min(fewest_decisions(promise, len(frame)), most)
    plan = simple_random_plan(frame, promise, sample)

    expected_errors = round(float(frame.estimated_error.mean()) * sample)
    unseen = len(frame) - sample
    clean, likely = (
        (most_wrong(len(frame), sample, errors, promise.risk) - errors) / unseen
        for errors in (0, expected_errors)
    )
    name = settings.classes.name_of(str(scope))
    if kind is AuditKind.MISSED:
        images, bounded = f"images that lean to {name}", "how many are not"
    else:
        images = "promoted images" if scope is AuditScope.ALL else f"promoted to {name}"
        bounded = "how many of them are wrong"
    return PlannedAudit(
        kind=kind,
        scope=scope,
        attempt=len(earlier) + 1,
        round_id=pool.round_id,
        frame=frame,
        probability=probability[np.searchsorted(ids, frame.image_ids)],
        max_error=settings.promotion.max_error,
        promise=promise,
        plan=plan,
        outlook=None,
        text=f"An audit of {sample:,} of {len(frame):,} {images} bounds {bounded}, at"
        f" {100 * promise.confidence:.4g}% confidence: at most {clean:.2%} if you find no errors,"
        f" {likely:.2%} with the {expected_errors:,} errors that the scores predict.",
    )


def _promise(
    settings: Settings, earlier: Sequence[Spending], scope: AuditScope, *, miss_rate: float
) -> Promise:
    return next_promise(
        settings.promotion.max_error,
        settings.promotion.confidence,
        earlier,
        scope=scope,
        alone=scope is settings.classes.delivered,
        reserve=settings.audit.reserve,
        miss_rate=miss_rate,
    )


def _decisive(settings: Settings, pool: ScoredPool) -> FloatArray:
    """P(positive) of the kind that decides about promotions, (images,)."""
    return pool.raw if settings.promotion.score == "raw" else pool.probability
