"""How packs, searches, curves and inspections look in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.cli.output import count, duration, percent, shown, size, table

if TYPE_CHECKING:
    from curator.encoding.pixel_packs import PackReport
    from curator.prediction.inside import ImageInspection
    from curator.prediction.inspect import Inspection
    from curator.settings.sections import ClassesSettings
    from curator.tuning.curve import EpochCurve, SizeCurve
    from curator.tuning.tune import TuneReport

_MISTAKES = 10


def packed(report: PackReport) -> str:
    """A pack in two lines."""
    colour = "grey" if report.channels == 1 else "colour"
    lines = [
        f"{count(report.images, 'image')} packed at {report.side}×{report.side}, {colour},"
        f" {report.codec}: {size(report.bytes)}; {report.added:,} new,"
        f" in {duration(report.seconds)}."
    ]
    lines += [f"  {reason}: {lost:,} in quarantine" for reason, lost in report.quarantined.items()]
    return "\n".join(lines)


def tuned(report: TuneReport) -> str:
    """Every trial, best first within its stage, and the winner in words."""
    rows = []
    ranked = sorted(
        report.tried,
        key=lambda one: (one.stage, one.loss is None, one.loss if one.loss is not None else 0.0),
    )
    for one in ranked:
        settings = ", ".join(
            f"{key.partition('.')[2]}={value:.4g}" if isinstance(value, float)
            else f"{key.partition('.')[2]}={value}"
            for key, value in one.settings.items()
        )  # fmt: skip
        rows.append(
            (
                one.stage,
                shown(settings),
                one.labels,
                "-" if one.loss is None else f"{one.loss:.4f}",
                percent(one.error, 2),
                one.best_epoch,
                f"{one.seconds:.1f}",
                one.failed and shown(one.failed),
            )
        )
    header = ("stage", "settings", "labels", "loss", "error", "epoch", "seconds", "")
    lines = [table(header, rows), "", *_winner(report)]
    if report.plot is not None:
        lines.append(f"Plots: {shown(report.plot)}")
    return "\n".join(lines)


def _winner(report: TuneReport) -> list[str]:
    if report.winner is None:
        return ["No candidate could be trained."]
    chosen = ", ".join(f"{key}={value}" for key, value in report.winner.items())
    if not report.finished:
        return [f"Time was up. Best so far: {chosen}. Run it again to go on."]
    lines = [
        f"Winner: {chosen}; validation loss {report.validation_loss:.4f}, error"
        f" {percent(report.validation_error, 2)}."
    ]
    if report.test is not None:
        lines.append(
            f"On the test split, looked at once after training on everything else: error"
            f" {percent(report.test.rate, 2)} ({percent(report.test.low, 2)} to"
            f" {percent(report.test.high, 2)}, n = {report.test.sample:,})."
        )
    lines.append(
        "Written into curator.toml."
        if report.applied
        else "Add --apply to write it into curator.toml."
    )
    return lines


def curved(found: EpochCurve | SizeCurve) -> str:
    """The plots in characters, and what they say."""
    from curator.charts.lines import chart_text

    drawn = [chart_text(chart) for chart in found.charts]
    return "\n\n".join([*drawn, found.verdict, f"Plot: {shown(found.plot)}"])


def inspected(found: Inspection, names: ClassesSettings) -> str:
    """The confusion matrix, the worst mistakes, and the uncertain band."""
    matrix, positive, negative = found.confusion, shown(names.positive), shown(names.negative)
    rows = [
        (positive, matrix.true_positive, matrix.false_negative),
        (negative, matrix.false_positive, matrix.true_negative),
    ]
    lines = [
        table(("label", f"scored {positive}", f"scored {negative}"), rows),
        "",
        f"{count(len(found.mistakes), 'label')} on the other side of the score;"
        f" {percent(matrix.accuracy, 2)} agree.",
    ]
    lines += [
        f"  P = {one.probability:.3f}, labelled {shown(names.name_of(one.label))}:"
        f" {shown(one.path)}"
        for one in found.mistakes[:_MISTAKES]
    ]
    low, high = found.band
    lines += [
        f"Between {low:g} and {high:g}: {found.uncertain:,} of {found.pool:,} images,"
        f" {found.uncertain_labelled:,} of them labelled. To leave such images out of manifests:"
        f" curator config export.uncertain_from={low:g} export.uncertain_to={high:g}",
        f"Contact sheet: {shown(found.sheet)}",
    ]
    return "\n".join(lines)


def looked_inside(seen: ImageInspection, names: ClassesSettings) -> str:
    """Where the pictures lie."""
    likely = names.positive if seen.probability > 0.5 else names.negative
    lines = [
        f"{shown(seen.image)}: P({shown(names.positive)}) = {seen.probability:.3f} as the network"
        f" claims; {shown(likely)}."
    ]
    if seen.activation is not None:
        lines.append(f"What speaks for {shown(likely)}: {shown(seen.activation)}")
    else:
        lines.append(shown(seen.problem))
    lines += [f"Feature maps: {shown(path)}" for path in seen.maps]
    return "\n".join(lines)
