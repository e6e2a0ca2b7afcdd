"""Where the labels of a file come from, as its column `queue` says.

`curator queue` writes into every row from which queue it came, and for a blind sample the number of
its draw or audit: `borderline`, `random 1`, `audit 2`. So labels that are brought back have the
origin that they would have had in a review, and nobody has to say it. What the column says and
what the user says may not differ: answers of a blind sample taken for seeds would train what they
are meant to judge.
"""

from __future__ import annotations

from typing import NamedTuple

from curator.base.vocabulary import Method, Origin
from curator.errors import DataError, UsageError

ORIGINS = {
    # The first labels; they are chosen before there is any score that could mislead the choice.
    "diverse": Origin.SEED,
    "clusters": Origin.REVIEW,
    "similar": Origin.REVIEW,
    "borderline": Origin.REVIEW,
    "informative": Origin.REVIEW,
    "unfamiliar": Origin.REVIEW,
    "promoted": Origin.REVIEW,
    "random": Origin.CALIBRATION,
    "suspect": Origin.REVIEW,
    "conflict": Origin.REVIEW,
    "odd": Origin.REVIEW,
    "duplicates": Origin.REVIEW,
    "flagged": Origin.REVIEW,
    "audit": Origin.AUDIT,
    "quarantine": Origin.REVIEW,
    # Not a queue: an export whose labels and scores people have seen there.
    "fiftyone": Origin.REVIEW,
}
"""The origin of labels in a file of each queue, and in a dataset of FiftyOne."""

BLIND_ORIGINS = {
    queue: origin
    for queue, origin in ORIGINS.items()
    if origin in (Origin.CALIBRATION, Origin.AUDIT)
}
"""Queues that are labelled blind, and the origin of their answers."""

FORMER_NAMES = {"calibration": "random"}
"""Names that queues had in earlier versions, and their names now."""


class QueueReference(NamedTuple):
    """A queue, and of a blind sample the number of its draw or audit."""

    name: str
    number: int | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name} {self.number}"

    @property
    def blind(self) -> bool:
        """Whether it is labelled without score and suggestion."""
        return self.name in BLIND_ORIGINS

    @property
    def origin(self) -> Origin:
        """The origin of its labels."""
        return ORIGINS[self.name]

    @property
    def method(self) -> Method:
        """How its labels in a file were given; those of pages teach and never measure."""
        if self.blind:
            return Method.BLIND
        return Method.SHEET if self.name == "clusters" else Method.IMPORT


def read_queue(text: str) -> QueueReference | None:
    """What a cell of the column `queue` says; None if it names no queue."""
    name, _, number = text.casefold().partition(" ")
    name = FORMER_NAMES.get(name, name)
    if name not in ORIGINS or (number and not (number.isascii() and number.isdecimal())):
        return None
    return QueueReference(name, int(number) if number else None)


def agreed_origin(queue: QueueReference | None, origin: Origin | None) -> Origin:
    """The origin of a file's labels: its queue's, else the user's, else seeds.

    Raises UsageError if the two differ.
    """
    if queue is None:
        return origin or Origin.SEED
    if origin not in (None, queue.origin):
        words = {Origin.CALIBRATION: "random"}
        raise UsageError(
            f"The column `queue` says that these labels come from `{queue}`, so they cannot be"
            f" imported with --origin {words.get(origin, origin)}.",
            "Leave --origin out; nothing was imported.",
        )
    return queue.origin


def refuse_other_audit(queue: QueueReference | None, open_audit: int | None) -> None:
    """Raises DataError if the file answers another audit than the one that is open."""
    if queue is None or queue.number in (None, open_audit) or queue.origin is not Origin.AUDIT:
        return
    present = "no audit is open" if open_audit is None else f"audit {open_audit} is open"
    write = "curator audit" if open_audit is None else "curator queue audit --output FILE"
    raise DataError(
        f"These labels answer audit {queue.number}, but {present}. Nothing was imported.",
        f"An audit that is closed takes no more answers. `{write}` gives the images to answer now.",
    )
