"""The pictures of a report: which ones, and each as a small JPEG with its caption.

They come from the previews that were stored when the images were added; a file is opened
only where there is none. Images of an open audit are never shown, because whoever answers
it must not have seen what was said of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from curator.base.progress import Stage
from curator.base.text import printable
from curator.base.vocabulary import CurrentLabel, EventKind, Origin
from curator.catalogue import event_reads, queues
from curator.catalogue.labels import HistoryEvent, history
from curator.catalogue.pool import has_scores
from curator.catalogue.rounds import RoundRecord, RoundStatus
from curator.report.data import PictureStripRow, Thumbnail
from curator.review.cards import ImageCard, load_image_cards
from curator.review.pictures import Pictures
from curator.statistics.folds import sampling_rank
from curator.workspace import Workspace

SIDE = 176
"""Longest side of a thumbnail, in pixels."""
QUALITY = 72
TILES = 12
GROUPS = 6
MATES = 4

_NOT_SCORED = "There are no scores: no round stands, or its scores are gone."
_NO_PICTURE = "no picture is stored and the file cannot be opened"
_NOTE_LETTERS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A strip before its pictures are opened; `says` tells more than a caption has by itself."""

    key: str
    heading: str
    remark: str
    image_ids: Sequence[int]
    empty: str
    says: Mapping[int, tuple[str, ...]]


def chosen_strips(workspace: Workspace, rounds: Sequence[RoundRecord]) -> list[_Wanted]:
    """Which images are shown, and under which heading."""
    return [
        *_surest(workspace),
        _borderline(workspace),
        _latest(workspace, rounds),
        _suspects(workspace),
        _revoked(workspace, rounds),
        *_near_duplicates(workspace),
    ]


def pictured(
    workspace: Workspace, wanted: Sequence[_Wanted], stage: Stage
) -> tuple[PictureStripRow, ...]:
    """The strips with their pictures."""
    pictures = Pictures(workspace)
    try:
        return tuple(_pictured(workspace, pictures, one, stage) for one in wanted)
    finally:
        pictures.close()


def _surest(workspace: Workspace) -> Iterator[_Wanted]:
    catalogue, classes = workspace.catalogue, workspace.settings.classes
    for side in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE):
        name = classes.name_of(side)
        yield _wanted(
            f"surest-{side}",
            f"Surest {name}",
            "without a human label, by the scores of the round that stands",
            queues.leaning(catalogue, side, size=TILES),
            f"Nothing without a human label leans to {name}."
            if has_scores(catalogue)
            else _NOT_SCORED,
        )


def _borderline(workspace: Workspace) -> _Wanted:
    scored = has_scores(workspace.catalogue)
    return _wanted(
        "borderline",
        "Most borderline",
        "neither promoted nor labelled, nearest to undecided",
        queues.borderline(workspace.catalogue, size=TILES) if scored else [],
        "Nothing that was scored is without a label." if scored else _NOT_SCORED,
    )


def _latest(workspace: Workspace, rounds: Sequence[RoundRecord]) -> _Wanted:
    chosen: list[int] = []
    told = []
    for one in reversed(rounds):
        if one.status is RoundStatus.ROLLED_BACK or len(chosen) >= TILES:
            continue
        ids = event_reads.current_promotions(workspace.catalogue, one.round_id)
        rank = sampling_rank(ids, workspace.settings.runtime.seed)
        drawn = ids[np.argsort(rank, kind="stable")[: TILES - len(chosen)]].tolist()
        if drawn:
            told.append(f"{len(drawn):,} of {len(ids):,} by round {one.round_id}")
        chosen += drawn
    remark = f"{', '.join(told)}, of those that stand, drawn at random"
    return _wanted("latest", "Latest promotions", remark, chosen, "No promotion stands.")


def _suspects(workspace: Workspace) -> _Wanted:
    scored = has_scores(workspace.catalogue)
    ids = queues.suspects(workspace.catalogue, size=TILES) if scored else []
    return _wanted(
        "suspects",
        "Suspects",
        "labels of people that the scores contradict, the boldest contradiction first",
        ids,
        "The scores contradict no label of a person." if scored else _NOT_SCORED,
        {one: _said_by_people(history(workspace.catalogue, one)) for one in ids},
    )


