"""The plan of an audit: what is promised, what is drawn, and which test will decide.

Everything that a test needs is fixed here, before any label of the audit is known. There are three
designs. A *nested test* has steps from a strict to a loose set: the first step is a prefix of
the ranking, each further step adds a stratum to it, and a fixed number of images is drawn from
every stratum. A set with more wrong labels than the promise allows passes its step with at
most the chance `risk`, wherever in it the wrong labels are and however the images depend on
each other (proof: docs/certificates.md). If not even the first step passes, a *rescue* tests a
smaller set on a sample of its own, at a part of the risk that was kept for it. A *simple random
sample* is a single stratum, the whole frame, whose error is bounded, not tested. A *sequential
test* is about one prefix, asked in one random order: each step is the same set with more answers,
and the first step that passes ends the test. A plan with inexact tests cannot be built.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np

from curator.audits.frame import Frame
from curator.audits.sequential import are_stopping_points
from curator.base.arrays import FloatArray, IntArray
from curator.base.vocabulary import AuditKind, AuditScope
from curator.errors import DataError
from curator.settings.sections import Settings

NEVER = -1
"""The critical count of a step that no sample can pass."""

LARGEST_SHARE = 0.5
"""Largest share of a frame that is audited; beyond it, labelling all is hardly more work."""

_SMALLEST_RISK = 1e-6
_ROUNDING = 1e-9
_FINEST_SHARE = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """At most `max_error` of the labels are wrong; false with a chance of at most `risk`.

    `spent` is the risk that earlier audits took. Raises DataError for a `max_error` outside
    (0, 0.5], and ValueError for risks that leave no confidence above one half.
    """

    max_error: float
    risk: float
    spent: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.max_error <= 0.5:
            raise DataError(
                f"A promise of at most {self.max_error:g} wrong labels cannot be tested.",
                "Set promotion.max_error above 0 and at most 0.5, for instance 0.01: no sample"
                " short of looking at every image proves that there is no error at all.",
            )
        if not (self.risk > 0.0 and self.spent >= 0.0 and self.risk + self.spent < 0.5):
            raise ValueError(f"a risk of {self.risk} after {self.spent}")

    @property
    def confidence(self) -> float:
        """What a certificate may state: all audits so far count."""
        return 1.0 - self.spent - self.risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The risk that an earlier audit took, and the class that it was about."""

    scope: AuditScope
    risk: float


def next_promise(
    max_error: float,
    confidence: float,
    earlier: Sequence[Spending] = (),
    *,
    scope: AuditScope = AuditScope.ALL,
    alone: bool = False,
    reserve: float = 0.0,
    miss_rate: float = 0.0,
) -> Promise:
    """The promise of the next audit at the wished confidence, after audits that spent risk.

    Each audit that is opened spends risk, whatever the result, and all audits together never
    spend more than 1 - `confidence`. This one takes what is left, less the share `reserve` for
    later ones: with a reserve q the attempts take (1 - q), (1 - q) q, (1 - q) q^2, ... of it.
    An audit of one class has half of what audits of both classes left as its budget, and all of
    it if that class alone is delivered (`alone`). If the
    annotator overlooks the share `miss_rate` of the wrong labels, a smaller error is tested.

    Raises DataError if nothing is left, and ValueError unless 0.5 < confidence < 1 and
    0 <= reserve < 1.
    """
    if not 0.5 < confidence < 1.0 or not 0.0 <= reserve < 1.0:
        raise ValueError(f"a confidence of {confidence} with a reserve of {reserve}")
    payable = payable_confidence(confidence, earlier, scope=scope, alone=alone)
    if payable < confidence:
        shares = _risk_left(confidence, earlier, AuditScope.ALL, alone=alone) >= _SMALLEST_RISK
        whose = "this class's half of the risk" if shares else "the whole risk"
        raise DataError(
            f"Earlier audits ({len(earlier)} so far) have spent {whose} of {1 - confidence:.4g} (1"
            " - promotion.confidence).",
            "A further audit can promise less: set promotion.confidence to"
            f" {payable:.4g} or lower.",
        )
    return Promise(
        max_error=error_to_test(max_error, miss_rate),
        risk=_risk_left(confidence, earlier, scope, alone=alone) * (1.0 - reserve),
        spent=float(sum(audit.risk for audit in earlier)),
    )


