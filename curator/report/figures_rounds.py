"""Plots over the rounds: the pool, what people said, what was promoted and taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.base.text import percent
from curator.base.vocabulary import CurrentLabel, Origin
from curator.charts.drawing import (
    GOOD,
    INK,
    NEGATIVE,
    NEGATIVE_SOFT,
    NOBODY,
    POSITIVE,
    POSITIVE_SOFT,
    QUIET,
    WARNING,
    Styles,
    draw,
)
from curator.report.data import PoolMoment, ReportData
from curator.report.figures import MOST_BARS, Figure, name_ticks, thousands, told, who_labelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNDECIDED = (CurrentLabel.UNSURE, CurrentLabel.CONFLICT)
_ORIGIN_COLOURS = {
    Origin.SEED: (QUIET, "quiet"),
    Origin.REVIEW: (INK, "ink"),
    Origin.CALIBRATION: (NOBODY, "nobody"),
    Origin.AUDIT: (GOOD, "good"),
}


def pool_figure(story: ReportData, styles: Styles) -> Figure:
    """All usable images by who labelled them, after each round and now."""
    title = "The pool by label"
    if not story.usable:
        return Figure(key="pool", title=title, caption="There is no image that can be used yet.")
    shown = story.pool[-MOST_BARS:]
    layers = [
        (POSITIVE, [one.by_people(CurrentLabel.POSITIVE) for one in shown]),
        (POSITIVE_SOFT, [one.promoted[CurrentLabel.POSITIVE] for one in shown]),
        (NOBODY, [_undecided(one) + one.unlabelled for one in shown]),
        (NEGATIVE_SOFT, [one.promoted[CurrentLabel.NEGATIVE] for one in shown]),
        (NEGATIVE, [one.by_people(CurrentLabel.NEGATIVE) for one in shown]),
    ]

    def paint(axes: Axes) -> None:
        _stacked(axes, shown, layers)
        axes.set_ylabel("images")
        axes.set_xlabel("after round")

    return Figure(
        key="pool",
        title=title,
        caption=_pool_caption(story),
        svg=draw("pool", paint, styles, title=title, description=_pool_caption(story)),
        legend=who_labelled(story),
        header=(
            "after", f"{story.positive} by people", f"{story.positive} promoted",
            f"{story.negative} by people", f"{story.negative} promoted",
            "unsure or conflict", "unlabelled",
        ),
        rows=tuple(
            told(
                one.name, one.by_people(CurrentLabel.POSITIVE), one.promoted[CurrentLabel.POSITIVE],
                one.by_people(CurrentLabel.NEGATIVE), one.promoted[CurrentLabel.NEGATIVE],
                _undecided(one), one.unlabelled,
            )
            for one in story.pool
        ),
    )  # fmt: skip


def _pool_caption(story: ReportData) -> str:
    now = story.pool[-1]
    people = sum(now.by_people(standing) for standing in CurrentLabel)
    return (
        f"Now {people:,} images are labelled by people, {sum(now.promoted.values()):,} by rounds,"
        f" and {now.unlabelled:,} of {story.usable:,} not at all."
    )


def _undecided(one: PoolMoment) -> int:
    return sum(one.by_people(standing) for standing in _UNDECIDED)


def people_figure(story: ReportData, styles: Styles) -> Figure:
    """Images that people labelled, by where the label comes from."""
    title = "Labels of people by origin"
    origins = [
        origin
        for origin in _ORIGIN_COLOURS
        if any(by.get(origin) for one in story.pool for by in one.people.values())
    ]
    if not origins:
        return Figure(key="people", title=title, caption="People have not labelled any image yet.")
    shown = story.pool[-MOST_BARS:]
    layers = [(_ORIGIN_COLOURS[o][0], [_of_origin(one, o) for one in shown]) for o in origins]

    def paint(axes: Axes) -> None:
        _stacked(axes, shown, layers)
        axes.set_ylabel("images")
        axes.set_xlabel("after round")

    now = story.pool[-1]
    caption = ", ".join(f"{_of_origin(now, origin):,} {origin}" for origin in origins)
    caption = f"Standing labels of people now: {caption}."
    return Figure(
        key="people",
        title=title,
        caption=caption,
        svg=draw("people", paint, styles, title=title, description=caption),
        legend=tuple((_ORIGIN_COLOURS[origin][1], str(origin)) for origin in origins),
        header=("after", "label", *origins),
        rows=tuple(
            told(one.name, story.name_of(standing), *(by.get(origin, 0) for origin in origins))
            for one in story.pool
            for standing, by in one.people.items()
        ),
    )


def _of_origin(one: PoolMoment, origin: Origin) -> int:
    return sum(by.get(origin, 0) for by in one.people.values())


def _stacked(
    axes: Axes, moments: tuple[PoolMoment, ...], layers: list[tuple[str, list[int]]]
) -> None:
    bottom = [0] * len(moments)
    for colour, values in layers:
        axes.bar(range(len(moments)), values, bottom=bottom, color=colour, width=0.78)
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    name_ticks(axes, ["now" if one.round is None else str(one.round) for one in moments])
    thousands(axes)


def rounds_figure(story: ReportData, styles: Styles) -> Figure:
    """What each round promoted and revoked."""
    title = "Promoted and revoked"
    if not story.rounds:
        return Figure(key="rounds", title=title, caption="No round has run yet.")
    shown = story.rounds[-MOST_BARS:]

    def paint(axes: Axes) -> None:
        places = range(len(shown))
        positive = [one.promoted_positive for one in shown]
        negative = [one.promoted_negative for one in shown]
        axes.bar(places, positive, color=POSITIVE_SOFT, width=0.78)
        axes.bar(places, negative, bottom=positive, color=NEGATIVE_SOFT, width=0.78)
        axes.bar(places, [-one.revoked for one in shown], color=WARNING, width=0.78)
        axes.axhline(0.0, color=QUIET, linewidth=0.8)
        name_ticks(axes, [_marked(one.round, one.status) for one in shown])
        thousands(axes)
        axes.set_ylabel("images")
        axes.set_xlabel("round")

    promoted = sum(one.promoted_positive + one.promoted_negative for one in story.rounds)
    revoked = sum(one.revoked for one in story.rounds)
    undone = [one.round for one in story.rounds if one.status == "rolled-back"]
    caption = f"{promoted:,} promotions and {revoked:,} revocations in {len(story.rounds):,} rounds"
    if undone:
        caption += f"; rolled back and marked with ×: {', '.join(map(str, undone[-12:]))}"
    return Figure(
        key="rounds",
        title=title,
        caption=f"{caption}.",
        svg=draw("rounds", paint, styles, title=title, description=caption),
        legend=(
            ("positive-soft", f"promoted to {story.positive}"),
            ("negative-soft", f"promoted to {story.negative}"),
            ("warning", "revoked (below zero)"),
        ),
        header=(
            "round", "status", f"+{story.positive}", f"+{story.negative}", "revoked",
            "standing", "coverage", "log loss", "calibration error", "seconds",
        ),
        rows=tuple(
            told(
                str(one.round),
                one.status if one.kind == "train" else f"{one.status} ({one.kind})",
                one.promoted_positive, one.promoted_negative, one.revoked,
                one.standing_promoted, percent(one.coverage),
                None if one.judgement is None else one.judgement.log_loss,
                None if one.judgement is None else one.judgement.calibration_error,
                f"{one.seconds:.1f}",
            )
            for one in story.rounds
        ),
    )  # fmt: skip


def _marked(number: int, status: str) -> str:
    return f"{number}×" if status == "rolled-back" else str(number)
