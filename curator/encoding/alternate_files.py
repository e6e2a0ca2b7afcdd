"""What to do about an image that could not be read where it was expected.

One image may have several files, so all of them are tried before it counts as lost. A
folder that is not there at all is no fault of its images: then the run stops and says
so, instead of sending a whole dataset to quarantine because a disk is not mounted.
"""

from __future__ import annotations

import os
from dataclasses import replace

from curator.base.values import ImageFile
from curator.base.vocabulary import LocationState, Quarantine
from curator.catalogue.images import ImageDetails, image_details
from curator.catalogue.sources import list_sources
from curator.classifiers.encoders.encoder import Encoder
from curator.classifiers.encoders.engine import Pixels
from curator.classifiers.encoders.loading import PixelLoader
from curator.classifiers.encoders.pipeline import EncodedChunk, Unreadable, encode_chunk
from curator.errors import DataError
from curator.workspace import Workspace


def rescued(
    workspace: Workspace, encoder: Encoder, loader: PixelLoader, chunk: EncodedChunk[ImageFile]
) -> EncodedChunk[ImageFile]:
    """The chunk with the features of those images that another of their files could give."""
    if not chunk.problems:
        return chunk
    details = image_details(workspace.catalogue, [chunk.items[i].image_id for i in chunk.problems])
    features, problems = chunk.features.copy(), dict(chunk.problems)
    for position in chunk.problems:
        file = chunk.items[position]
        pixels = _from_elsewhere(details[file.image_id], file, loader)
        if pixels is not None:
            found = encode_chunk(encoder.engine, [pixels], lambda given: given)
            features[position] = found.features[0]
            del problems[position]
    return replace(chunk, features=features, problems=problems)


def _from_elsewhere(details: ImageDetails, tried: ImageFile, loader: PixelLoader) -> Pixels | None:
    for place in details.places:
        if place.path == tried.path or place.state is LocationState.CHANGED:
            continue
        # A size that no file has makes the loader compare the bytes themselves.
        file = ImageFile(
            image_id=details.image_id,
            sha256=details.sha256,
            path=place.path,
            size=-1,
            mtime_ns=0,
        )
        pixels = loader.load_file(file)
        if not isinstance(pixels, Unreadable):
            return pixels
    return None


def check_sources(workspace: Workspace, chunk: EncodedChunk[ImageFile]) -> None:
    """Raise DataError if files vanished because the folder of their source is not there."""
    vanished = [
        chunk.items[position].path
        for position, problem in chunk.problems.items()
        if problem.reason is Quarantine.VANISHED
    ]
    if not vanished:
        return
    for source in list_sources(workspace.catalogue):
        inside = source.root.rstrip(b"/") + b"/"
        if any(path.startswith(inside) for path in vanished) and _is_gone(source.root):
            raise DataError(
                f"The folder of the source `{source.name}`, {os.fsdecode(source.root)}, "
                "is missing or empty.",
                f"Mount it, or say where it is now: `curator relocate {source.name} FOLDER`.",
            )


def _is_gone(root: bytes) -> bool:
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except OSError:
        return True
