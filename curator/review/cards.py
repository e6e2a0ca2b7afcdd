"""What a reviewer is shown of an image, loaded for many at once.

A card holds everything about an image but its pixels. While somebody labels blind, the
card is given out without score, class, label and neighbours, so that no front end can
show by mistake what must not be seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curator.base.values import ImageFile, PreviewPlace
from curator.base.vocabulary import CurrentLabel, GroupKind, Label, Origin, Quarantine, Split
from curator.catalogue.files import preview_places
from curator.catalogue.groups import groups_of, unit_mates
from curator.catalogue.images import FileLocation, ImageDetails, image_details, image_files
from curator.catalogue.labels import HistoryEvent, LabelRecord, current, history
from curator.workspace import Workspace

MATES = 6
"""Group mates that a card names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCard:
    """One image as a reviewer meets it.

    `path` is absolute bytes, empty if no location is left. `event_id` is the event behind
    the standing label when the card was loaded. `why` says why the image is in the queue.
    """

    image_id: int
    sha256: bytes
    path: bytes
    places: tuple[FileLocation, ...]
    width: int | None
    height: int | None
    size: int
    format: str
    score: float | None
    standing: CurrentLabel | None
    origin: Origin | None
    round: int | None
    event_id: int | None
    split: Split | None
    quarantine: Quarantine | None
    detail: str
    file: ImageFile | None
    preview: PreviewPlace | None
    why: str = ""
    blind: bool = False

    @property
    def suggestion(self) -> Label | None:
        """The class that a round gave, else the likelier one, else nothing."""
        if self.origin is Origin.PROMOTED and self.standing is not None:
            return Label(self.standing)
        if self.score is None or self.standing is CurrentLabel.CONFLICT:
            return None
        return Label.POSITIVE if self.score >= 0.5 else Label.NEGATIVE

    @property
    def settled(self) -> bool:
        """Whether a person has labelled it, and nobody contradicts."""
        people = self.origin not in (None, Origin.PROMOTED)
        return people and self.standing is not CurrentLabel.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class CardContext:
    """What else is known about an image: its group, and what was said about it."""

    mates: tuple[int, ...]
    more_mates: bool
    user_group: str
    events: tuple[HistoryEvent, ...]


NO_CONTEXT = CardContext(mates=(), more_mates=False, user_group="", events=())


def load_image_cards(
    workspace: Workspace, image_ids: Sequence[int], *, why: Mapping[int, str], blind: bool
) -> dict[int, ImageCard]:
    """The cards of these images; unknown ones are left out."""
    catalogue = workspace.catalogue
    details = image_details(catalogue, image_ids)
    labels = current(catalogue, image_ids)
    files = image_files(catalogue, image_ids)
    previews = preview_places(catalogue, image_ids)
    return {
        one: _card(
            found, labels[one], files.get(one), previews.get(one), why=why.get(one, ""), blind=blind
        )
        for one, found in details.items()
    }


def without_hints(card: ImageCard) -> ImageCard:
    """The card as somebody who labels blind may see it."""
    return dataclasses.replace(
        card, score=None, standing=None, origin=None, round=None, split=None, why="", blind=True
    )


def load_context(workspace: Workspace, image_id: int) -> CardContext:
    """The group mates and the history of one image."""
    mates = unit_mates(workspace.catalogue, image_id, limit=MATES + 1)
    groups = groups_of(workspace.catalogue, [image_id]).get(image_id, ())
    named = [group.name for group in groups if group.kind is GroupKind.USER]
    return CardContext(
        mates=tuple(mates[:MATES]),
        more_mates=len(mates) > MATES,
        user_group=named[0] if named else "",
        events=tuple(history(workspace.catalogue, image_id)),
    )


def _card(
    image: ImageDetails,
    label: LabelRecord,
    file: ImageFile | None,
    preview: PreviewPlace | None,
    *,
    why: str,
    blind: bool,
) -> ImageCard:
    path = file.path if file is not None else (image.locations[0].path if image.locations else b"")
    return ImageCard(
        image_id=image.image_id,
        sha256=image.sha256,
        path=path,
        places=image.locations,
        width=image.width,
        height=image.height,
        size=image.size,
        format=image.format or "",
        score=image.score,
        standing=image.standing,
        origin=image.origin,
        round=image.round,
        event_id=label.event_id,
        split=image.split,
        quarantine=image.quarantine,
        detail=image.detail,
        file=file,
        preview=preview,
        why=why,
        blind=blind,
    )
