"""Planning an audit: the frame from the current scores, and what can be expected of it.

Nothing is written here. Under the certified policy the frame is the pool without people's
labels, ranked by the round's scores, and the promise picks how far down it goes; under
thresholds it is what stands promoted. What earlier audits spent is subtracted first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.audits.forecast import LabelEvidence
from curator.audits.frame import Frame, freeze_frame
from curator.audits.ladder import AuditPlan
from curator.audits.outlook import Advice, Outlook, explain, fewest_decisions
from curator.audits.prepare import Spending, plan_audit, promise_for, rank_pool
from curator.audits.promise import Promise
from curator.audits.scored import label_evidence
from curator.audits.simple_random import LARGEST_SHARE, SimpleRandomPlan, plan_simple_random
from curator.audits.whole import bound_whole, promise_despite_slips
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditScope
from curator.catalogue import audits, certificates, frames, rounds
from curator.catalogue.frames import ScoredPool
from curator.errors import DataError, UsageError
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAudit:
    """A frame with its plan, and what was said about it; `plan` is None if there is none."""

    kind: AuditKind
    scope: AuditScope
    frame: Frame
    probability: NDArray[np.float64]
    round_id: int | None
    promise: Promise
    plan: AuditPlan | SimpleRandomPlan | None
    answer: Advice
    text: str
    outlook: Outlook | None


def plan(
    workspace: Workspace,
    *,
    size: int | None = None,
    class_name: str | None = None,
    missed: bool = False,
) -> PlannedAudit:
    """Plan an audit. Raises DataError where there is nothing to audit or nothing to spend."""
    pool = frames.scored_pool(workspace.catalogue)
    if pool.round_id is None or not len(pool.image_ids):
        raise DataError(
            "No round has scored the pool yet, so there is nothing to audit.",
            "Run `curator round` first.",
        )
    scope = scope_of(workspace, class_name)
    size = size or workspace.settings.audit.size or None
    if missed:
        return _plan_missed(workspace, pool, scope, size)
    if workspace.settings.promotion.policy == "certified":
        return _plan_promise(workspace, pool, scope, size)
    return _plan_measure(workspace, pool, scope, size)


def _plan_promise(
    workspace: Workspace, pool: ScoredPool, scope: AuditScope, size: int | None
) -> PlannedAudit:
    chosen, seed = workspace.settings.audit, workspace.settings.runtime.seed
    probability = _deciding(workspace, pool)
    free = ~pool.human & ~pool.blocked
    foreign = free & _too_far(workspace, pool)
    _refuse_foreign(int(free.sum()), int(foreign.sum()))
    free &= ~foreign
    _refuse_empty(workspace, scope, probability[free])
    promise = _promise(workspace, scope, overlooked=chosen.overlooked)
    frame = rank_pool(
        pool.image_ids[free],
        probability[free],
        balanced=chosen.ranking == "balanced",
        seed=seed,
        scope=scope,
    )
    outlook = plan_audit(
        frame,
        label_evidence_of(workspace, pool),
        promise,
        sample=size,
        slips=chosen.slips,
        seed=seed,
    )
    return PlannedAudit(
        kind=AuditKind.PROMISE,
        scope=scope,
        frame=frame,
        probability=_in_order(frame, pool.image_ids, probability),
        round_id=pool.round_id,
        promise=promise,
        plan=outlook.plan,
        answer=outlook.answer,
        text=f"{explain(outlook)}{_left_out(int(foreign.sum()))}",
        outlook=outlook,
    )


def _too_far(workspace: Workspace, pool: ScoredPool) -> NDArray[np.bool_]:
    """Which images the gate of distances keeps from being promoted, however sure the heads are.

    They are no part of the frame, so no promise is made of them and none rests on them.
    """
    times = workspace.settings.gates.distance
    outcome = rounds.get_round(workspace.catalogue, pool.round_id).outcome if pool.round_id else {}
    usual = outcome.get("usual_distance")
    if times == 0 or usual is None:
        return np.zeros(len(pool.image_ids), dtype=np.bool_)
    beyond: NDArray[np.bool_] = pool.distance > times * usual
    return beyond


def _refuse_foreign(free: int, foreign: int) -> None:
    if foreign and foreign == free:
        raise DataError(
            f"All {free:,} images without a human label lie farther from everything labelled than"
            " labelled images lie from each other, so nothing may be promoted.",
            "Label some of them with `curator review unfamiliar`, and run `curator round` again.",
        )


def _left_out(foreign: int) -> str:
    if not foreign:
        return ""
    return (
        f" Left out: {count(foreign, 'image')} unlike anything labelled, however sure; look at"
        " them with `curator review unfamiliar` (gates.distance)."
    )


def _plan_measure(
    workspace: Workspace, pool: ScoredPool, scope: AuditScope, size: int | None
) -> PlannedAudit:
    ids, positive, _ = certificates.promoted_labels(workspace.catalogue, scope)
    frame, probability = _unranked(workspace, pool, ids, positive)
    return _plan_single(
        workspace, AuditKind.MEASURE, scope, frame, probability, pool.round_id, size
    )


def _plan_missed(
    workspace: Workspace, pool: ScoredPool, scope: AuditScope, size: int | None
) -> PlannedAudit:
    """The images that lean to the commoner class, where the rarer one may be hidden."""
    free = ~pool.human & ~pool.blocked
    leaning = _deciding(workspace, pool) > 0.5
    rarer = leaning[free].mean() < 0.5 if scope is AuditScope.ALL else scope is AuditScope.POSITIVE
    hidden_in = free & (leaning != rarer)
    ids = pool.image_ids[hidden_in]
    frame, probability = _unranked(workspace, pool, ids, np.full(len(ids), not rarer))
    scope = AuditScope.NEGATIVE if rarer else AuditScope.POSITIVE
    return _plan_single(workspace, AuditKind.MISSED, scope, frame, probability, pool.round_id, size)


def _plan_single(
    workspace: Workspace,
    kind: AuditKind,
    scope: AuditScope,
    frame: Frame,
    probability: NDArray[np.float64],
    round_id: int | None,
    size: int | None,
) -> PlannedAudit:
    promise = _promise(workspace, scope, overlooked=0.0)
    most = max(1, int(LARGEST_SHARE * len(frame)))
    plan = plan_simple_random(
        frame, promise, size or min(fewest_decisions(promise, len(frame)), most)
    )
    return PlannedAudit(
        kind=kind,
        scope=scope,
        frame=frame,
        probability=probability,
        round_id=round_id,
        promise=promise,
        plan=plan,
        answer=Advice.READY,
        text=_single_text(workspace, kind, scope, plan, float(frame.estimated_error.mean())),
        outlook=None,
    )


def _single_text(
    workspace: Workspace,
    kind: AuditKind,
    scope: AuditScope,
    plan: SimpleRandomPlan,
    estimated: float,
) -> str:
    name = scope_name(workspace, scope)
    what = {
        AuditKind.MEASURE: "promoted images" if scope is AuditScope.ALL else f"promoted to {name}",
        AuditKind.MISSED: f"images that lean to {name}",
    }[kind]
    errors = round(estimated * plan.sample)
    clean, likely = (
        bound_whole(plan.frame_size, plan.sample, found, plan.promise.risk).bound
        for found in (0, errors)
    )
    bounded = "how many of them are wrong" if kind is AuditKind.MEASURE else "how many are not"
    return (
        f"An audit of {plan.sample:,} of {plan.frame_size:,} {what} bounds {bounded}, at"
        f" {plan.promise.confidence:.4g}: at most {clean:.2%} if none is found, {likely:.2%} with"
        f" the {errors:,} that scores lead to expect."
    )


def label_evidence_of(workspace: Workspace, pool: ScoredPool) -> LabelEvidence | None:
    """People's labels beside the scores of heads that never met them; plans alone use them."""
    known = pool.human & pool.settled & ~pool.sheet
    if not known.any():
        return None
    outcome = rounds.get_round(workspace.catalogue, pool.round_id).outcome if pool.round_id else {}
    belief = outcome.get("label_belief") or {}
    return label_evidence(
        _deciding(workspace, pool)[known],
        pool.positive[known],
        slips=float(belief.get("wrong_share", 0.0)),
    )


