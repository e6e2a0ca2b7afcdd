"""`history` as a page: what the image is, where it lies, and who said what when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from curator.cli.output import moment, shown, size, strong, table

if TYPE_CHECKING:
    from curator.catalogue.images import ImageDetails
    from curator.catalogue.labels import HistoryEvent
    from curator.report.history import History

Names = Callable[[str], str]


def page(history: History, names: Names) -> str:
    """The whole page as text; `names` turns a class into the user's word."""
    lines = [*_image(history.image, names), ""]
    if not history.events:
        return "\n".join([*lines, "No label event yet."])
    header = ["when", "event", "label", "origin", "how", "by", "round", "P", ""]
    return "\n".join([*lines, table(header, [_event(e, names) for e in history.events])])


def _image(image: ImageDetails, names: Names) -> Iterator[str]:
    yield strong(image.sha256.hex())
    shape = f"{image.width}x{image.height} pixels, " if image.width else ""
    kind = f"{image.format} {image.mode}, " if image.format else ""
    yield f"  {shape}{kind}{size(image.size)}, added {moment(image.added_at)}"
    for place in image.locations:
        state = "" if place.state == "present" else f"  ({place.state})"
        yield f"  {shown(place.path)}{state}"
    if image.quarantine is not None:
        yield f"  in quarantine: {image.quarantine}. {shown(image.detail)}".rstrip()
    yield f"  {strong('now')} {_standing(image, names)}"
    if image.split is not None and image.split != "train":
        yield f"  never trained on: {image.split}"
    if image.blocked:
        yield "  no round may promote it before a person has looked"


def _standing(image: ImageDetails, names: Names) -> str:
    score = "" if image.score is None else f"; the current score is P = {image.score:.4f}"
    if image.standing is None:
        return f"unlabelled{score}"
    where = f" in round {image.round}" if image.round is not None else ""
    return f"{shown(names(image.standing))} ({image.origin}{where}){score}"


def _event(event: HistoryEvent, names: Names) -> list[object]:
    remarks = [
        *event.reasons,
        *([event.note] if event.note else []),
        *(["taken back"] if event.retracted else []),
        *(["round undone"] if event.undone else []),
    ]
    return [
        moment(event.made_at),
        event.kind,
        shown(names(event.label)),
        event.origin,
        event.method,
        shown(event.actor or "-"),
        event.round,
        None if event.probability is None else f"{event.probability:.4f}",
        shown("; ".join(remarks)),
    ]
