"""What many rehearsals say: one row of figures per setting, and advice that follows from them.

Means are over all rehearsals of a setting, those included in which nothing could be
trained or certified: that is what somebody who follows the advice has to expect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from curator.simulation.policies import PolicyOutcome

_AS_GOOD = 0.02
_MORE_OFTEN_THAN_NOT = 0.5
_SURPRISING = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What was rehearsed. `policy` is `raw`, `calibrated` or `certified`.

    `max_error` is None but for `certified`; `decisions` all that people may make there, None
    for as many as the audit is worth.
    """

    features: str
    seeds: int
    rounds: int
    policy: str
    max_error: float | None = None
    decisions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOutcome:
    """The figures of one setting over `repetitions` rehearsals.

    `decisions`, `coverage` and the errors are means; `low` and `high` are the 10% and 90%
    quantiles of the coverage. Errors are those of rehearsals that promoted something, None
    if none did. `issued` and `false` are shares of all rehearsals; `of_oracle` is the mean
    coverage as a share of the mean of what the ranking allowed; `untrained` the share in
    which the seeds could not teach. `seconds` is the median time of one.
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
    setting: Setting, played: Sequence[PolicyOutcome], seconds: Sequence[float]
) -> SimulationOutcome:
    """The figures of these rehearsals, of which there must be one at least."""
    coverage = np.array([one.coverage for one in played])
    oracles = [one.oracle for one in played if one.oracle is not None]
    allowed = float(np.mean(oracles)) if oracles else 0.0
    return SimulationOutcome(
        setting=setting,
        repetitions=len(played),
        decisions=float(np.mean([one.decisions for one in played])),
        coverage=float(coverage.mean()),
        low=float(np.quantile(coverage, 0.1)),
        high=float(np.quantile(coverage, 0.9)),
        error=_mean(one.error for one in played),
        positive_error=_mean(one.positive_error for one in played),
        negative_error=_mean(one.negative_error for one in played),
        issued=float(np.mean([one.issued for one in played])),
        false=float(np.mean([one.false for one in played])),
        of_oracle=float(coverage.mean()) / allowed if allowed else None,
        untrained=float(np.mean([not one.trained for one in played])),
        seconds=float(np.median(seconds)),
    )


def advise(rows: Sequence[SimulationOutcome], *, risk: float) -> str:
    """What to do, in sentences, for the figures at hand.

    Of settings that cover about the most (within two points), the one with the fewest
    decisions is advised. `risk` is how often a certificate may be false.
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
            f"{promise}: not with these features and so few labels; the best of what was tried"
            f" ({_named(most.setting, several)}) got a certificate in {most.issued:.0%} of its"
            " rehearsals. Try more seeds, a stronger encoder, or a larger max_error."
        )
    best = max(row.coverage for row in issued)
    chosen = min(
        (row for row in issued if row.coverage >= best - _AS_GOOD), key=lambda row: row.decisions
    )
    audited = chosen.decisions - chosen.setting.seeds
    return (
        f"{promise}: label {_named(chosen.setting, several)} and let the audit take about"
        f" {_rounded(audited):,} more; that certified {chosen.coverage:.0%} of the rest on"
        f" average, and anything at all in {chosen.issued:.0%} of rehearsals."
    )


def _of_thresholds(
    rows: Sequence[SimulationOutcome], errors: Sequence[float], several: bool
) -> Iterator[str]:
    by_thresholds = [row for row in rows if row.setting.policy != "certified" and row.error]
    if by_thresholds:
        worst = max(by_thresholds, key=lambda row: row.error or 0.0)
        found = worst.error or 0.0
        broken = [limit for limit in errors if found > limit]
        yield (
            f"The thresholds as they are set promise nothing: with {_named(worst.setting, several)}"
            f" and {worst.setting.policy} scores they covered {worst.coverage:.0%} with {found:.2%}"
            f" wrong{f', more than {broken[-1]:.3g}' if broken else ''}."
        )


def _of_false_ones(rows: Sequence[SimulationOutcome], risk: float) -> Iterator[str]:
    from scipy.stats import binom

    for row in rows:
        count = round(row.false * row.repetitions)
        if count and binom.sf(count - 1, row.repetitions, risk) < _SURPRISING:
            yield (
                f"With max_error {row.setting.max_error:.3g} and {row.setting.seeds:,} seeds"
                f" {row.false:.0%} of rehearsals ended with a false certificate, more than the"
                f" {risk:.0%} that the promise allows: an audit whose answers are wrong promises"
                " too much."
            )


def _of_untrained(rows: Sequence[SimulationOutcome]) -> Iterator[str]:
    worst = max(rows, key=lambda row: row.untrained)
    if worst.untrained:
        yield (
            f"In {worst.untrained:.0%} of rehearsals {worst.setting.seeds:,} random seeds held too"
            " few images of one class to learn from: look for examples of it with"
            " `curator queue similar IMAGE`."
        )


def _named(setting: Setting, several: bool) -> str:
    rounds = f", {setting.rounds} rounds" if setting.rounds > 1 else ""
    features = f" ({setting.features})" if several else ""
    return f"{setting.seeds:,} seeds{rounds}{features}"


def _rounded(number: float) -> int:
    return round(number / 10) * 10 if number >= 100 else round(number)


def _mean(values: Iterator[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
