"""What an audit would be: frame, plan and expectations, from the current scores; writes nothing.

Under the certified policy the frame is the pool without human labels, ranked by the round's
scores, and the promise decides how much of it can be certified; under thresholds it is all that
is promoted. `plan_audit` reads the catalogue once; what follows are values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.audits.certificate import current_certificates, uncertified
from curator.audits.forecast import LabelEvidence, forecast_errors, label_evidence
from curator.audits.frame import Frame, freeze_frame, rank_pool
from curator.audits.ledger import spending
from curator.audits.outlook import Advice, Outlook, assess_audit, explain, fewest_decisions
from curator.audits.plan import (
    LARGEST_SHARE,
    AuditPlan,
    Promise,
    Spending,
    exact_share,
    next_promise,
    next_scope,
    simple_random_plan,
)
from curator.audits.test import most_wrong
from curator.audits.until import assess_until
from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditScope
from curator.catalogue import certificates, frames, rounds
from curator.catalogue.frames import ScoredPool
from curator.catalogue.pool import human_labels
from curator.errors import DataError, UsageError
from curator.settings.sections import ClassesSettings, Settings
from curator.workspace import Workspace

_LEAST_RESERVE = 0.5
"""The share of the risk that an audit of a whole pool leaves for a further one."""


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


def plan_audit(
    workspace: Workspace,
    *,
    size: int | None = None,
    class_name: str | None = None,
    missed: bool = False,
    until: float | None = None,
    pool_error: float | None = None,
) -> PlannedAudit:
    """Plan an audit, and write nothing.

    `pool_error` is wrong machine labels / all usable images: under either policy it plans one
    sequential test of all images without a human label, each with its likelier class. It takes at
    most half of the risk that is left, so that another one can be paid for if it fails. Raises
    DataError where there is nothing to audit or nothing to spend, UsageError where `until`
    has no meaning.
    """
    catalogue, settings = workspace.catalogue, workspace.settings
    pool = frames.scored_pool(catalogue)
    if pool_error is not None:
        settings, until = _settings_for_pool(settings, pool, pool_error), 1.0
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
    if pool.round_id is None or not len(pool.image_ids):
        raise DataError(
            "No round has scored the pool yet, so there is nothing to audit.",
            "Run `curator round` first.",
        )
    size = size or (settings.audit.size or None if until is None else None)
    earlier = spending(workspace)
    if pool_error is not None:
        scope = AuditScope.ALL
    elif class_name is None and not missed:
        current = current_certificates(catalogue)
        scope = next_scope(settings, uncertified(settings.classes, current), earlier)
    else:
        scope = scope_of(settings.classes, class_name, missed=missed)
    if missed:
        return _plan_missed(settings, pool, earlier, scope, size)
    if settings.promotion.policy == "certified":
        outcome = rounds.get_round(catalogue, pool.round_id).outcome
        human = human_labels(catalogue, None)
        sampled_ids = human.image_ids[human.speaks_for_pool]
        if pool_error is not None:
            # People have labelled the hardest images since the sample was drawn, so its estimates
            # have the quantiles of the whole pool, and not of the frame.
            sampled_ids = sampled_ids[:0]
        return _plan_promise(settings, pool, sampled_ids, outcome, earlier, scope, size, until)
    ids, positive, _ = certificates.promoted_labels(catalogue, scope)
    return _plan_bound(settings, AuditKind.MEASURE, pool, earlier, scope, ids, positive, size)


def _settings_for_pool(settings: Settings, pool: ScoredPool, pool_error: float) -> Settings:
    """The settings of an audit of all images that people have not labelled.

    Its frame holds images that a gate keeps from promotion, too: they get a label all the same.
    """
    frame_size = max(1, int((~pool.human & ~pool.blocked).sum()))
    # Rounded down: as a share of the frame it never allows more than `pool_error` of the pool.
    millionths = int(exact_share(pool_error) * len(pool.image_ids) * 1_000_000 / frame_size)
    promotion = {"policy": "certified", "max_error": min(millionths, 500_000) / 1_000_000}
    sections = {
        "promotion": settings.promotion.model_copy(update=promotion),
        "gates": settings.gates.model_copy(update={"distance": 0.0}),
        "audit": settings.audit.model_copy(
            update={"reserve": max(settings.audit.reserve, _LEAST_RESERVE), "ranking": "plain"}
        ),
    }
    return settings.model_copy(update=sections)


def scope_of(classes: ClassesSettings, class_name: str | None, *, missed: bool) -> AuditScope:
    """The class that is asked for, else the one that is delivered; missed are the rarer ones."""
    if class_name is None:
        return AuditScope.ALL if missed else classes.delivered
    scopes = {classes.positive: AuditScope.POSITIVE, classes.negative: AuditScope.NEGATIVE}
    if class_name not in scopes:
        raise UsageError(f"There is no class `{class_name}`.", f"Choose from {', '.join(scopes)}.")
    return scopes[class_name]


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
    name, probability = settings.classes.name_of(str(scope)), decisive_probability(settings, pool)
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
    leaning = decisive_probability(settings, pool) > 0.5
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
    probability[with_score] = decisive_probability(settings, pool)[scored]
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


def decisive_probability(settings: Settings, pool: ScoredPool) -> FloatArray:
    """P(positive) of the kind that decides about promotions, (images,)."""
    return pool.raw if settings.promotion.score == "raw" else pool.probability
