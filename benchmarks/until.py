"""Audits that end as soon as one set is proved: false proofs, and labels beside a fixed size.

    python -m benchmarks.until [--runs 20000]

False proofs are played with as many wrong labels as are worst: for each set, 16 numbers around the
limit are computed exactly, and the worst one is simulated. The share may not exceed the risk of 5%.
Labels are compared with those of the smallest simple random sample that proves the same set with a
chance of 95% when the true error is known beforehand. The sequential audit expects half or twice
that error, too.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import binom, hypergeom

from benchmarks.report import Line, print_report
from curator.audits.forecast import Forecast
from curator.audits.frame import freeze_frame
from curator.audits.plan import AuditPlan, Promise, allowed_wrong, critical_count
from curator.audits.until import until_plan
from curator.base.arrays import BoolArray, IntArray

RISK = 0.05
NUMBERS = 16
SETS = ((1_000, 0.05), (5_000, 0.01))
EXPECTED = (0.1, 0.5)
TRUE = ((5_000, 0.01, 0.2), (5_000, 0.03, 0.2), (40_000, 0.01, 0.2))
MISJUDGED = (0.5, 1.0, 2.0)


def main() -> None:
    """Compute, simulate, report; fail if a promise is broken too often."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20_000)
    runs = parser.parse_args().runs
    lines, broken = [], []
    for size, max_error in SETS:
        for expected in EXPECTED:
            plan = plan_of(size, max_error, expected * max_error)
            limit = max_error * size
            numbers = np.unique(np.linspace(0.8 * limit, 1.2 * limit, NUMBERS).astype(np.int64))
            chances = [false_chance(plan, wrong) for wrong in numbers.tolist()]
            worst = int(numbers[int(np.argmax(chances))])
            played = float(np.mean(false_proofs(plan, worst, runs)))
            name = f"{size:,} images, {max_error:.0%}, {expected:.0%} of it expected"
            lines += [
                _line(f"{name}: false, exactly", max(chances), 1),
                _line(f"{name}: false, played with {worst:,} wrong", played, runs),
            ]
            if max(chances) > RISK or played > float(binom.ppf(0.9999, runs, RISK)) / runs:
                broken.append(name)
    for size, max_error, share in TRUE:
        fixed = fixed_size(size, max_error, share * max_error)
        for factor in MISJUDGED:
            plan = plan_of(size, max_error, factor * share * max_error)
            labels, proved = played_labels(plan, round(share * max_error * size), runs)
            name = f"{size:,} images, {max_error:.0%}, {share:.0%} of it wrong, {factor:g} expected"
            for what, value in (
                ("median labels", float(np.median(labels))),
                ("labels of the worst tenth", float(np.quantile(labels, 0.9))),
            ):
                lines.append(
                    Line(
                        name=f"{name}: {what}", median=value, unit="labels", n=runs,
                        ratio=value / fixed, beside=f"fixed size {fixed:,}",
                    )
                )  # fmt: skip
            lines.append(_line(f"{name}: proved", float(proved.mean()), runs, unit="share"))
    print_report("until", lines)
    if broken:
        raise SystemExit(f"promises broken too often: {', '.join(broken)}")


def _line(name: str, share: float, runs: int, *, unit: str = "false") -> Line:
    return Line(name=name, median=share, unit=unit, n=runs)


def plan_of(size: int, max_error: float, expected: float) -> AuditPlan:
    """The plan for a whole frame of which the share `expected` is expected to be wrong."""
    rank = np.arange(size)
    frame = freeze_frame(rank, rank % 2 == 0, -rank.astype(np.float64), np.full(size, 0.01), seed=0)
    edges = np.linspace(0, size, 51).round().astype(np.int64)
    forecast = Forecast(edges=edges, rates=np.full((1, 50), expected), weights=np.ones(1))
    promise = Promise(max_error=max_error, risk=RISK)
    return until_plan(frame, forecast, promise, share=1.0, most=None)


def false_chance(plan: AuditPlan, wrong: int) -> float:
    """The exact chance that a set with so many wrong labels passes with too many unseen ones."""
    size, found = int(plan.sizes[0]), np.arange(len(plan.steps) + 1)
    chance, false, before = np.eye(1, len(found))[0], 0.0, 0
    for step in plan.steps:
        drawn = step.drawn - before
        moves = hypergeom.pmf(
            found[None, :] - found[:, None], size - before, wrong - found[:, None], drawn
        )
        chance = chance @ np.nan_to_num(moves)  # what exceeds the last count never passes
        stops = found <= step.critical
        false += float(chance[stops & (wrong - found > step.allowed)].sum())
        chance[stops] = 0.0
        before = step.drawn
    return false


def _found(plan: AuditPlan, wrong: int, runs: int) -> IntArray:
    """Wrong labels among the answers up to each step, (runs, steps)."""
    generator = np.random.default_rng(11)
    left, images, found, before = np.full(runs, wrong), int(plan.sizes[0]), [], 0
    for step in plan.steps:
        more = generator.hypergeometric(left, images - left, step.drawn - before)
        left, images, before = left - more, images - (step.drawn - before), step.drawn
        found.append(wrong - left)
    steps: IntArray = np.stack(found, axis=1)
    return steps


def _ends(plan: AuditPlan, found: IntArray) -> tuple[IntArray, BoolArray]:
    """The step that ends each audit, (runs,), and whether it proved the set."""
    passed = found <= np.arange(len(plan.steps))
    over = passed | (found >= len(plan.steps))
    last = np.where(over.any(axis=1), over.argmax(axis=1), len(plan.steps) - 1)
    return last, passed[np.arange(len(found)), last]


def false_proofs(plan: AuditPlan, wrong: int, runs: int) -> BoolArray:
    """Which simulated audits end with a false certificate, (runs,)."""
    found = _found(plan, wrong, runs)
    last, proved = _ends(plan, found)
    allowed = np.array([step.allowed for step in plan.steps])
    false: BoolArray = proved & (wrong - found[np.arange(runs), last] > allowed[last])
    return false


def played_labels(plan: AuditPlan, wrong: int, runs: int) -> tuple[IntArray, BoolArray]:
    """Labels of each simulated audit and whether it proved the set, both (runs,)."""
    last, proved = _ends(plan, _found(plan, wrong, runs))
    return np.array([step.drawn for step in plan.steps])[last], proved


def fixed_size(size: int, max_error: float, error: float) -> int:
    """The smallest sample that proves the set with a chance of 95% at this error."""
    for drawn in range(1, size):
        allowed = int(allowed_wrong(np.array([size - drawn]), max_error)[0])
        critical = critical_count(size, drawn, allowed, RISK)
        if critical >= 0 and hypergeom.cdf(critical, size, round(error * size), drawn) >= 0.95:
            return drawn
    return size


if __name__ == "__main__":
    main()
