"""Everything that ever happened to one image: what it is, where it lies, who said what."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from curator.catalogue import labels
from curator.catalogue.images import ImageDetails, find_image, image_details
from curator.catalogue.labels import HistoryEvent
from curator.errors import DataError
from curator.workflows.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """An image and every label event it has, oldest first."""

    image: ImageDetails
    events: list[HistoryEvent]


def history(workspace: Workspace, image: str) -> History:
    """The history of the image that `image` names: a path, or a SHA-256 or its beginning.

    Raises DataError if none or several match.
    """
    image_id = find_named_image(workspace, image)
    details = image_details(workspace.catalogue, [image_id]).get(image_id)
    if details is None:
        raise DataError(f"The image {image} is not in the catalogue any more.", "")
    return History(image=details, events=labels.history(workspace.catalogue, image_id))


def find_named_image(workspace: Workspace, image: str) -> int:
    """The id of the image that a person means by a path or the beginning of a SHA-256.

    A relative path is looked up from the current folder. Raises DataError if none or
    several match.
    """
    return find_image(workspace.catalogue, image, path=os.fsencode(Path(image).absolute()))
