"""What a reviewer is told about what was done: the same words on every front end."""

from __future__ import annotations

from collections.abc import Callable

from curator.base.vocabulary import EventKind
from curator.review.outcome import Undone

Name = Callable[[str], str]
"""The user's own name of a label."""


def meanwhile(
    *, kind: EventKind, label: str, round: int | None, actor: str | None, mine: str, name_of: Name
) -> str:
    """That a round or somebody else spoke about an image while it was looked at."""
    who = f"round {round}" if round is not None else (actor or "somebody")
    if kind is EventKind.REVOKE:
        said = "took its own label back from the last image"
    else:
        said = f"called the last image {name_of(label)}"
    return f"Meanwhile {who} {said}. Your {name_of(mine)} stands."


def taken_back(undone: Undone, name_of: Name) -> str:
    """What an undo has done."""
    if len(undone.image_ids) > 1:
        what = f"a page of {len(undone.image_ids)} taken back"
    elif undone.label:
        what = f"{name_of(undone.label)} taken back"
    elif undone.set_aside:
        what = "out of quarantine again"
    else:
        what = "back to what you skipped"
    if undone.earlier_session:
        what += ", from an earlier session"
    return f"{what[:1].upper()}{what[1:]}."


NOTHING_TO_UNDO = "There is nothing of yours to take back."