def _risk_left(
    confidence: float, earlier: Sequence[Spending], scope: AuditScope, *, alone: bool
) -> float:
    """What an audit may still spend: all that is left, or what is left of its class's half."""
    budget = 1.0 - confidence
    left = budget - sum(audit.risk for audit in earlier)
    if scope is AuditScope.ALL or alone:
        return left
    pooled = sum(audit.risk for audit in earlier if audit.scope is AuditScope.ALL)
    own = sum(audit.risk for audit in earlier if audit.scope is scope)
    return min((budget - pooled) / 2 - own, left)


def payable_confidence(
    confidence: float,
    earlier: Sequence[Spending],
    *,
    scope: AuditScope = AuditScope.ALL,
    alone: bool = False,
    usual: float = 0.05,
) -> float:
    """The highest confidence, up to this one, at which an audit of a scope can be paid for.

    Below `confidence` it leaves the risk `usual` for it, or half of that to a class that shares.
    """
    if _risk_left(confidence, earlier, scope, alone=alone) >= _SMALLEST_RISK:
        return confidence
    spent = sum(audit.risk for audit in earlier)
    if scope is AuditScope.ALL or alone:
        return max(0.0, 1.0 - spent - usual)
    pooled = sum(audit.risk for audit in earlier if audit.scope is AuditScope.ALL)
    own = sum(audit.risk for audit in earlier if audit.scope is scope)
    return max(0.0, 1.0 - max(spent + usual / 2, pooled + 2 * own + usual))


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


def error_to_test(max_error: float, miss_rate: float) -> float:
    """The error to audit for, so that `max_error` holds if wrong labels are overlooked.

    An audit bounds the errors that its annotator notices. If these are only 1 - m of all, the
    true error may be 1 / (1 - m) times the bound. Raises ValueError unless 0 <= m < 1.
    """
    if not 0.0 <= miss_rate < 1.0:
        raise ValueError(f"an annotator who overlooks {miss_rate} of the errors")
    return float(exact_share(max_error) * (1 - exact_share(miss_rate)))


def exact_share(share: float) -> Fraction:
    """The decimal that a float stands for: 0.1 is 1/10, and 0.03 * 0.82 is 123/5000.

    A count of images must not depend on the last bit of a float: 41 / (1 - 0.18) is 50 images,
    and 49.99999999999999 as a float.
    """
    return Fraction(share).limit_denominator(_FINEST_SHARE)


