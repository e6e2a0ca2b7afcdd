"""The panel beside the picture: score, names, reasons, group, neighbours, history.

A pure function from card and context to lines of text and small pictures, made together
with the picture and off the interface's thread. Labelling blind, the card carries none of
the hints, so they cannot be drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from curator.base.text import count
from curator.base.vocabulary import CurrentLabel, EventKind, Label, Origin
from curator.catalogue.labels import HistoryEvent
from curator.review.cards import CardContext, ImageCard
from curator.settings.sections import Settings
from curator.tui.lines import Inks, Piece, row, safe, shortened, wrapped
from curator.tui.pictures import Canvas, blank_strip

Thumb = Sequence[Strip]
"""A small picture in cells."""


def label_ink(label: str, inks: Inks) -> Style:
    """The ink of a class; its name is always written beside it."""
    return {"positive": inks.positive, "negative": inks.negative}.get(label, inks.warning)


class Panel:
    """Draws the panel for one size."""

    def __init__(self, settings: Settings, inks: Inks, canvas: Canvas) -> None:
        self._classes = settings.classes
        self._promotion = settings.promotion
        self.inks = inks
        self.canvas = canvas
        self._width = canvas.columns - 2

    def lines(
        self,
        card: ImageCard,
        context: CardContext,
        thumbs: Mapping[CurrentLabel, Sequence[Thumb]],
        remark: str,
        explanation: Sequence[Strip],
    ) -> list[Strip]:
        """All lines below those of `explanation`, the most important first, cut at its height."""
        lines = list(explanation[:-1])
        for block in (
            self._current(card),
            self._remark(remark),
            self._names(card),
            self._group(context),
            self._neighbours(thumbs),
            self._history(context, card),
        ):
            part = list(block)
            if part and lines:
                lines.append(self._line())
            lines += part
        return lines[: self.canvas.rows]

    def explanation(self, text: str) -> list[Strip]:
        """What the queue holds, for its first image, with a blank line after it."""
        lines = [self._line((line, self.inks.plain)) for line in wrapped(text, self._width, 6)]
        return [*lines, self._line()] if lines else []

    def _line(self, *pieces: Piece) -> Strip:
        return row([(" ", self.inks.ground), *pieces], self.canvas.columns, self.inks.ground)

    def _current(self, card: ImageCard) -> Iterator[Strip]:
        inks = self.inks
        if card.blind:
            yield self._line(("blind", inks.strong), (": what do you see?", inks.plain))
            for text in wrapped(
                "Score and class are hidden so that they cannot influence your answer.",
                self._width,
                3,
            ):
                yield self._line((text, inks.muted))
            return
        if card.standing is not None:
            name = shortened(safe(self._classes.name_of(card.standing)), self._width - 16)
            pieces = [("now ", inks.muted), (name, label_ink(card.standing, inks))]
            where = f" round {card.round}" if card.origin is Origin.PROMOTED else f" {card.origin}"
            yield self._line(*pieces, (where, inks.muted))
        if card.score is None:
            if card.standing is None:
                yield self._line(("no score yet", inks.muted))
        else:
            yield from self._score(card.score, card.suggestion)
        for text in wrapped(card.why, self._width, 3):
            yield self._line((text, inks.accent))
        if card.flag is not None:
            for text in wrapped(f"⚑ flagged {safe(card.flag)}", self._width, 4):
                yield self._line((text, inks.warning))

    def _score(self, score: float, suggestion: Label | None) -> Iterator[Strip]:
        inks = self.inks
        leaning = "" if suggestion is None else safe(self._classes.name_of(suggestion))
        ink = inks.muted if suggestion is None else label_ink(suggestion, inks)
        yield self._line(
            (f"P {score:.3f}", inks.strong),
            ("  → ", inks.muted),
            (shortened(leaning, max(4, self._width - 12)), ink),
        )
        yield self._line(*self._bar(score, self._width))
        left, right = (
            shortened(safe(name), self._width // 2 - 1)
            for name in (self._classes.negative, self._classes.positive)
        )
        room = self._width - cell_len(left) - cell_len(right)
        yield self._line((f"{left}{' ' * room}{right}", inks.muted))

    def _bar(self, score: float, width: int) -> list[Piece]:
        """The score from 0 to 1 with the two thresholds marked by `┊`."""
        inks = self.inks
        cells = [("─", inks.muted)] * width
        for threshold in (self._promotion.promote_below, self._promotion.promote_above):
            cells[min(width - 1, int(threshold * width))] = ("┊", inks.accent)
        cells[min(width - 1, int(score * width))] = ("●", inks.strong)
        return cells

    def _remark(self, remark: str) -> Iterator[Strip]:
        for text in wrapped(safe(remark), self._width, 4):
            yield self._line((text, self.inks.warning))

    def _names(self, card: ImageCard) -> Iterator[Strip]:
        inks = self.inks
        if card.blind:  # a folder's name may tell the class
            yield self._line((f"image {card.sha256.hex()[:12]}", inks.muted))
            return
        folder, _, name = safe(card.path).rpartition("/")
        yield self._line((shortened(name, self._width), inks.plain))
        yield self._line((shortened(folder, self._width), inks.muted))
        size = f"{card.width}×{card.height}" if card.width else "size unknown"
        kind = f" {card.format}" if card.format else ""
        yield self._line((f"{size}{kind}, {_bytes(card.size)}", inks.muted))
        sources = sorted({location.source for location in card.locations})
        if sources:
            more = f", {len(card.locations)} places" if len(card.locations) > 1 else ""
            text = f"source {safe(', '.join(sources))}{more}"
            yield self._line((shortened(text, self._width), inks.muted))

    def _neighbours(self, thumbs: Mapping[CurrentLabel, Sequence[Thumb]]) -> Iterator[Strip]:
        for side, nearest in thumbs.items():
            if not nearest:
                continue
            name = shortened(safe(self._classes.name_of(side)), self._width - 10)
            yield self._line(("nearest ", self.inks.muted), (name, label_ink(side, self.inks)))
            yield from self._thumb_rows(nearest)

    def _thumb_rows(self, thumbs: Sequence[Thumb]) -> Iterator[Strip]:
        gap = blank_strip(1, self.canvas.ground, self.canvas.depth)
        for number in range(len(thumbs[0])):
            strips = [gap]
            for thumb in thumbs:
                strips += [thumb[number], gap]
            joined = Strip.join(strips)
            yield joined.adjust_cell_length(self.canvas.columns, self.inks.ground)

    def _group(self, context: CardContext) -> Iterator[Strip]:
        inks = self.inks
        if context.user_group:
            yield self._line(
                (shortened(f"group {safe(context.user_group)}", self._width), inks.muted)
            )
        if context.mates:
            more = "more than " if context.more_mates else ""
            mates = count(len(context.mates), "other image")
            yield self._line((f"≈ grouped with {more}{mates}", inks.accent))

    def _history(self, context: CardContext, card: ImageCard) -> Iterator[Strip]:
        if card.blind or not context.events:
            return
        yield self._line(("history", self.inks.muted))
        for event in reversed(context.events[-5:]):
            pieces = self._event(event)
            yield self._line(*pieces)

    def _event(self, event: HistoryEvent) -> list[Piece]:
        inks = self.inks
        who = f"round {event.round}" if event.round is not None else safe(event.actor or "?")
        verb = {EventKind.RETRACT: "took back ", EventKind.REVOKE: "revoked "}.get(event.kind, "")
        name = safe(self._classes.name_of(event.label))
        gone = event.retracted or event.undone
        ink = inks.muted if gone or verb else label_ink(event.label, inks)
        when = event.made_at.astimezone().strftime(" %d.%m. %H:%M")
        room = self._width - len(verb) - len(name) - len(when) - 1
        return [
            (f"{verb}{name}", ink),
            (f" {shortened(who, max(4, room))}", inks.plain),
            (f"{when}{' (undone)' if gone else ''}", inks.muted),
        ]


def _bytes(amount: float) -> str:
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
