"""Figures of many simulation runs, one row per setting, and advice that follows from them.

Means are over all runs of a setting, including those that trained or certified nothing,
because that is what somebody who follows the advice has to expect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from curator.simulation.policies import PolicyOutcome

_AS_GOOD = 0.02
"""Difference in coverage from the best that does not count."""

_MORE_OFTEN_THAN_NOT = 0.5

_SURPRISING = 0.01
"""Probability of so many false certificates below which the advice names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One combination of a simulation. `policy` is `raw`, `calibrated` or `certified`.

    `max_error` and `decisions` are for `certified` only; without `decisions` an audit takes as
    many as are worth it.
    """

    features: str
    seeds: int
    rounds: int
    policy: str
    max_error: float | None = None
    decisions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOutcome:
    """The figures of one setting over `repetitions` runs.

    `decisions`, `coverage` and the errors are means; `low` and `high` are the 10% and 90%
    quantiles of the coverage. Errors are those of runs that promoted something, None if none
    did. `issued` and `false` are shares of all runs. `of_oracle` is the mean coverage / the
    mean coverage of the oracle. `untrained` is the share of runs whose seeds had too few
    images of a class. `seconds` is the median time of a run.
    """

    setting: Setting
    repetitions: int
    decisions: float
    coverage: float
    low: float
    high: float
    error: float | None
    positive_error: float | None
    negative_error: float | None
    issued: float
    false: float
    of_oracle: float | None
    untrained: float
    seconds: float


def summarise(
    setting: Setting, outcomes: Sequence[PolicyOutcome], seconds: Sequence[float]
) -> SimulationOutcome:
    """The figures of these runs, at least one."""
    coverage = np.array([run.coverage for run in outcomes])
    oracles = [run.oracle for run in outcomes if run.oracle is not None]
    oracle = float(np.mean(oracles)) if oracles else 0.0
    return SimulationOutcome(
        setting=setting,
        repetitions=len(outcomes),
        decisions=float(np.mean([run.decisions for run in outcomes])),
        coverage=float(coverage.mean()),
        low=float(np.quantile(coverage, 0.1)),
        high=float(np.quantile(coverage, 0.9)),
        error=_mean(run.error for run in outcomes),
        positive_error=_mean(run.positive_error for run in outcomes),
        negative_error=_mean(run.negative_error for run in outcomes),
        issued=float(np.mean([run.issued for run in outcomes])),
        false=float(np.mean([run.false for run in outcomes])),
        of_oracle=float(coverage.mean()) / oracle if oracle else None,
        untrained=float(np.mean([not run.trained for run in outcomes])),
        seconds=float(np.median(seconds)),
    )


def advise(rows: Sequence[SimulationOutcome], *, risk: float) -> str:
    """Advice in sentences.

    Of the settings whose coverage is within two points of the best, it names the one with the
    fewest decisions. `risk` is the share of certificates that may be false.
    """
    several = len({row.setting.features for row in rows}) > 1
    errors = sorted({row.setting.max_error for row in rows if row.setting.max_error is not None})
    sentences = [
        _for_promise(
            max_error, [row for row in rows if row.setting.max_error == max_error], several
        )
        for max_error in errors
    ]
    sentences += _of_thresholds(rows, errors, several)
    sentences += _of_false_ones(rows, risk)
    sentences += _of_untrained(rows)
    return " ".join(sentences)


def _for_promise(max_error: float, rows: Sequence[SimulationOutcome], several: bool) -> str:
    promise = f"At most {max_error:.3g} wrong"
    issued = [row for row in rows if row.issued > _MORE_OFTEN_THAN_NOT]
    if not issued:
        most = max(rows, key=lambda row: row.issued)
        return (
            f"{promise}: not reached with these features and so few labels; the best setting"
            f" ({_name(most.setting, several)}) got a certificate in {most.issued:.0%} of its"
            " repetitions. Try more seeds, a stronger encoder, or a larger max_error."
        )
    best = max(row.coverage for row in issued)
    cheapest = min(
        (row for row in issued if row.coverage >= best - _AS_GOOD), key=lambda row: row.decisions
    )
    audited = cheapest.decisions - cheapest.setting.seeds
    return (
        f"{promise}: label {_name(cheapest.setting, several)} and answer about"
        f" {_rounded(audited):,} images of the audit; that certified {cheapest.coverage:.0%} of"
        f" the rest on average, and {cheapest.issued:.0%} of repetitions got a certificate."
    )


def _of_thresholds(
    rows: Sequence[SimulationOutcome], errors: Sequence[float], several: bool
) -> Iterator[str]:
    by_thresholds = [row for row in rows if row.setting.policy != "certified" and row.error]
    if by_thresholds:
        worst = max(by_thresholds, key=lambda row: row.error or 0.0)
        error = worst.error or 0.0
        broken = [limit for limit in errors if error > limit]
        yield (
            "The thresholds of the settings guarantee no error rate: with"
            f" {_name(worst.setting, several)}"
            f" and {worst.setting.policy} scores they covered {worst.coverage:.0%} with {error:.2%}"
            f" wrong{f', more than {broken[-1]:.3g}' if broken else ''}."
        )


def _of_false_ones(rows: Sequence[SimulationOutcome], risk: float) -> Iterator[str]:
    from scipy.stats import binom

    for row in rows:
        count = round(row.false * row.repetitions)
        if count and binom.sf(count - 1, row.repetitions, risk) < _SURPRISING:
            yield (
                f"With max_error {row.setting.max_error:.3g} and {row.setting.seeds:,} seeds"
                f" {row.false:.0%} of repetitions ended with a false certificate, more than the"
                f" allowed risk of {risk:.0%}: wrong audit answers make certificates claim too"
                " much."
            )


def _of_untrained(rows: Sequence[SimulationOutcome]) -> Iterator[str]:
    worst = max(rows, key=lambda row: row.untrained)
    if worst.untrained:
        yield (
            f"In {worst.untrained:.0%} of repetitions {worst.setting.seeds:,} random seeds had too"
            " few images of one class to train on: find examples of it with"
            " `curator queue similar IMAGE`."
        )


def _name(setting: Setting, several: bool) -> str:
    rounds = f", {setting.rounds} rounds" if setting.rounds > 1 else ""
    features = f" ({setting.features})" if several else ""
    return f"{setting.seeds:,} seeds{rounds}{features}"


def _rounded(number: float) -> int:
    return round(number / 10) * 10 if number >= 100 else round(number)


def _mean(values: Iterator[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
