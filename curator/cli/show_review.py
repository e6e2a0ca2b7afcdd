"""The plain review: which answers a line may hold, and how an image is announced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from curator.cli.output import shown
from curator.core.words import Label
from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.settings import ClassesSettings
    from curator.workflows.cards import Card
    from curator.workflows.queue import QueueRow

Move = Literal["skip", "undo", "quit"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a line said: a label with its reasons, or a move."""

    label: Label | None = None
    reasons: tuple[str, ...] = ()
    move: Move | None = None


class Answers:
    """The answers that a workspace understands: whole words, and a letter for each.

    A class whose first letter is taken has `1` (positive) or `2` (negative) alone.
    """

    def __init__(self, classes: ClassesSettings) -> None:
        self._reasons = classes.reasons
        self._meanings: dict[str, Answer] = {
            "1": Answer(Label.POSITIVE),
            "2": Answer(Label.NEGATIVE),
            "unsure": Answer(Label.UNSURE),
            "u": Answer(Label.UNSURE),
        }
        for move in ("skip", "undo", "quit"):
            self._meanings[move] = Answer(move=move)
        self._meanings |= {
            "s": Answer(move="skip"),
            "z": Answer(move="undo"),
            "q": Answer(move="quit"),
        }
        self._keys = {"positive": "1", "negative": "2"}
        self._names: dict[str, str] = {"positive": classes.positive, "negative": classes.negative}
        for side, name in self._names.items():
            letter = name[0].casefold()
            self._meanings[name.casefold()] = Answer(Label(side))
            if letter not in self._meanings and self._other(side)[0].casefold() != letter:
                self._meanings[letter] = Answer(Label(side))
                self._keys[side] = letter

    def explanation(self) -> str:
        """One line that says what may be answered."""
        classes = ", ".join(f"{self._keys[side]} = {name}" for side, name in self._names.items())
        reasons = (
            f" After a class, its reasons: {', '.join(self._reasons)}." if self._reasons else ""
        )
        return f"{classes}, u = unsure, s = skip, z = undo, q = quit.{reasons}"

    def prompt(self) -> str:
        """What stands before the answer."""
        return "/".join([*self._keys.values(), "u", "s", "z", "q"]) + "> "

    def announcement(self, card: Card, number: int) -> str:
        """The lines that stand above the answer; of a blind card only where it lies."""
        parts = []
        if card.score is not None:
            parts.append(f"P = {card.score:.3f}")
        if card.standing is not None:
            parts.append(f"now {shown(self._names.get(card.standing, card.standing))}")
            parts[-1] += f" ({card.origin})"
        elif card.suggestion is not None:
            parts.append(f"perhaps {shown(self._names[card.suggestion])}")
        return f"{number}. {shown(card.path)}" + (f"\n   {', '.join(parts)}" if parts else "")

    def read(self, line: str) -> Answer:
        """What `line` means. Raises UsageError if it means nothing."""
        text = line.strip()
        whole = self._meanings.get(text.casefold())
        if whole is not None:
            return whole
        word, _, rest = text.partition(" ")
        answer = self._meanings.get(word.casefold())
        if answer is None or answer.label is None:
            raise UsageError(f"`{text}` is no answer.", self.explanation())
        return Answer(answer.label, self._reasons_in(rest))

    def _reasons_in(self, text: str) -> tuple[str, ...]:
        reasons = tuple(part.strip() for part in text.split(",") if part.strip())
        unknown = [reason for reason in reasons if self._reasons and reason not in self._reasons]
        if unknown:
            raise UsageError(
                f"There is no reason `{unknown[0]}`.", f"Known are {', '.join(self._reasons)}."
            )
        return reasons

    def _other(self, side: str) -> str:
        return self._names["negative" if side == "positive" else "positive"]


def as_json(row: QueueRow) -> dict[str, Any]:
    """A row of a queue for `--json`; the path is written as in a manifest."""
    from curator.export.paths import path_text

    return {
        "path": path_text(row.path),
        "sha256": row.sha256.hex(),
        "probability": row.probability,
        "suggestion": row.suggestion,
        "quarantine": row.quarantine or None,
    }
