"""The pictures of a report: which ones, and each as a small JPEG with its caption.

They come from the previews that were stored when the images were added; a file is opened
only where there is none. Images of an open audit are never shown, because whoever answers
it must not have seen a score or a label of them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from curator.base.progress import Stage
from curator.base.text import printable
from curator.base.vocabulary import CurrentLabel, EventKind, Origin
from curator.catalogue import event_reads, queues
from curator.catalogue.engine import Catalogue
from curator.catalogue.labels import HistoryEvent, history
from curator.catalogue.pool import has_scores
from curator.catalogue.rounds import RoundRecord, RoundStatus
from curator.review.cards import ImageCard, load_image_cards
from curator.review.pictures import Pictures
from curator.settings.sections import ClassesSettings
from curator.statistics.folds import sampling_rank
from curator.workspace import Workspace

SIDE = 176
"""Longest side of a thumbnail, in pixels."""
QUALITY = 72
TILES = 12
GROUPS = 6
MATES = 4

_NOT_SCORED = "There are no scores: no round has been run, or its scores no longer exist."
_NO_PICTURE = "no picture is stored and the file cannot be opened"
_NOTE_LETTERS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A picture with its caption; without a `jpeg`, `remark` says why there is none.

    `width` and `height` are those of the JPEG, at most `SIDE`.
    """

    name: str
    sha256: str
    caption: tuple[str, ...]
    jpeg: bytes | None = field(repr=False)
    width: int = 0
    height: int = 0
    remark: str = ""

    def as_json(self) -> dict[str, Any]:
        """Everything but the pixels."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "jpeg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailStrip:
    """Pictures of one kind; `remark` says which they are, `empty` why there are none.

    `notes` are lines below an image's caption. `tiles` are there once pictures are loaded.
    """

    key: str
    heading: str
    remark: str
    empty: str
    image_ids: Sequence[int]
    notes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    tiles: tuple[Thumbnail, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What is said about the pictures."""
        return {
            "key": self.key,
            "heading": self.heading,
            "remark": self.remark,
            "tiles": [tile.as_json() for tile in self.tiles],
            "empty": self.empty,
        }


def picture_strips(workspace: Workspace, rounds: Sequence[RoundRecord]) -> list[ThumbnailStrip]:
    """Which images are shown, and under which heading; without their pictures."""
    return [
        *_surest(workspace),
        _borderline(workspace.catalogue),
        _latest_promotions(workspace, rounds),
        _suspects(workspace.catalogue),
        _revoked(workspace.catalogue, rounds),
        *_near_duplicates(workspace.catalogue),
    ]


def load_pictures(
    workspace: Workspace, strips: Sequence[ThumbnailStrip], stage: Stage
) -> tuple[ThumbnailStrip, ...]:
    """The strips with their pictures."""
    pictures, classes = Pictures(workspace), workspace.settings.classes
    loaded = []
    try:
        for strip in strips:
            cards = load_image_cards(workspace.catalogue, strip.image_ids, why={})
            tiles = []
            for image_id in strip.image_ids:
                if image_id in cards:
                    notes = strip.notes.get(image_id, ())
                    tiles.append(_thumbnail(pictures, cards[image_id], classes, notes))
                stage.advance()
            loaded.append(replace(strip, tiles=tuple(tiles)))
    finally:
        pictures.close()
    return tuple(loaded)


def _surest(workspace: Workspace) -> Iterator[ThumbnailStrip]:
    for label in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE):
        name = workspace.settings.classes.name_of(label)
        scored = has_scores(workspace.catalogue)
        yield ThumbnailStrip(
            key=f"surest-{label}",
            heading=f"Most certain {name}",
            remark="without a human label, by the scores of the current round",
            image_ids=queues.leaning(workspace.catalogue, label, size=TILES),
            empty=f"Nothing without a human label leans to {name}." if scored else _NOT_SCORED,
        )


def _borderline(catalogue: Catalogue) -> ThumbnailStrip:
    scored = has_scores(catalogue)
    return ThumbnailStrip(
        key="borderline",
        heading="Least certain",
        remark="neither promoted nor labelled, nearest to P = 0.5",
        image_ids=queues.borderline(catalogue, size=TILES) if scored else [],
        empty="Every scored image has a label." if scored else _NOT_SCORED,
    )


