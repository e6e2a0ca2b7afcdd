"""Finding the images that a file of the user names, by path or by SHA-256.

A path that does not start at the root is seen from the folder of the file, then from the
folder that the user is in. Links are followed only where the path as it is written leads
to nothing.
"""

# Names are bytes here, which pathlib does not take.
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from curator.base.paths import path_bytes
from curator.catalogue.engine import Catalogue
from curator.catalogue.images import find_by_paths, find_by_sha256, find_image

_AT_ONCE = 10_000


def images_by_sha256(catalogue: Catalogue, digests: Iterable[bytes]) -> dict[bytes, int]:
    """SHA-256 → image id of the images that are known."""
    return _in_chunks(set(digests), lambda some: find_by_sha256(catalogue, some))


def images_by_path(catalogue: Catalogue, names: Iterable[str], file: Path) -> dict[str, int]:
    """Path as written in `file` → image id of the images that are known."""
    raw = {name: path_bytes(name) for name in set(names)}
    raw = {name: path for name, path in raw.items() if b"\0" not in path}
    found: dict[str, int] = {}
    for follow in (os.path.normpath, os.path.realpath):
        for folder in (file.absolute().parent, Path.cwd()):
            start = os.fsencode(folder)
            absolute = {
                name: follow(os.path.join(start, path))  # noqa: PTH118 (bytes)
                for name, path in raw.items()
                if name not in found
            }
            images = _in_chunks(set(absolute.values()), lambda some: find_by_paths(catalogue, some))
            found |= {name: images[path] for name, path in absolute.items() if path in images}
    return found


def find_named_image(catalogue: Catalogue, image: str) -> int:
    """The id of the image that a person means by a path or the beginning of a SHA-256.

    A relative path is looked up from the current folder; a path as a manifest writes it
    is understood too. Raises DataError if none or several match.
    """
    path = os.path.join(os.fsencode(Path.cwd()), path_bytes(image))  # noqa: PTH118 (bytes)
    return find_image(catalogue, image, path=os.path.normpath(path))


def _in_chunks(
    keys: set[bytes], look_up: Callable[[list[bytes]], Mapping[bytes, int]]
) -> dict[bytes, int]:
    ordered = sorted(keys)
    found: dict[bytes, int] = {}
    for start in range(0, len(ordered), _AT_ONCE):
        found.update(look_up(ordered[start : start + _AT_ONCE]))
    return found
