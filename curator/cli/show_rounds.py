"""Rounds as a table that grows by a line as soon as each is committed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from curator.cli.output import count, percent, shown, strong
from curator.cli.report import quality_warnings

if TYPE_CHECKING:
    from curator.rounds.run import RoundReport
    from curator.settings.sections import ClassesSettings


class RoundTable:
    """Column widths are fixed by the header, so that lines can be printed one by one."""

    def __init__(self, classes: ClassesSettings) -> None:
        columns = (
            "round",
            "labels",
            "pseudo-labels",
            f"+{shown(classes.positive)}",
            f"+{shown(classes.negative)}",
            "revoked",
            "coverage",
            "borderline",
            "log loss",
        )
        self._columns = columns
        self._widths = [max(len(column), 7) for column in columns]

    def header(self) -> str:
        """The line of column names."""
        return strong(f"{self._line(self._columns)}  seconds")

    def row(self, report: RoundReport) -> str:
        """One round."""
        values = (
            "dry run" if report.round_id is None else str(report.round_id),
            f"{report.training.human_positive + report.training.human_negative:,}",
            f"{report.training.pseudo_positive + report.training.pseudo_negative:,}",
            f"{report.counts.promoted_positive:,}",
            f"{report.counts.promoted_negative:,}",
            f"{report.counts.revoked:,}",
            percent(report.coverage),
            f"{report.undecided:,}",
            "-" if report.quality is None else f"{report.quality.log_loss:.4f}",
        )
        stages = ", ".join(f"{name} {spent:.1f}" for name, spent in report.seconds.items())
        return f"{self._line(values)}  {sum(report.seconds.values()):.1f} ({stages})"

    def _line(self, values: tuple[str, ...]) -> str:
        return "  ".join(
            value.rjust(width) for value, width in zip(values, self._widths, strict=True)
        )


def verdict(report: RoundReport, classes: ClassesSettings) -> str:
    """What is known about the error after a round, and how far it can be trusted."""
    from curator.report.sentences import error_sentence, label_noise_sentences, scores_sentence
    from curator.rounds.score_quality import advice

    lines = [error_sentence(report.training.estimate, on_pool=report.training.basis == "pool")]
    if report.training.label_belief is not None:
        lines += label_noise_sentences(report.training.label_belief)
    judged = report.quality
    if judged is not None:
        lines.append(f"Scores: {scores_sentence(judged)}.")
        lines += quality_warnings(judged, classes)
        lines.append(advice(judged))
    lines += _held_back(report)
    lines += [
        f"{strong('Alarm')}  {shown(warning.problem)} {shown(warning.cure)}"
        for warning in report.warnings
    ]
    return "\n".join(lines)


def _held_back(report: RoundReport) -> list[str]:
    """What gates kept from being promoted, and where to look at it."""
    held_back, lines = report.counts.held_back, []
    if held_back.distance:
        lines.append(
            f"Held back: {count(held_back.distance, 'image')} unlike anything labelled, however"
            " sure; look at them with `curator review unfamiliar` (gates.distance)."
        )
    return lines


def as_json(report: RoundReport) -> dict[str, Any]:
    """One round for `--json`."""
    counts, outcome = report.counts, report.outcome()
    del outcome["usual_distance"]
    return {
        "round_id": report.round_id,
        **outcome,
        **asdict(counts),
        "promoted": counts.promoted_positive + counts.promoted_negative,
        "coverage": report.coverage,
        "borderline": report.undecided,
    }
