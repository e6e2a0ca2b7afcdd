"""Everything that ever happened to one image: what it is, where it lies, who said what."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from curator.base.text import path_text
from curator.base.vocabulary import LIKELIER, Origin
from curator.catalogue import labels
from curator.catalogue.engine import Catalogue
from curator.catalogue.images import ImageDetails, find_named_image, image_details
from curator.catalogue.labels import HistoryEvent
from curator.catalogue.rounds import get_round, likelier_rounds
from curator.rounds.pool_error import ThresholdError


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """An image and every label event it has, oldest first.

    `round_error` is the estimated error of promoted labels in the round that promoted the image.
    Promotions of `likelier_rounds` gave the likelier class, without being sure.
    """

    image: ImageDetails
    events: list[HistoryEvent]
    round_error: ThresholdError | None = None
    likelier_rounds: frozenset[int] = frozenset()

    def origin_of(self, origin: Origin | None, round_id: int | None) -> str | None:
        """The word for an origin, as in a manifest."""
        return LIKELIER if round_id in self.likelier_rounds else origin

    def as_json(self) -> dict[str, Any]:
        """The content of `curator history --json`; paths are written as in a manifest."""
        image = asdict(self.image)
        image["sha256"] = self.image.sha256.hex()
        for location in image["locations"]:
            location["path"] = path_text(location["path"])
        names = {"locations": "places"}
        image = {names.get(name, name): value for name, value in image.items()}
        events = [asdict(event) for event in self.events]
        for event in events:
            del event["image_id"]  # it is the image's own
            event["origin"] = self.origin_of(event["origin"], event["round"])
        image["origin"] = self.origin_of(image["origin"], image["round"])
        error = None if self.round_error is None else asdict(self.round_error)
        return {"image": image, "events": events, "round_error": error}


def history(catalogue: Catalogue, image: str) -> History:
    """The history of the image that `image` names: a path, or a SHA-256 or its beginning.

    Raises DataError if none or several match.
    """
    image_id = find_named_image(catalogue, image)
    details = image_details(catalogue, [image_id])[image_id]
    likelier = likelier_rounds(catalogue)
    error = None
    if details.round is not None and details.round not in likelier:
        error = ThresholdError.from_outcome(get_round(catalogue, details.round).outcome)
    return History(
        image=details,
        events=labels.history(catalogue, image_id),
        round_error=error,
        likelier_rounds=likelier,
    )
