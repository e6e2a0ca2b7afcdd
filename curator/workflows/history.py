"""Everything that ever happened to one image: what it is, where it lies, who said what."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curator.catalogue import labels
from curator.catalogue.images import ImageDetails, find_image, image_details
from curator.catalogue.labels import HistoryEvent
from curator.export.paths import path_bytes, path_text
from curator.workflows.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """An image and every label event it has, oldest first."""

    image: ImageDetails
    events: list[HistoryEvent]

    def as_json(self) -> dict[str, Any]:
        """The content of `curator history --json`; paths are written as in a manifest."""
        image = asdict(self.image)
        image["sha256"] = self.image.sha256.hex()
        for place in image["places"]:
            place["path"] = path_text(place["path"])
        return {"image": image, "events": [asdict(event) for event in self.events]}


def history(workspace: Workspace, image: str) -> History:
    """The history of the image that `image` names: a path, or a SHA-256 or its beginning.

    Raises DataError if none or several match.
    """
    image_id = find_named_image(workspace, image)
    return History(
        image=image_details(workspace.catalogue, [image_id])[image_id],
        events=labels.history(workspace.catalogue, image_id),
    )


def find_named_image(workspace: Workspace, image: str) -> int:
    """The id of the image that a person means by a path or the beginning of a SHA-256.

    A relative path is looked up from the current folder; a path as a manifest writes it
    is understood too. Raises DataError if none or several match.
    """
    path = os.path.join(os.fsencode(Path.cwd()), path_bytes(image))  # noqa: PTH118 (bytes)
    return find_image(workspace.catalogue, image, path=os.path.normpath(path))
