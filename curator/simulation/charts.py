"""The plots of a simulation: what settings cover and how wrong they are, by what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from curator.charts.lines import Chart, Line
from curator.simulation.summary import SimulationOutcome


def charts_of(rows: Sequence[SimulationOutcome]) -> tuple[Chart, ...]:
    """Coverage, and true error, against all that people decide."""
    by_line: dict[str, list[SimulationOutcome]] = {}
    several = len({row.setting.features for row in rows}) > 1
    repeated = len({row.setting.rounds for row in rows}) > 1
    for row in rows:
        setting = row.setting
        promise = "" if setting.max_error is None else f" at {setting.max_error:.3g}"
        rounds = f", round {setting.rounds}" if repeated else ""
        features = f", {setting.features}" if several else ""
        by_line.setdefault(f"{setting.policy}{promise}{rounds}{features}", []).append(row)
    for members in by_line.values():
        members.sort(key=lambda row: row.decisions)
    return (
        Chart(
            title="Coverage (mean, 10% to 90%)",
            x_name="human decisions",
            y_name="share of the rest",
            lines=tuple(
                Line(
                    name=name,
                    x=tuple(row.decisions for row in members),
                    y=tuple(row.coverage for row in members),
                    low=tuple(row.low for row in members),
                    high=tuple(row.high for row in members),
                )
                for name, members in by_line.items()
            ),
        ),
        Chart(
            title="True error of what was promoted",
            x_name="human decisions",
            y_name="share wrong",
            lines=tuple(
                Line(
                    name=name,
                    x=tuple(row.decisions for row in members if row.error is not None),
                    y=tuple(row.error for row in members if row.error is not None),
                )
                for name, members in by_line.items()
            ),
        ),
    )
