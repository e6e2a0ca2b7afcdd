"""Everything that a catalogue says about images and labels, for comparison."""

from __future__ import annotations

import os
from typing import Any

from curator.catalogue.files import walk_locations
from curator.catalogue.groups import groups_of
from curator.catalogue.images import image_details
from curator.catalogue.labels import history
from curator.catalogue.sources import list_sources
from curator.workspace import Workspace


def catalogued(workspace: Workspace) -> dict[str, Any]:
    """Locations, images with their ids, labels and groups; nothing that depends on the hour."""
    catalogue = workspace.catalogue
    locations = [
        (source.name, file.path, file.size, file.mtime_ns, file.state, file.image_id)
        for source in list_sources(catalogue)
        for file in walk_locations(catalogue, source.source_id)
    ]
    ids = sorted({row[-1] for row in locations if row[-1] is not None})
    details = image_details(catalogue, ids)
    images = [
        (image_id, found.sha256, found.width, found.quarantine, found.standing, found.unit_key,
         found.split)
        for image_id, found in sorted(details.items())
    ]  # fmt: skip
    labels = [
        (image_id, event.kind, event.label, event.origin)
        for image_id in ids
        for event in history(catalogue, image_id)
    ]
    groups = sorted(
        (image_id, mate.name, mate.primary)
        for image_id, mates in groups_of(catalogue, ids).items()
        for mate in mates
    )
    return {
        "locations": [(os.fsdecode(row[1]), *row) for row in locations],
        "images": images,
        "labels": labels,
        "groups": groups,
    }
