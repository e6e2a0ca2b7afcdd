"""Policies simulated on scores of images whose labels are known, and their true errors.

Promotion, frame, plan, draw and test of an audit are the functions that rounds and
certificates call. Only the person is simulated: answers are the known labels, a share of
them flipped. The counts are true, which a real run cannot know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curator.audits.draw import draw_audit
from curator.audits.forecast import forecast_errors, label_evidence
from curator.audits.frame import Frame, rank_pool
from curator.audits.outlook import BestPlan, best_plan
from curator.audits.plan import next_promise
from curator.audits.test import AuditOutcome, answered_in_order, close_audit
from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.rounds.promotion import GateInputs, PoolLabel, decide, hold_back, labels_after
from curator.settings.sections import AuditSettings, PromotionSettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownScores:
    """The result of a round on one draw of labels, with the truth.

    `probability` (calibrated), `raw` and `truth` are (images,), of the images without a label.
    `label_probability`, `label_raw` and `label_positive` are (labels,): cross-validated
    P(positive) of the labelled images, calibrated and raw, and the person's answers.
    `label_noise` is the share of the labels that seem wrong.
    """

    probability: FloatArray
    raw: FloatArray
    truth: BoolArray
    label_probability: FloatArray
    label_raw: FloatArray
    label_positive: BoolArray
    gate_inputs: GateInputs
    label_noise: float = 0.0

    def as_raw(self) -> KnownScores:
        """The same with raw scores in place of calibrated ones."""
        return replace(self, probability=self.raw, label_probability=self.label_raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOutcome:
    """Counts of one simulation run under one policy.

    `decisions` is the number of human decisions. Of the `images` without a human label at the
    end, `positive` and `negative` were promoted, `wrong_positive` and `wrong_negative` of them
    wrongly. `issued` says whether there is a certificate, `false` whether more of its labels
    are wrong than it states. `oracle` is the coverage that somebody who knows the truth would
    reach with the same ranking. `trained` is False if the labels had too few images of a class.
    """

    decisions: int
    images: int
    positive: int
    negative: int
    wrong_positive: int
    wrong_negative: int
    issued: bool = False
    false: bool = False
    oracle: float | None = None
    trained: bool = True

    @property
    def coverage(self) -> float:
        """Promoted images / images without a human label."""
        return (self.positive + self.negative) / self.images if self.images else 0.0

    @property
    def error(self) -> float | None:
        """Wrong labels / promoted images; None if nothing was promoted."""
        return _share(self.wrong_positive + self.wrong_negative, self.positive + self.negative)

    @property
    def positive_error(self) -> float | None:
        """Wrong labels / promoted images, among those promoted to positive."""
        return _share(self.wrong_positive, self.positive)

    @property
    def negative_error(self) -> float | None:
        """Wrong labels / promoted images, among those promoted to negative."""
        return _share(self.wrong_negative, self.negative)

    @property
    def of_oracle(self) -> float | None:
        """Coverage / the coverage of the oracle; None if that is 0."""
        return None if not self.oracle else self.coverage / self.oracle


def draw_labels(
    truth: BoolArray, count: int, flipped: float, generator: np.random.Generator
) -> tuple[IntArray, BoolArray]:
    """Positions of a random sample of `count` images, ascending, and a person's answers.

    The share `flipped` of the answers, drawn at random, is wrong.
    """
    positions = np.sort(generator.choice(len(truth), count, replace=False))
    answers = truth[positions].copy()
    wrong = generator.choice(count, round(flipped * count), replace=False)
    answers[wrong] = ~answers[wrong]
    return positions, answers


def nothing_learned(labels: int, images: int) -> PolicyOutcome:
    """The outcome of labels that cannot train a classifier: decisions and nothing else."""
    return replace(_nothing_promoted(labels, images - labels, oracle=None), trained=False)


def play_thresholds(rounds: Sequence[KnownScores], promotion: PromotionSettings) -> PolicyOutcome:
    """The promotions after these rounds."""
    truth = rounds[-1].truth
    labels = np.full(len(truth), PoolLabel.NOTHING, dtype=np.int8)
    for scores in rounds:
        actions = decide(scores.probability, labels, promotion)
        hold_back(actions, scores.gate_inputs)
        labels = labels_after(labels, actions)
    positive = labels == PoolLabel.PROMOTED_POSITIVE
    negative = labels == PoolLabel.PROMOTED_NEGATIVE
    return PolicyOutcome(
        decisions=len(rounds[-1].label_positive),
        images=len(truth),
        positive=int(positive.sum()),
        negative=int(negative.sum()),
        wrong_positive=int((positive & ~truth).sum()),
        wrong_negative=int((negative & truth).sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadyAudit:
    """A frozen frame with its plan, and the truth in the order of the frame, (images,).

    `left_out` images without a label are not in the frame, because they are too far from
    everything labelled.
    """

    frame: Frame
    truth: BoolArray
    prepared: BestPlan
    promotion: PromotionSettings
    audit: AuditSettings
    labels: int
    oracle: float
    left_out: int

    @property
    def images(self) -> int:
        """Images without a human label before the audit."""
        return len(self.truth) + self.left_out


def ready_audit(
    scores: KnownScores,
    promotion: PromotionSettings,
    audit: AuditSettings,
    *,
    sample: int | None,
    seed: int,
) -> ReadyAudit:
    """Freeze the frame of these scores and plan its audit.

    `sample` is its number of images, None for as many as are worth it. Raises DataError for a
    promise that cannot be tested, and for a sample that is too large for the frame.
    """
    promise = next_promise(
        promotion.max_error,
        promotion.confidence,
        reserve=audit.reserve,
        miss_rate=audit.overlooked,
    )
    gates = scores.gate_inputs
    # A certificate never covers images unlike anything labelled; they stay in the pool.
    near = np.full(len(scores.truth), True)
    if gates.distances is not None:
        near = gates.distances <= gates.limit
    frame = rank_pool(
        np.flatnonzero(near),
        scores.probability[near],
        balanced=audit.ranking == "balanced",
        seed=seed,
    )
    evidence = label_evidence(
        scores.label_probability,
        scores.label_positive,
        sampled=np.ones(len(scores.label_positive), dtype=np.bool_),
        pool=scores.probability,
        noise=scores.label_noise,
    )
    forecast = forecast_errors(frame, evidence, false_alarm_rate=audit.slips)
    truth = scores.truth[frame.image_ids]
    oracle = oracle_coverage(frame.positive != truth, promotion.max_error)
    return ReadyAudit(
        frame=frame,
        truth=truth,
        prepared=best_plan(frame, forecast, promise, sample=sample, seed=seed),
        promotion=promotion,
        audit=audit,
        labels=len(scores.label_positive),
        oracle=oracle * float(near.mean()),
        left_out=int((~near).sum()),
    )


def play_certified(
    ready: ReadyAudit, *, slips: float, seed: int, attempt: int = 0
) -> PolicyOutcome:
    """The outcome of the planned audit; only the labels if it is not worth its decisions.

    Without an audit the decisions are those of the labels, since `curator audit` says
    beforehand that it is not worth it.
    """
    if not ready.prepared.worthwhile:
        return _nothing_promoted(ready.labels, ready.images, ready.oracle)
    return play_audit(ready, slips=slips, seed=seed, attempt=attempt)


def play_audit(ready: ReadyAudit, *, slips: float, seed: int, attempt: int = 0) -> PolicyOutcome:
    """Draw, answer and close one audit, if there is a plan, whether worth it or not.

    The person answers the share `slips` of the audited images wrongly, in either direction.
    """
    plan, frame = ready.prepared.plan, ready.frame
    if plan is None:
        return _nothing_promoted(ready.labels, ready.images, ready.oracle)
    draw = draw_audit(frame, plan, f"simulated {seed} {attempt}")
    generator = np.random.default_rng([seed, attempt])
    positive = ready.truth[draw.ranks] ^ (generator.random(len(draw.ranks)) < slips)
    answers = np.where(positive, AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE).astype(np.int8)
    outcomes = answered_in_order(frame, plan, draw, answers)
    closed = close_audit(frame, plan, draw, outcomes, miss_rate=ready.audit.overlooked)
    answered = int((outcomes != AuditOutcome.OPEN).sum())
    decisions, images = ready.labels + answered, ready.images - answered
    if closed.certified is None:
        return _nothing_promoted(decisions, images, ready.oracle)
    ranks = closed.certified.ranks
    label = frame.positive[ranks]
    wrong = label != ready.truth[ranks]
    return PolicyOutcome(
        decisions=decisions,
        images=images,
        positive=int(label.sum()),
        negative=int((~label).sum()),
        wrong_positive=int((wrong & label).sum()),
        wrong_negative=int((wrong & ~label).sum()),
        issued=True,
        false=bool(wrong.sum() > ready.promotion.max_error * len(ranks)),
        oracle=ready.oracle,
    )


def oracle_coverage(wrong: BoolArray, max_error: float) -> float:
    """The largest share of a ranking, from its top, whose true error is at most `max_error`.

    `wrong` is (images,), the most certain first.
    """
    error = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    within = np.flatnonzero(error <= max_error)
    return float(within[-1] + 1) / len(wrong) if len(within) else 0.0


def _nothing_promoted(decisions: int, images: int, oracle: float | None) -> PolicyOutcome:
    return PolicyOutcome(
        decisions=decisions,
        images=images,
        positive=0,
        negative=0,
        wrong_positive=0,
        wrong_negative=0,
        oracle=oracle,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
