"""What would have come of it: policies played on scores of images whose labels are known.

Everything that decides is the real thing: the rule of promotion, the frame, the plan, the
draw and the verdict of an audit are the functions that rounds and certificates call. Only
the person is imagined: labels come from the known ones, with as many slips as are asked
for. Whatever is counted here is the truth, which a real run cannot know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curator.audits.draw import AuditDraw, draw_audit
from curator.audits.forecast import forecast_errors, label_evidence
from curator.audits.frame import Frame, rank_pool
from curator.audits.outlook import BestPlan, best_plan
from curator.audits.plan import next_promise
from curator.audits.test import AuditOutcome, close_audit
from curator.rounds.gates import GateInputs, hold_back
from curator.rounds.promotion import PoolLabel, RoundAction, decide
from curator.settings.sections import PromotionSettings

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownScores:
    """What a round knows after one draw of labels, and the truth that it does not know.

    `probability` (calibrated), `raw` and `truth` are (images,), of those without a label;
    `judged_probability`, `judged_raw` and `judged_positive` are (labels,): P(positive) from
    heads that never met the label, calibrated and raw, and what the person said. `sights` are
    what gates look at, `slips` the share of the labels that seem wrong.
    """

    probability: Floats
    raw: Floats
    truth: Flags
    judged_probability: Floats
    judged_raw: Floats
    judged_positive: Flags
    sights: GateInputs
    slips: float = 0.0

    def as_raw(self) -> KnownScores:
        """The same where raw scores decide."""
        return replace(self, probability=self.raw, judged_probability=self.judged_raw)

    def without_distances(self) -> KnownScores:
        """The same where nobody asks how far an image lies from what is labelled."""
        return replace(self, sights=replace(self.sights, distances=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOutcome:
    """What one rehearsal came to.

    `decisions` are all that people made. Of the `images` without a human label at the end,
    `positive` and `negative` were given these labels, `wrong_positive` and `wrong_negative`
    of them wrongly. `issued` says whether there is a certificate, `false` whether more of
    its labels are wrong than it promises. `oracle` is the share of the images without a
    seed label that one who knows the truth would have taken from the same ranking.
    `trained` is False where the labels held too little of one class to learn from.
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
        """The same among images labelled positive."""
        return _share(self.wrong_positive, self.positive)

    @property
    def negative_error(self) -> float | None:
        """The same among images labelled negative."""
        return _share(self.wrong_negative, self.negative)

    @property
    def of_oracle(self) -> float | None:
        """Coverage as a share of what was possible; None where nothing was."""
        return None if not self.oracle else self.coverage / self.oracle


def draw_labels(
    truth: Flags, count: int, flipped: float, generator: np.random.Generator
) -> tuple[Ints, Flags]:
    """A random sample of `count` images, rising, and what a person says of them.

    The share `flipped` of them, chosen at random, is labelled wrongly.
    """
    places = np.sort(generator.choice(len(truth), count, replace=False))
    said = truth[places].copy()
    wrong = generator.choice(count, round(flipped * count), replace=False)
    said[wrong] = ~said[wrong]
    return places, said


def nothing_learned(labels: int, images: int) -> PolicyOutcome:
    """What comes of labels that cannot teach: they were decided, and that is all."""
    return PolicyOutcome(
        decisions=labels,
        images=images - labels,
        positive=0,
        negative=0,
        wrong_positive=0,
        wrong_negative=0,
        trained=False,
    )