def spent_so_far(workspace: Workspace) -> list[Spending]:
    """What each audit took of the risk, whatever came of it."""
    return [
        Spending(scope=one.scope, risk=one.risk) for one in audits.list_audits(workspace.catalogue)
    ]


def _promise(workspace: Workspace, scope: AuditScope, *, overlooked: float) -> Promise:
    wanted = workspace.settings.promotion
    return promise_for(
        promise_despite_slips(wanted.max_error, overlooked),
        wanted.confidence,
        spent_so_far(workspace),
        scope=scope,
        reserve=workspace.settings.audit.reserve,
    )


def _deciding(workspace: Workspace, pool: ScoredPool) -> NDArray[np.float64]:
    return pool.raw if workspace.settings.promotion.score == "raw" else pool.probability


def _unranked(
    workspace: Workspace,
    pool: ScoredPool,
    ids: NDArray[np.int64],
    positive: NDArray[np.bool_],
) -> tuple[Frame, NDArray[np.float64]]:
    """A frame of which no part is ever taken by itself; images without a score are at 0.5."""
    place = np.searchsorted(pool.image_ids, ids)
    known = place < len(pool.image_ids)
    known[known] = pool.image_ids[place[known]] == ids[known]
    probability = np.full(len(ids), 0.5)
    probability[known] = _deciding(workspace, pool)[place[known]]
    wrong = np.where(positive, 1.0 - probability, probability)
    seed = workspace.settings.runtime.seed
    frame = freeze_frame(ids, positive, -wrong, np.clip(wrong, 0.0, 0.5), seed=seed)
    return frame, _in_order(frame, ids, probability)


def _in_order(
    frame: Frame, ids: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    ordered: NDArray[np.float64] = values[np.searchsorted(ids, frame.image_ids)]
    return ordered


def scope_of(workspace: Workspace, class_name: str | None) -> AuditScope:
    """The scope behind a class name. Raises UsageError if there is no such class."""
    classes = workspace.settings.classes
    if class_name is None:
        return AuditScope.ALL
    known = {classes.positive: AuditScope.POSITIVE, classes.negative: AuditScope.NEGATIVE}
    if class_name not in known:
        raise UsageError(f"There is no class `{class_name}`.", f"Choose from {', '.join(known)}.")
    return known[class_name]


def _refuse_empty(
    workspace: Workspace, scope: AuditScope, probability: NDArray[np.float64]
) -> None:
    if scope is AuditScope.ALL or not len(probability):
        return
    if not ((probability > 0.5) == (scope is AuditScope.POSITIVE)).any():
        name = scope_name(workspace, scope)
        raise DataError(
            f"No image without a human label leans to `{name}`, so there is nothing to audit.",
            f"Label more images `{name}` and run `curator round` again.",
        )


def scope_name(workspace: Workspace, scope: AuditScope) -> str:
    """The user's name of the class that an audit is about, or `all`."""
    return workspace.settings.classes.name_of(str(scope))
