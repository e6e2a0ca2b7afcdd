"""The plain review: which answers a line may hold, and how an image is announced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from curator.base.vocabulary import Label
from curator.cli.output import shown
from curator.errors import UsageError
from curator.settings.keys import resolve_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from curator.review.cards import ImageCard
    from curator.review.queues import QueueRow
    from curator.settings.sections import ClassesSettings

Move = Literal["skip", "undo", "quit"]


@dataclass(frozen=True, slots=True)
class TypedAnswer:
    """What a line said: a label with its reasons, or a move."""

    label: Label | None = None
    reasons: tuple[str, ...] = ()
    move: Move | None = None


_ANSWERS = {
    "positive": TypedAnswer(Label.POSITIVE),
    "negative": TypedAnswer(Label.NEGATIVE),
    "unsure": TypedAnswer(Label.UNSURE),
    "skip": TypedAnswer(move="skip"),
    "undo": TypedAnswer(move="undo"),
    "quit": TypedAnswer(move="quit"),
}
"""What may be answered, by the name of the action that does it on the screen."""


class TypedAnswers:
    """The answers that a workspace understands: whole words, and the keys of the screen.

    A key means here what it means there, whatever the classes are called; the user's own
    keys (`review.keys`) count too, as far as one can type them into a line.
    """

    def __init__(self, classes: ClassesSettings, keys: Mapping[str, str]) -> None:
        self._reasons = classes.reasons
        self._names: dict[str, str] = {"positive": classes.positive, "negative": classes.negative}
        chosen = resolve_keys(keys)
        self._keys = {name: _typed(chosen[name]) for name in _ANSWERS}
        self._words = {name: answer for name, answer in _ANSWERS.items() if name not in self._names}
        self._words |= {name.casefold(): _ANSWERS[side] for side, name in self._names.items()}
        self._letters = {key: _ANSWERS[name] for name, keys in self._keys.items() for key in keys}

    def explanation(self) -> str:
        """One line that says what may be answered."""
        known = self._names | {"unsure": "not sure"}
        words = [f"{self._shown(name)} = {known.get(name, name)}" for name in _ANSWERS]
        reasons = [f"{number} {reason}" for number, reason in enumerate(self._reasons, 1)]
        after = f" After a class, its reasons: {', '.join(reasons)}." if reasons else ""
        return f"{', '.join(words)}.{after}"

    def prompt(self) -> str:
        """What stands before the answer."""
        return "/".join(self._shown(name) for name in _ANSWERS) + "> "

    def _shown(self, name: str) -> str:
        keys = self._keys[name]
        return (keys[0] if keys[0] != " " else "space") if keys else self._names.get(name, name)

    def announcement(self, card: ImageCard, number: int) -> str:
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

    def read(self, line: str) -> TypedAnswer:
        """What `line` means. Raises UsageError if it means nothing."""
        text = line.rstrip("\r\n")
        text = text.strip() or text[:1]
        whole = self._letters.get(text) or self._words.get(text.casefold())
        if whole is not None:
            return whole
        for word, rest in _beginnings(text):
            answer = self._letters.get(word) or self._words.get(word.casefold())
            if answer is not None and answer.label is not None:
                return TypedAnswer(answer.label, self._reasons_in(rest))
        raise UsageError(f"`{text}` is no answer.", self.explanation())

    def _reasons_in(self, text: str) -> tuple[str, ...]:
        named = {str(number): reason for number, reason in enumerate(self._reasons, 1)}
        parts = (part.strip() for part in text.split(","))
        reasons = tuple(named.get(part, part) for part in parts if part)
        unknown = [reason for reason in reasons if self._reasons and reason not in self._reasons]
        if unknown:
            raise UsageError(
                f"There is no reason `{unknown[0]}`.", f"Known are {', '.join(self._reasons)}."
            )
        return reasons


def _typed(keys: Sequence[str]) -> tuple[str, ...]:
    """Those keys that one can type into a line."""
    return tuple(" " if key == "space" else key for key in keys if len(key) == 1 or key == "space")


def _beginnings(text: str) -> Iterator[tuple[str, str]]:
    """Every way to cut `text` into an answer, of one or more words, and its reasons."""
    words = text.split(" ")
    for end in range(len(words) - 1, 0, -1):
        yield " ".join(words[:end]), " ".join(words[end:])


def as_json(row: QueueRow) -> dict[str, Any]:
    """A row of a queue for `--json`; the path is written as in a manifest."""
    from curator.base.text import path_text

    return {
        "path": path_text(row.path),
        "sha256": row.sha256.hex(),
        "probability": row.probability,
        "suggestion": row.suggestion,
        "quarantine": row.quarantine or None,
    }