def play_thresholds(rounds: Sequence[KnownScores], thresholds: PromotionSettings) -> PolicyOutcome:
    """What stands promoted after these rounds."""
    truth, said = rounds[-1].truth, rounds[-1].judged_positive
    held = np.full(len(truth), PoolLabel.NOTHING, dtype=np.int8)
    for scores in rounds:
        actions = decide(scores.probability, held, thresholds)
        hold_back(actions, scores.sights)
        held[actions == RoundAction.PROMOTE_POSITIVE] = PoolLabel.PROMOTED_POSITIVE
        held[actions == RoundAction.PROMOTE_NEGATIVE] = PoolLabel.PROMOTED_NEGATIVE
        held[actions == RoundAction.REVOKE] = PoolLabel.NOTHING
    positive, negative = held == PoolLabel.PROMOTED_POSITIVE, held == PoolLabel.PROMOTED_NEGATIVE
    return PolicyOutcome(
        decisions=len(said),
        images=len(truth),
        positive=int(positive.sum()),
        negative=int(negative.sum()),
        wrong_positive=int((positive & ~truth).sum()),
        wrong_negative=int((negative & truth).sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRules:
    """What is promised and how audits are planned; the fields are those of the settings.

    `overlooked` is the share of wrong labels that the annotator is taken to overlook,
    `slips` the share of right ones that are expected to be called wrong.
    """

    max_error: float
    confidence: float = 0.95
    reserve: float = 0.0
    balanced: bool = False
    slips: float = 0.0
    overlooked: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadyAudit:
    """A frozen frame with its plan and the truth about its places, (images,).

    Of the pool's images without a label, `left_out` are no part of it, being unlike anything
    labelled.
    """

    frame: Frame
    truth: Flags
    prepared: BestPlan
    rules: AuditRules
    labels: int
    oracle: float
    left_out: int

    @property
    def images(self) -> int:
        """How many images have no human label before the audit."""
        return len(self.truth) + self.left_out


def ready_audit(
    scores: KnownScores, rules: AuditRules, *, sample: int | None, seed: int
) -> ReadyAudit:
    """Freeze the frame of these scores and plan its audit, of `sample` images or as many as pay.

    Raises DataError for a promise that cannot be tested, and for a sample that the frame
    cannot give.
    """
    promise = next_promise(
        rules.max_error, rules.confidence, reserve=rules.reserve, miss_rate=rules.overlooked
    )
    sights = scores.sights
    near = np.full(len(scores.truth), True)
    if sights.distances is not None:
        near = sights.distances <= sights.limit
    images = np.flatnonzero(near)
    frame = rank_pool(images, scores.probability[near], balanced=rules.balanced, seed=seed)
    judged = label_evidence(scores.judged_probability, scores.judged_positive, noise=scores.slips)
    forecast = forecast_errors(frame, judged, false_alarm_rate=rules.slips)
    truth = scores.truth[frame.image_ids]
    return ReadyAudit(
        frame=frame,
        truth=truth,
        prepared=best_plan(frame, forecast, promise, sample=sample, seed=seed),
        rules=rules,
        labels=len(scores.judged_positive),
        oracle=oracle_coverage(frame.positive != truth, rules.max_error) * float(near.mean()),
        left_out=int((~near).sum()),
    )


def play_certified(
    ready: ReadyAudit, *, slips: float, seed: int, audits: int = 1, insist: bool = False
) -> Iterator[PolicyOutcome]:
    """Draw, answer and close audits of one plan, each with chance of its own.

    The person answers the share `slips` of the audited images wrongly, either way. A plan
    that is not worth its decisions is not audited, unless one insists: curator says so
    beforehand. Then, and where there is no plan, only the labels have been decided.
    """
    plan = ready.prepared.plan
    for attempt in range(audits):
        if plan is None or not (ready.prepared.worthwhile or insist):
            yield _nothing_certified(ready, ready.labels, ready.images)
            continue
        draw = draw_audit(ready.frame, plan, seed=seed, attempt=attempt)
        generator = np.random.default_rng([seed, attempt])
        outcomes = _answers(ready, draw, slips, generator)
        result = close_audit(ready.frame, plan, draw, outcomes, miss_rate=ready.rules.overlooked)
        decisions, left = ready.labels + plan.sample, ready.images - plan.sample
        if result.certified is None:
            yield _nothing_certified(ready, decisions, left)
        else:
            yield _certified(ready, result.certified.ranks, decisions, left)


def oracle_coverage(wrong: Flags, max_error: float) -> float:
    """The largest share of a ranking, from its surest, whose true error is at most `max_error`.

    `wrong` is (images,), the surest first.
    """
    error = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    within = np.flatnonzero(error <= max_error)
    return float(within[-1] + 1) / len(wrong) if len(within) else 0.0


def _answers(
    ready: ReadyAudit, draw: AuditDraw, slips: float, generator: np.random.Generator
) -> NDArray[np.int8]:
    said = ready.truth[draw.ranks] ^ (generator.random(len(draw.ranks)) < slips)
    return np.where(said, AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE).astype(np.int8)


def _certified(ready: ReadyAudit, places: Ints, decisions: int, left: int) -> PolicyOutcome:
    label, truth = ready.frame.positive[places], ready.truth[places]
    wrong = label != truth
    return PolicyOutcome(
        decisions=decisions,
        images=left,
        positive=int(label.sum()),
        negative=int((~label).sum()),
        wrong_positive=int((wrong & label).sum()),
        wrong_negative=int((wrong & ~label).sum()),
        issued=True,
        false=bool(wrong.sum() > ready.rules.max_error * len(places)),
        oracle=ready.oracle,
    )


def _nothing_certified(ready: ReadyAudit, decisions: int, left: int) -> PolicyOutcome:
    return PolicyOutcome(
        decisions=decisions,
        images=left,
        positive=0,
        negative=0,
        wrong_positive=0,
        wrong_negative=0,
        oracle=ready.oracle,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
