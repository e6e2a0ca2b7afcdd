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
from curator.base.vocabulary import CurrentLabel, GroupKind, Label, Origin
from curator.catalogue.claims import flags_of
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import preview_places
from curator.catalogue.groups import groups_of, unit_mates
from curator.catalogue.images import ImageDetails, image_details, image_files
from curator.catalogue.labels import HistoryEvent, current, history
from curator.catalogue.queues import newest_event

MATES = 6
"""Group mates that a card names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCard(ImageDetails):
    """One image as a reviewer is shown it.

    `path` is absolute bytes, empty if no location is left. `event_id` is the event behind
    the current label when the card was loaded, `newest_event` the newest one in the catalogue at
    that moment. `why` says why the image is in the queue; `flag` is the note of its flag.
    """

    path: bytes
    event_id: int | None
    newest_event: int
    file: ImageFile | None
    preview: PreviewPlace | None
    why: str = ""
    flag: str | None = None
    blind: bool = False

    @property
    def suggestion(self) -> Label | None:
        """The class that curator leans to."""
        return suggestion_for(self)

    @property
    def settled(self) -> bool:
        """Whether a person has labelled it, and nobody contradicts."""
        people = self.origin not in (None, Origin.PROMOTED)
        return people and self.standing is not CurrentLabel.CONFLICT


def suggestion_for(image: ImageDetails) -> Label | None:
    """The class that a round gave, else the likelier one, else nothing."""
    if image.origin is Origin.PROMOTED and image.standing is not None:
        return Label(image.standing)
    if image.score is None or image.standing is CurrentLabel.CONFLICT:
        return None
    return Label.POSITIVE if image.score >= 0.5 else Label.NEGATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class CardContext:
    """Context of an image: its group mates and its label events."""

    mates: tuple[int, ...]
    more_mates: bool
    user_group: str
    events: tuple[HistoryEvent, ...]


NO_CONTEXT = CardContext(mates=(), more_mates=False, user_group="", events=())


def load_image_cards(
    catalogue: Catalogue, image_ids: Sequence[int], *, why: Mapping[int, str]
) -> dict[int, ImageCard]:
    """The cards of these images; unknown ones are left out."""
    # Before everything else: what is newer has not been seen on the card.
    newest = newest_event(catalogue)
    labels = current(catalogue, image_ids)
    files = image_files(catalogue, image_ids)
    previews = preview_places(catalogue, image_ids)
    flags = flags_of(catalogue, image_ids)
    cards = {}
    for image_id, image in image_details(catalogue, image_ids).items():
        file = files.get(image_id)
        first = image.locations[0].path if image.locations else b""
        cards[image_id] = ImageCard(
            **{field.name: getattr(image, field.name) for field in dataclasses.fields(image)},
            path=first if file is None else file.path,
            event_id=labels[image_id].event_id,
            newest_event=newest,
            file=file,
            preview=previews.get(image_id),
            why=why.get(image_id, ""),
            flag=flags.get(image_id),
        )
    return cards


def without_hints(card: ImageCard) -> ImageCard:
    """The card as somebody who labels blind may see it."""
    return dataclasses.replace(
        card,
        score=None,
        probability=None,
        standing=None,
        origin=None,
        round=None,
        split=None,
        why="",
        flag=None,
        blocked=False,
        blind=True,
    )


def load_context(catalogue: Catalogue, image_id: int) -> CardContext:
    """The group mates and the history of one image."""
    mates = unit_mates(catalogue, image_id, limit=MATES + 1)
    groups = groups_of(catalogue, [image_id]).get(image_id, ())
    user_groups = [group.name for group in groups if group.kind is GroupKind.USER]
    return CardContext(
        mates=tuple(mates[:MATES]),
        more_mates=len(mates) > MATES,
        user_group=user_groups[0] if user_groups else "",
        events=tuple(history(catalogue, image_id)),
    )