class Design(StrEnum):
    """How a frame is audited; the values name the stored formats of plans."""

    NESTED_TEST = "curator-audit-1"
    SIMPLE_RANDOM = "curator-single-1"
    SEQUENTIAL = "curator-until-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStep:
    """The first `size` images of the frame, as one set that may be certified.

    `drawn` of its images are audited, in all its strata together. It may hold `allowed` wrong
    labels; at most `critical` wrong ones in its sample prove that it holds no more.
    """

    size: int
    drawn: int
    allowed: int
    critical: int

    @property
    def unseen(self) -> int:
        """Images that stay without a human label: the certificate is about these."""
        return self.size - self.drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """What is tested if no step passes: the first `size` images, at the chance `risk`.

    `drawn` further images are audited of those that the first sample has left of them.
    """

    size: int
    drawn: int
    risk: float

    def test(self, first_drawn: int, max_error: float) -> AuditStep:
        """The exact test of what a first sample of `first_drawn` of its images has left.

        `size` counts only these. Given the first sample, the second is a simple random sample
        of them, and its number of wrong labels is hypergeometric.
        """
        size = self.size - first_drawn
        allowed = int(allowed_wrong(np.array([size - self.drawn]), max_error)[0])
        critical = critical_count(size, self.drawn, allowed, self.risk)
        return AuditStep(size=size, drawn=self.drawn, allowed=allowed, critical=critical)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """How a frame will be audited and tested, from the strictest step to the loosest.

    The steps are tested at the promise's risk, less that of the `rescue`.
    A simple random sample has one step, the whole frame, which it need not be able to pass:
    the promise's `max_error` is what was wished for, and the bound may be above it. `prior` is
    that of a sequential test, see `sequential`. Raises ValueError if a step allows more than the
    promise, or has another test than `exact_criticals` gives, or ends a sequential test too soon.
    """

    design: Design
    frame_digest: str
    frame_size: int
    promise: Promise
    steps: tuple[AuditStep, ...]
    rescue: Rescue | None = None
    prior: int | None = None

    def __post_init__(self) -> None:
        sizes, drawn = self.sizes, np.array([step.drawn for step in self.steps])
        if len(sizes) == 0 or sizes[-1] > self.frame_size:
            raise ValueError("the test has no step, or is larger than the frame")
        if (self.design is Design.SEQUENTIAL) != (self.prior is not None):
            raise ValueError("a prior belongs to a sequential test, and to no other")
        if self.prior is not None:
            self._check_sequential(self.prior)
            return
        bounded = self.design is Design.SIMPLE_RANDOM
        if bounded and sizes.tolist() != [self.frame_size]:
            raise ValueError("a simple random sample of a part of the frame")
        if self.rescue is not None:
            inside = 0 < self.rescue.size <= sizes[0] and self.rescue.drawn > 0
            if bounded or not inside or self.rescue.drawn > self.rescue.size - drawn[0]:
                raise ValueError("a rescue that does not test a part of the first set")
        stated = np.array([step.allowed for step in self.steps])
        limits = allowed_wrong(sizes - drawn, self.promise.max_error)
        criticals = exact_criticals(sizes, drawn, stated, self.step_promise.risk)
        for step, limit, critical in zip(self.steps, limits, criticals, strict=True):
            exact = 0 <= step.allowed <= limit and step.critical == critical
            if not exact or (critical == NEVER and not bounded):
                raise ValueError(f"a step of {step.size} images with an inexact test")

    def _check_sequential(self, prior: int) -> None:
        size, drawn = int(self.sizes[0]), np.array([step.drawn for step in self.steps])
        if (self.sizes != size).any() or drawn[-1] >= size or self.rescue is not None or prior < 1:
            raise ValueError("a sequential test that is not about one set")
        allowed = np.array([step.allowed for step in self.steps])
        limits = allowed_wrong(size - drawn, self.promise.max_error)
        criticals = [step.critical for step in self.steps]
        if (allowed > limits).any() or (allowed < 0).any() or criticals != [*range(len(drawn))]:
            raise ValueError("a sequential test with an inexact step")
        if not are_stopping_points(size, drawn, allowed, prior=prior, risk=self.promise.risk):
            raise ValueError("a sequential test that ends too soon")

    @property
    def step_promise(self) -> Promise:
        """The promise at the risk at which the steps are tested."""
        if self.rescue is None:
            return self.promise
        return replace(self.promise, risk=self.promise.risk - self.rescue.risk)

    @property
    def sizes(self) -> IntArray:
        """Images in the set of each step, (steps,)."""
        return np.array([step.size for step in self.steps], dtype=np.int64)

    @property
    def sample(self) -> int:
        """Images to be audited at most, but for a rescue."""
        return self.steps[-1].drawn

    @property
    def digest(self) -> str:
        """SHA-256 over everything that was fixed beforehand."""
        return stored_digest(describe(self))

    @property
    def strata(self) -> list[tuple[int, int, int]]:
        """First rank, end and drawn images of each stratum."""
        steps = [(0, 0), *((step.size, step.drawn) for step in self.steps)]
        return [
            (start, end, until - since)
            for (start, since), (end, until) in itertools.pairwise(steps)
        ]


