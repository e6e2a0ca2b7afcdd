"""How often a certificate is false, on pools that were built to lie just over the limit.

    python -m benchmarks.validity [--runs 30000]

The first block is what curator does: the exact chance that more of a certificate's images are
wrong than the number that it states, by dynamic programming over strata, for the worst of many
populations. It may not exceed the risk of 5%. Near-duplicates are played, with real draws and
verdicts. The second block is what curator does not offer, played on pools where each shortcut
fails. The third is what asking from the inside out and the rescue change, on pools that are as
the plan expects.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

import numpy as np
from scipy.stats import binom, hypergeom

from benchmarks.report import Line, print_report
from curator.audits.draw import draw_audit
from curator.audits.forecast import Forecast
from curator.audits.frame import Frame, freeze_frame, of_class
from curator.audits.plan import (
    AuditPlan,
    Promise,
    Spending,
    critical_count,
    error_to_test,
    nested_plan,
    next_promise,
)
from curator.audits.planner import choose_plan
from curator.audits.test import AuditOutcome, close_audit, most_wrong
from curator.base.arrays import BoolArray, IntArray
from curator.base.vocabulary import AuditScope
from tests.audits.cases import adversary, exact_chances, rescue_adversaries

RISK = 0.05
SHAPES = ("even", "loosest", "strictest", "rising", "tight")
EXCESSES = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    """Compute, print a table to stderr and JSON to stdout; fail if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=30_000)
    runs = parser.parse_args().runs
    kept = [line(name, share, 1, beside="risk 0.05") for name, share in what_curator_does()]
    played = [line("five near-duplicates of each image, 3%, played", duplicates(runs), runs)]
    broken = [line(f"not offered: {name}", share, runs) for name, share in what_it_does_not(runs)]
    print_report("validity", [*kept, *played, *broken, *what_it_costs(runs)], {})
    over = [one.name for one in kept if one.median > RISK + 1e-9]
    if over or played[0].median > float(binom.ppf(0.9999, runs, RISK)) / runs:
        raise SystemExit(f"promises broken too often: {', '.join(over) or 'duplicates'}")


def line(name: str, share: float, runs: int, *, beside: str = "risk 0.05") -> Line:
    """A share of false certificates beside the risk."""
    return Line(name=name, median=share, unit="false", n=runs, ratio=share / RISK, beside=beside)


SETTINGS = (
    ("70,000 images, 1%, 1,000 audited", 70_000, 0.01, 1_000),
    ("70,000 images, 3%, 500 audited", 70_000, 0.03, 500),
    ("2,600 images, 3%, 500 audited", 2_600, 0.03, 500),
    ("2,600 images, 10%, 300 audited", 2_600, 0.1, 300),
)


def what_curator_does() -> Iterator[tuple[str, float]]:
    """The worst exact chance over the adversaries of each setting."""
    for name, size, max_error, sample in SETTINGS:
        yield name, worst_chance(planned(make_frame(size), max_error, sample))
    yield "one class of a pool with 3% positives, 5%", rare_class()
    bold = planned(make_frame(20_000), 0.03, 500, boldness=0.1)
    yield "a forecast that promises far too much, 3%", worst_chance(bold)
    yield "up to four audits until one passes, 3%", repeated_audits()
    frame = make_frame(20_000)
    restated = planned(frame, error_to_test(0.03, 0.2), 500)
    overlooked = worst_chance(restated, miss_rate=0.2)
    yield "an annotator who overlooks a fifth, restated", overlooked
    yield "a whole frame promoted by thresholds", whole_frame()


def what_it_does_not(runs: int) -> Iterator[tuple[str, float]]:
    """Shortcuts, each on a pool where it does harm."""
    yield "the widest set that passes", widest_that_passes(runs)
    yield "a fixed-size bound looked at every ten labels", looking_often(runs)
    yield "the whole set's bound, stated for its rest", bound_of_the_rest(runs)
    yield "five copies counted as five audits", counted_copies(runs)
    yield "a second and third audit at full risk", 1 - (1 - RISK) ** 3


def what_it_costs(runs: int) -> Iterator[Line]:
    """Labels and certified images on pools whose errors are as the plan expects."""
    for name, size, max_error, sample in SETTINGS[:3]:
        frame = make_frame(size)
        plan = planned(frame, max_error, sample)
        drawn = [step.drawn for step in plan.steps]
        plain = nested_plan(frame, plan.promise, plan.sizes.tolist(), drawn)
        assert plain is not None
        labels, nothing, certified = expected_course(frame, plan, runs)
        whole, without, plainly = expected_course(frame, plain, runs)
        for what, value, beside in (
            ("labels", labels, plan.sample),
            ("labels without the rescue", whole, plan.sample),
            ("nothing certified", nothing, without),
            ("images certified", certified, plainly),
        ):
            yield Line(
                name=f"{name}: {what}",
                median=value,
                unit="share" if what.startswith("nothing") else "images",
                n=runs,
                ratio=value / beside if beside else 0.0,
                beside="whole sample" if what.startswith("labels") else "no rescue",
            )