def _revoked(workspace: Workspace, rounds: Sequence[RoundRecord]) -> _Wanted:
    standing = [one.round_id for one in rounds if one.status is not RoundStatus.ROLLED_BACK]
    found = event_reads.revoked(workspace.catalogue, standing, size=TILES)
    return _wanted(
        "revoked",
        "Revoked",
        "labels that a round gave and a later one took back, the latest first",
        [image_id for image_id, _ in found],
        "No round took a label back that does not stand again.",
        {image_id: (f"revoked by round {round_id}",) for image_id, round_id in found},
    )


def _near_duplicates(workspace: Workspace) -> Iterator[_Wanted]:
    groups = event_reads.near_duplicates(workspace.catalogue, groups=GROUPS, members=MATES)
    for number, one in enumerate(groups, 1):
        yield _wanted(
            f"near-duplicates-{number}",
            f"Near-duplicates, group {number}",
            f"{len(one.image_ids):,} of {one.size:,} images",
            one.image_ids,
            "",
        )
    if not groups:
        yield _wanted("near-duplicates", "Near-duplicates", "", [], "No two images are so alike.")


def _wanted(
    key: str,
    heading: str,
    remark: str,
    image_ids: Sequence[int],
    empty: str,
    says: Mapping[int, tuple[str, ...]] | None = None,
) -> _Wanted:
    return _Wanted(
        key=key, heading=heading, remark=remark, image_ids=image_ids, empty=empty, says=says or {}
    )


def _said_by_people(events: Sequence[HistoryEvent]) -> tuple[str, ...]:
    """The reasons and the note of the last thing that a person said."""
    said = [one for one in events if one.kind is EventKind.ASSERT and not one.retracted]
    if not said:
        return ()
    note = said[-1].note[:_NOTE_LETTERS]
    return (*((", ".join(said[-1].reasons),) if said[-1].reasons else ()), *((note,) * bool(note)))


def _pictured(
    workspace: Workspace, pictures: Pictures, wanted: _Wanted, stage: Stage
) -> PictureStripRow:
    cards = load_image_cards(workspace, wanted.image_ids, why={}, blind=False)
    tiles = []
    for image_id in wanted.image_ids:
        if image_id in cards:
            tiles.append(
                _thumbnail(
                    pictures,
                    cards[image_id],
                    workspace.settings.classes.name_of,
                    wanted.says.get(image_id, ()),
                )
            )
        stage.advance()
    return PictureStripRow(
        key=wanted.key,
        heading=wanted.heading,
        remark=wanted.remark,
        tiles=tuple(tiles),
        empty=wanted.empty,
    )


def _thumbnail(
    pictures: Pictures, card: ImageCard, name_of: Callable[[str], str], says: tuple[str, ...]
) -> Thumbnail:
    shot = pictures.shot(card, SIDE, SIDE)
    jpeg, size = None, (0, 0)
    if shot.pixels is not None:
        jpeg, size = _jpeg(shot.pixels), shot.pixels.size
    remark = shot.remark if shot.pixels is not None else shot.problem or _NO_PICTURE
    return Thumbnail(
        name=printable(card.path.rsplit(b"/", 1)[-1]),
        sha256=card.sha256.hex(),
        caption=(*_caption(card, name_of), *says),
        jpeg=jpeg,
        width=size[0],
        height=size[1],
        remark=remark,
    )


def _caption(card: ImageCard, name_of: Callable[[str], str]) -> Iterator[str]:
    if card.score is not None:
        yield f"P {_probability(card.score)}"
    if card.standing is None:
        yield "unlabelled"
    elif card.origin is Origin.PROMOTED:
        yield f"{name_of(card.standing)}, round {card.round}"
    else:
        yield f"{name_of(card.standing)} ({card.origin})"


def _probability(probability: float) -> str:
    if probability < 0.0001:
        return "< 0.0001"
    return f"{probability:.4f}" if probability <= 0.9999 else "> 0.9999"


def _jpeg(pixels: Image.Image) -> bytes:
    stream = io.BytesIO()
    pixels.convert("RGB").save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()