def nested_plan(
    frame: Frame,
    promise: Promise,
    sizes: Sequence[int],
    drawn: Sequence[int],
    rescue: Rescue | None = None,
    *,
    spare: float = 0.0,
) -> AuditPlan | None:
    """The nested test of these prefixes with these sample sizes, both rising, (steps,).

    Each step keeps its promise when the share `spare` of its unseen images vanishes. Steps that no
    sample could pass are left out, and their strata join the next. None if no step is left.
    Raises ValueError unless every stratum has an image to draw.
    """
    # Refused if the rescue leaves the steps no risk.
    risk = replace(promise, risk=promise.risk - (rescue.risk if rescue else 0.0)).risk
    tested_sizes, tested_drawn = np.array(sizes, dtype=np.int64), np.array(drawn, dtype=np.int64)
    while len(tested_sizes):
        allowed = allowed_wrong(tested_sizes - tested_drawn, promise.max_error, spare)
        criticals = exact_criticals(tested_sizes, tested_drawn, allowed, risk)
        possible = criticals != NEVER
        if possible.all():
            return AuditPlan(
                design=Design.NESTED_TEST,
                frame_digest=frame.digest,
                frame_size=len(frame),
                promise=promise,
                steps=_steps(tested_sizes, tested_drawn, allowed, criticals),
                rescue=rescue,
            )
        tested_sizes, tested_drawn = tested_sizes[possible], tested_drawn[possible]
    return None


def simple_random_plan(frame: Frame, promise: Promise, sample: int) -> AuditPlan:
    """The plan that draws `sample` images. Raises DataError if that leaves too few unseen."""
    check_sample(frame, sample)
    sizes, drawn = np.array([len(frame)]), np.array([sample])
    allowed = allowed_wrong(sizes - drawn, promise.max_error)
    criticals = exact_criticals(sizes, drawn, allowed, promise.risk)
    return AuditPlan(
        design=Design.SIMPLE_RANDOM,
        frame_digest=frame.digest,
        frame_size=len(frame),
        promise=promise,
        steps=_steps(sizes, drawn, allowed, criticals),
    )


def check_sample(frame: Frame, sample: int) -> None:
    """Raises DataError unless `sample` images can be drawn, and as many stay unseen."""
    largest = int(LARGEST_SHARE * len(frame))
    if not largest:
        raise DataError(
            f"An audit needs 2 images or more, and there {'is' if len(frame) else 'are'} only"
            f" {len(frame)} to draw from.",
            "Look at all of them (`curator review promoted`), or label more: `curator round`.",
        )
    if not 1 <= sample <= largest:
        raise DataError(
            f"An audit of {sample:,} images cannot be drawn from a frame of {len(frame):,}.",
            f"Ask for at most {largest:,}, half of the frame;"
            " beyond that, labelling all of it by hand is not much more work.",
        )


def _steps(
    sizes: IntArray, drawn: IntArray, allowed: IntArray, criticals: IntArray
) -> tuple[AuditStep, ...]:
    return tuple(
        AuditStep(size=int(size), drawn=int(count), allowed=int(limit), critical=int(most))
        for size, count, limit, most in zip(sizes, drawn, allowed, criticals, strict=True)
    )


def exact_criticals(sizes: IntArray, drawn: IntArray, allowed: IntArray, risk: float) -> IntArray:
    """What the sample of each set may show if it holds `allowed` wrong labels at most, (steps,).

    Raises ValueError unless sizes and samples rise together.
    """
    stratum_sizes, stratum_drawn = np.diff(sizes, prepend=0), np.diff(drawn, prepend=0)
    if (stratum_drawn < 1).any() or (stratum_sizes < stratum_drawn).any():
        raise ValueError("every stratum needs at least one image to draw, and room for it")
    rates = np.minimum.accumulate(stratum_drawn / stratum_sizes)
    criticals = critical_counts(allowed, rates, drawn, risk)
    if len(sizes):
        # The first step is one stratum and has an exact tail, the others a bound over strata.
        criticals[0] = critical_count(int(sizes[0]), int(drawn[0]), int(allowed[0]), risk)
    return criticals


def allowed_wrong(unseen: IntArray, max_error: float, spare: float = 0.0) -> IntArray:
    """The most wrong labels that the promise allows among so many images, (sets,).

    The promise is about images that stay unseen: that wrong ones are found among the drawn and
    leave is not counted on. With `spare` it still holds when that share of them vanishes.
    """
    share = exact_share(max_error)
    left = unseen - np.ceil(unseen * spare).astype(np.int64)
    allowed: IntArray = left * share.numerator // share.denominator
    return allowed