def _latest_promotions(workspace: Workspace, rounds: Sequence[RoundRecord]) -> ThumbnailStrip:
    """A random sample of the current promotions of the last round, then of earlier ones."""
    image_ids: list[int] = []
    shares = []
    for record in reversed(rounds):
        if record.status is RoundStatus.ROLLED_BACK or len(image_ids) >= TILES:
            continue
        promoted = event_reads.current_promotions(workspace.catalogue, record.round_id)
        order = np.argsort(sampling_rank(promoted, workspace.settings.runtime.seed), kind="stable")
        drawn = promoted[order[: TILES - len(image_ids)]].tolist()
        if drawn:
            shares.append(f"{len(drawn):,} of {len(promoted):,} by round {record.round_id}")
        image_ids += drawn
    return ThumbnailStrip(
        key="latest",
        heading="Latest promotions",
        remark=f"{', '.join(shares)}, of the current ones, drawn at random",
        image_ids=image_ids,
        empty="There are no promotions.",
    )


def _suspects(catalogue: Catalogue) -> ThumbnailStrip:
    scored = has_scores(catalogue)
    image_ids = queues.suspects(catalogue, size=TILES) if scored else []
    return ThumbnailStrip(
        key="suspects",
        heading="Suspects",
        remark="labels of people that the scores contradict, the largest contradiction first",
        image_ids=image_ids,
        empty="The scores contradict no label of a person." if scored else _NOT_SCORED,
        notes={each: _last_note(history(catalogue, each)) for each in image_ids},
    )


def _revoked(catalogue: Catalogue, rounds: Sequence[RoundRecord]) -> ThumbnailStrip:
    current = [each.round_id for each in rounds if each.status is not RoundStatus.ROLLED_BACK]
    revoked = event_reads.revoked(catalogue, current, size=TILES)
    return ThumbnailStrip(
        key="revoked",
        heading="Revoked",
        remark="promotions that a later round revoked, the latest first",
        image_ids=[image_id for image_id, _ in revoked],
        empty="No promotion was revoked, or each was made again.",
        notes={image_id: (f"revoked by round {round_id}",) for image_id, round_id in revoked},
    )


def _near_duplicates(catalogue: Catalogue) -> Iterator[ThumbnailStrip]:
    groups = event_reads.near_duplicates(catalogue, groups=GROUPS, members=MATES)
    for number, group in enumerate(groups, 1):
        yield ThumbnailStrip(
            key=f"near-duplicates-{number}",
            heading=f"Near-duplicates, group {number}",
            remark=f"{len(group.image_ids):,} of {group.size:,} images",
            image_ids=group.image_ids,
            empty="",
        )
    if not groups:
        yield ThumbnailStrip(
            key="near-duplicates",
            heading="Near-duplicates",
            remark="",
            image_ids=(),
            empty="There are no near-duplicates.",
        )


def _last_note(events: Sequence[HistoryEvent]) -> tuple[str, ...]:
    """The reasons and the note of the last decision of a person."""
    decisions = [each for each in events if each.kind is EventKind.ASSERT and not each.retracted]
    if not decisions:
        return ()
    lines = (", ".join(decisions[-1].reasons), decisions[-1].note[:_NOTE_LETTERS])
    return tuple(line for line in lines if line)


def _thumbnail(
    pictures: Pictures, card: ImageCard, classes: ClassesSettings, notes: tuple[str, ...]
) -> Thumbnail:
    shot = pictures.shot(card, SIDE, SIDE)
    thumbnail = Thumbnail(
        name=printable(card.path.rsplit(b"/", 1)[-1]),
        sha256=card.sha256.hex(),
        caption=(*_caption(card, classes), *notes),
        jpeg=None,
        remark=shot.problem or _NO_PICTURE,
    )
    if shot.pixels is None:
        return thumbnail
    stream = io.BytesIO()
    shot.pixels.convert("RGB").save(stream, "JPEG", quality=QUALITY, optimize=True)
    width, height = shot.pixels.size
    return replace(
        thumbnail, jpeg=stream.getvalue(), width=width, height=height, remark=shot.remark
    )


def _caption(card: ImageCard, classes: ClassesSettings) -> Iterator[str]:
    if card.score is not None:
        bounded = "< 0.0001" if card.score < 0.0001 else f"{card.score:.4f}"
        yield f"P {'> 0.9999' if card.score > 0.9999 else bounded}"
    if card.standing is None:
        yield "unlabelled"
    elif card.origin is Origin.PROMOTED:
        yield f"{classes.name_of(card.standing)}, round {card.round}"
    else:
        yield f"{classes.name_of(card.standing)} ({card.origin})"
