"""Everything that ever happened to one image: what it is, where it lies, who said what."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from curator.base.text import path_text
from curator.catalogue import labels
from curator.catalogue.images import ImageDetails, find_named_image, image_details
from curator.catalogue.labels import HistoryEvent
from curator.catalogue.rounds import get_round
from curator.rounds.pool_error import ThresholdError
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """An image and every label event it has, oldest first.

    `round_error` is the estimated error of promoted labels in the round that promoted the image.
    """

    image: ImageDetails
    events: list[HistoryEvent]
    round_error: ThresholdError | None = None

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
        error = None if self.round_error is None else asdict(self.round_error)
        return {"image": image, "events": events, "round_error": error}


def history(workspace: Workspace, image: str) -> History:
    """The history of the image that `image` names: a path, or a SHA-256 or its beginning.

    Raises DataError if none or several match.
    """
    image_id = find_named_image(workspace.catalogue, image)
    details = image_details(workspace.catalogue, [image_id])[image_id]
    error = None
    if details.round is not None:
        error = ThresholdError.from_outcome(get_round(workspace.catalogue, details.round).outcome)
    return History(
        image=details,
        events=labels.history(workspace.catalogue, image_id),
        round_error=error,
    )