def expected_course(frame: Frame, plan: AuditPlan, runs: int) -> tuple[float, float, float]:
    """Mean labels, the share of audits that certify nothing, and mean certified images."""
    generator = np.random.default_rng(12)
    inner = plan.rescue.size if plan.rescue else 0
    rate = [frame.estimated_error[start:end].mean() for start, end, _ in plan.strata]
    found = np.cumsum(
        [
            generator.binomial(drawn, share, size=runs)
            for (_, _, drawn), share in zip(plan.strata, rate, strict=True)
        ],
        axis=0,
    )
    passes = found <= np.array([step.critical for step in plan.steps])[:, None]
    passed = np.cumprod(passes, axis=0).sum(axis=0)
    drawn = np.array([step.drawn for step in plan.steps])
    labels = drawn[np.minimum(passed, len(drawn) - 1)].astype(np.float64)
    gains = np.array([0, *(step.unseen for step in plan.steps)])[passed].astype(np.float64)
    if plan.rescue is not None:
        overlap = plan.steps[0].drawn * inner // plan.steps[0].size
        test = plan.rescue.test(overlap, plan.promise.max_error)
        again = generator.binomial(
            plan.rescue.drawn, frame.estimated_error[:inner].mean(), size=runs
        )
        asked = passed == 0
        labels += asked * plan.rescue.drawn
        gains += (asked & (again <= test.critical)) * test.unseen
    return float(labels.mean()), float((gains == 0).mean()), float(gains.mean())


def make_frame(size: int, positive: BoolArray | None = None) -> Frame:
    """Image i at rank i, estimated errors rising to one half."""
    rank = np.arange(size)
    estimate = 1 / (1 + np.exp(8 * (1 - (rank + 0.5) / size)))
    label = rank % 2 == 0 if positive is None else positive
    return freeze_frame(rank, label, -rank.astype(np.float64), estimate, seed=0)


def planned(frame: Frame, max_error: float, sample: int, boldness: float = 1.0) -> AuditPlan:
    """The plan for a forecast that believes the frame's estimates, or `boldness` of them."""
    edges = np.linspace(0, len(frame), min(200, len(frame)) + 1).round().astype(np.int64)
    rates = np.add.reduceat(frame.estimated_error, edges[:-1]) / np.diff(edges)
    forecast = Forecast(edges=edges, rates=boldness * rates[None, :], weights=np.ones(1))
    promise = Promise(max_error=max_error, risk=RISK)
    choice = choose_plan(frame, forecast, promise, sample=sample, seed=0)
    assert choice is not None
    return choice[0]


def worst_chance(plan: AuditPlan, *, miss_rate: float = 0.0) -> float:
    """The largest exact chance over shapes, first broken steps, excesses and inner parts.

    A rescue adds at most its own risk, so it is only counted for the populations that are worst
    without it.
    """
    populations = [
        adversary(plan, first, shape, excess)
        for shape, first, excess in itertools.product(SHAPES, range(len(plan.steps)), EXCESSES)
    ]
    chances = [exact_chances(plan, wrong, miss_rate=miss_rate)[0] for wrong in populations]
    return max(
        exact_chances(plan, populations[index], inner, miss_rate=miss_rate)[0]
        for index in np.argsort(chances)[-5:].tolist()
        for inner in set(rescue_adversaries(plan, populations[index]))
    )


def found_in_samples(
    plan: AuditPlan, wrong: IntArray, runs: int, generator: np.random.Generator
) -> IntArray:
    """Wrong labels found up to each step, (steps, runs)."""
    by_stratum = [
        generator.hypergeometric(bad, end - start - bad, drawn, size=runs)
        for bad, (start, end, drawn) in zip(wrong, plan.strata, strict=True)
    ]
    found: IntArray = np.cumsum(by_stratum, axis=0)
    return found


def rare_class() -> float:
    """A promise about the positives of a pool that has 3% of them."""
    rank = np.arange(60_000)
    frame = of_class(make_frame(60_000, rank % 33 == 0), positive=True)
    plan = plain_plan(frame, Promise(max_error=0.05, risk=RISK), 200)
    return worst_chance(plan)


