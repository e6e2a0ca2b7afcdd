"""Where stored previews lie; the pack files themselves belong to `pixels`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from curator.catalogue.engine import Catalogue
from curator.core.records import PreviewPlace


def preview_places(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, PreviewPlace]:
    """The preview of each image that has one."""
    raise NotImplementedError


def record_previews(catalogue: Catalogue, places: Mapping[int, PreviewPlace]) -> None:
    """Record previews that are on disk (image id → place); replaces former places."""
    raise NotImplementedError


def preview_ends(catalogue: Catalogue) -> dict[int, int]:
    """For each pack, the byte after its last recorded preview; beyond lies only waste."""
    raise NotImplementedError