def critical_count(size: int, drawn: int, allowed: int, risk: float) -> int:
    """The most wrong labels in a sample of `drawn` from one set that exclude more than `allowed`.

    In a single stratum the count is hypergeometric, and the tail exact.
    """
    from scipy.stats import hypergeom

    highest = (allowed + 1) * drawn // size
    counts = np.arange(min(highest, drawn) + 1)
    within = hypergeom.pmf(counts, size, allowed + 1, drawn).cumsum() <= risk * (1 - _ROUNDING)
    return int(within.sum()) - 1


def critical_counts(allowed: IntArray, rates: FloatArray, drawn: IntArray, risk: float) -> IntArray:
    """The most wrong labels in a sample that still exclude more than `allowed`, (sets,).

    Each image is drawn with a chance of at least `rates`, `drawn` of them in all. With
    `allowed + 1` wrong labels the wrong ones in the sample are a sum of independent
    trials: at most one for each wrong label, and at most one for each drawn image
    (Vatutin and Mikhailov, 1982). Their lower tail is bounded by that of a binomial with the
    same mean up to one below the mean (Hoeffding, 1956, Annals of Mathematical Statistics 27,
    theorem 4). Both ways of counting the trials hold; the better is taken.
    """
    wrong = allowed + 1
    mean = wrong * rates
    by_label = _last_within(wrong, rates, risk)
    by_draw = _last_within(drawn, np.minimum(mean / drawn, 1.0), risk)
    highest = np.floor(mean - 1.0 + _ROUNDING)
    criticals: IntArray = np.maximum(np.minimum(np.maximum(by_label, by_draw), highest), NEVER)
    return criticals.astype(np.int64)


def _last_within(trials: IntArray, chance: FloatArray, risk: float) -> IntArray:
    """The largest count with a binomial lower tail of at most `risk`; `NEVER` if there is none."""
    from scipy.stats import binom

    last = binom.ppf(risk, trials, chance)
    last = np.where(binom.cdf(last, trials, chance) > risk, last - 1, last)
    whole: IntArray = last.astype(np.int64)
    return whole


def describe(plan: AuditPlan) -> dict[str, Any]:
    """The plan as it is stored and as its digest covers it."""
    stored = {
        "format": str(plan.design),
        "frame_digest": plan.frame_digest,
        "frame_size": plan.frame_size,
        "promise": asdict(plan.promise),
    }
    if plan.design is Design.SIMPLE_RANDOM:
        return stored | {"sample": plan.sample}
    # Both formats are older than these names and must keep their keys: digests rest on them.
    stored["rungs"] = [asdict(step) for step in plan.steps]
    if plan.prior is not None:
        stored["prior"] = plan.prior
    return stored | ({"rescue": asdict(plan.rescue)} if plan.rescue else {})


def stored_digest(stored: Mapping[str, Any]) -> str:
    """The digest of a plan as `describe` gives it."""
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def restore(stored: Mapping[str, Any], frame: Frame, kind: AuditKind) -> AuditPlan:
    """The plan of an audit of this kind that `describe` gave, for the same frame.

    Raises DataError if the frame or the design is another one, or if the stored tests are not
    exact.
    """
    promises = (Design.NESTED_TEST, Design.SEQUENTIAL)
    designs = promises if kind is AuditKind.PROMISE else (Design.SIMPLE_RANDOM,)
    design = next((each for each in designs if each == stored.get("format")), None)
    if design is None or stored.get("frame_digest") != frame.digest:
        raise DataError(
            "This audit was planned for another frame: images, labels or their order changed.",
            "Plan a new audit with `curator audit`; the old one cannot certify anything.",
        )
    try:
        promise = Promise(**stored["promise"])
        if design is Design.SIMPLE_RANDOM:
            return simple_random_plan(frame, promise, int(stored["sample"]))
        return AuditPlan(
            design=design,
            frame_digest=frame.digest,
            frame_size=len(frame),
            promise=promise,
            steps=tuple(AuditStep(**step) for step in stored["rungs"]),
            rescue=Rescue(**stored["rescue"]) if "rescue" in stored else None,
            prior=stored.get("prior"),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            "The stored plan of this audit is damaged.",
            "Restore the workspace from a backup, or plan a new audit with `curator audit`.",
        ) from error