def plain_plan(frame: Frame, promise: Promise, sample: int) -> AuditPlan:
    """Four steps at equal steps from 70% of the frame."""
    drawn = [round(sample * share) for share in (0.7, 0.8, 0.9, 1.0)]
    plan = nested_plan(frame, promise, [count * len(frame) // sample for count in drawn], drawn)
    assert plan is not None
    return plan


def duplicates(runs: int) -> float:
    """Errors come in units of five copies; real draws and verdicts, image by image."""
    frame = make_frame(4_000)
    plan = plain_plan(frame, Promise(max_error=0.03, risk=RISK), 400)
    last = plan.steps[-1]
    units = -(-(last.allowed + last.critical + 1) // 5)
    starts = 5 * np.random.default_rng(4).choice(len(frame) // 5, units, replace=False)
    wrong = np.zeros(len(frame), dtype=np.bool_)
    for copy in range(5):
        wrong[starts + copy] = True
    truth = frame.positive ^ wrong
    false = 0
    for attempt in range(runs):
        draw = draw_audit(frame, plan, f"{0} {attempt}")
        outcomes = np.where(truth[draw.ranks], AuditOutcome.POSITIVE, AuditOutcome.NEGATIVE)
        certified = close_audit(frame, plan, draw, outcomes.astype(np.int8)).certified
        false += certified is not None and bool(wrong[certified.ranks].mean() > 0.03)
    return false / runs


def repeated_audits() -> float:
    """Audit until something is certified, at most four times, each with the risk that is left."""
    frame = make_frame(20_000)
    spent: list[Spending] = []
    waiting, worst = 1.0, 0.0
    for _ in range(4):
        promise = next_promise(0.03, 1 - RISK, spent, reserve=0.3)
        spent.append(Spending(scope=AuditScope.ALL, risk=promise.risk))
        plan = plain_plan(frame, promise, 600)
        false, nothing = exact_chances(plan, adversary(plan, 0, "tight", 1.0))
        worst, waiting = worst + waiting * false, waiting * nothing
    return worst


def whole_frame() -> float:
    """The worst over true numbers of the chance that the bound for the unseen is too low."""
    size, sample = 8_000, 400
    bounds = np.array([most_wrong(size, sample, errors, RISK) for errors in range(61)])
    found = np.arange(61)
    # The bound for the rest is too low exactly if that for the whole frame is.
    return max(
        float(hypergeom.pmf(found, size, wrong, sample)[bounds < wrong].sum())
        for wrong in range(1, 601)
    )


def widest_that_passes(runs: int) -> float:
    """Every set just over its limit; the widest that passes is taken, wherever others fail."""
    frame = make_frame(4_000)
    promise = Promise(max_error=0.05, risk=RISK)
    plan = nested_plan(frame, promise, [1_000, 2_000, 3_000, 4_000], [100, 200, 300, 400])
    assert plan is not None
    wrong = adversary(plan, 0, "tight", 1.0)
    found = found_in_samples(plan, wrong, runs, np.random.default_rng(2))
    passed = found <= np.array([step.critical for step in plan.steps])[:, None]
    return float(passed.any(axis=0).mean())


def looking_often(runs: int) -> float:
    """A fixed-size bound looked at after every ten labels, until it allows the promise."""
    generator = np.random.default_rng(3)
    size, wrong, most = 50_000, 1_501, 600
    found = generator.hypergeometric(wrong, size - wrong, 10, size=(runs, most // 10)).cumsum(1)
    drawn = np.arange(10, most + 1, 10)
    criticals = np.array([critical_count(size, int(n), 1_500, RISK) for n in drawn])
    return float((found <= criticals).any(axis=1).mean())


def bound_of_the_rest(runs: int) -> float:
    """Half of a set audited; what is proven of all of it is stated for the other half."""
    size, sample, max_error = 1_000, 500, 0.1
    bad = int(max_error * size)
    critical = critical_count(size, sample, bad, RISK)
    found = np.random.default_rng(7).hypergeometric(bad, size - bad, sample, size=runs)
    return float(((found <= critical) & (bad - found > max_error * (size - sample))).mean())


def counted_copies(runs: int) -> float:
    """Eighty images audited, each answer given to its four copies too: 400 answers."""
    size, sample, copies, max_error = 4_000, 400, 5, 0.03
    units, wrong = size // copies, int(max_error * size) // copies + 1
    critical = critical_count(size, sample, int(max_error * (size - sample)), RISK)
    generator = np.random.default_rng(5)
    found = generator.hypergeometric(wrong, units - wrong, sample // copies, size=runs)
    return float((copies * found <= critical).mean())


if __name__ == "__main__":
    main()
