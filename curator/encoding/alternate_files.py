"""Images whose file cannot be read: other files of theirs, and sources that are missing.

An image may have several files, so all of them are tried before it goes to quarantine. If
the folder of a source is missing or cannot be listed, the run stops and says so, instead
of sending a whole dataset to quarantine because a disk is not mounted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from curator.base.values import ImageFile
from curator.base.vocabulary import LocationState, Quarantine
from curator.catalogue.engine import Catalogue
from curator.catalogue.images import image_details
from curator.catalogue.pool import pool_size
from curator.catalogue.sources import list_sources
from curator.classifiers.encoders.encoder import Encoder
from curator.classifiers.encoders.pipeline import EncodedChunk, PixelLoader, encode_chunk
from curator.encoding.nodes import check_host
from curator.errors import DataError
from curator.imaging.problems import Unreadable
from curator.sources.addresses import is_url
from curator.sources.files import check_folder


def check_pool(catalogue: Catalogue) -> None:
    """Raise DataError if there is no usable image."""
    if pool_size(catalogue) == 0:
        raise DataError(
            "There are no usable images in this workspace.",
            "Add some with `curator add FOLDER`.",
        )


def alternate_files(catalogue: Catalogue, files: Sequence[ImageFile]) -> dict[int, list[ImageFile]]:
    """By image id, the other files of these images that may still hold them."""
    details = image_details(catalogue, [file.image_id for file in files])
    return {
        file.image_id: [
            # No file has this size, so its reader compares the SHA-256 of the bytes.
            ImageFile(
                image_id=file.image_id,
                sha256=details[file.image_id].sha256,
                path=location.path,
                size=-1,
                mtime_ns=0,
            )
            for location in details[file.image_id].locations
            if location.path != file.path and location.state is not LocationState.CHANGED
        ]
        for file in files
    }


def with_alternate_files(
    catalogue: Catalogue, encoder: Encoder, loader: PixelLoader, chunk: EncodedChunk[ImageFile]
) -> EncodedChunk[ImageFile]:
    """The chunk with the features of those images that another of their files could give."""
    if not chunk.problems:
        return chunk
    problems = dict(chunk.problems)
    check_host(
        chunk.host,
        loader.ingest.max_bytes,
        [(chunk.items[position], problem) for position, problem in problems.items()],
    )
    features, captured = chunk.features.copy(), chunk.captured.copy()
    alternates = alternate_files(catalogue, [chunk.items[position] for position in problems])
    for position in chunk.problems:
        for file in alternates[chunk.items[position].image_id]:
            pixels = loader.load_file(file)
            if not isinstance(pixels, Unreadable):
                encoded = encode_chunk(
                    encoder.engine, [pixels], lambda square: square, encoder.finish
                )
                features[position] = encoded.features[0]
                captured[position] = encoded.captured[0]
                del problems[position]
                break
    return replace(chunk, features=features, captured=captured, problems=problems)


def check_sources(catalogue: Catalogue, unreadable: Iterable[tuple[bytes, Unreadable]]) -> None:
    """Raise DataError if files (path, problem) are unreadable because of their source's folder."""
    paths = [
        path
        for path, problem in unreadable
        if problem.reason in (Quarantine.VANISHED, Quarantine.UNREADABLE)
    ]
    if not paths:
        return
    for source in list_sources(catalogue):
        prefix = source.root.rstrip(b"/") + b"/"
        if not any(path.startswith(prefix) for path in paths):
            continue
        folder = f"The folder of the source `{source.name}`, {os.fsdecode(source.root)},"
        if is_url(source.root):
            check_folder(source.root)
            continue
        relocate = f"or say where it is now: `curator relocate {source.name} FOLDER`."
        try:
            with os.scandir(source.root) as entries:
                is_empty = next(entries, None) is None
        except PermissionError as error:
            problem = f"{folder} cannot be listed: {error.strerror}."
            raise DataError(problem, f"Get read access to it, {relocate}") from error
        except OSError:
            is_empty = True
        if is_empty:
            raise DataError(f"{folder} is missing or empty.", f"Mount it, {relocate}")
