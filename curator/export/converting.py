"""Images that the readers of a format do not decode, converted for them where that is asked for.

HEIC, AVIF and QOI are whole images to curator and to nobody's loader: torchvision and
WebDataset go by the suffix, `datasets` by what Pillow reads without a plug-in. A converted image is
upright and RGB, in the size of the original; its row keeps the SHA-256 of the original file.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from io import BytesIO

from curator.base.vocabulary import Quarantine
from curator.errors import UsageError
from curator.export.formats import Format
from curator.export.layouts import TORCHVISION_READS, suffix_of
from curator.export.placing import Trouble
from curator.export.rows import ExportFile
from curator.imaging.opening import decode_whole, read_file
from curator.imaging.problems import ImageProblem
from curator.settings.sections import IngestSettings

_PILLOW_READS = frozenset(
    {".bmp", ".gif", ".ico", ".jp2", ".jpg", ".pcx", ".png", ".ppm", ".tga", ".tif", ".webp"}
)
"""What both `datasets` and `webdataset` hand to Pillow, of the suffixes that an export gives."""

_BROWSERS_SHOW = frozenset({".avif", ".bmp", ".gif", ".ico", ".jpg", ".png", ".webp"})

READERS = {
    Format.IMAGEFOLDER: ("torchvision's ImageFolder", frozenset(TORCHVISION_READS)),
    Format.HUGGINGFACE: ("datasets", _PILLOW_READS),
    Format.WEBDATASET: ("webdataset", _PILLOW_READS),
    Format.CROISSANT: ("mlcroissant", _PILLOW_READS),
    Format.FIFTYONE: ("the App of FiftyOne, a browser,", _BROWSERS_SHOW),
}
"""Format → the library that reads it, and the suffixes that this decodes."""


class ImageTarget(StrEnum):
    """What images are converted to, as `--convert` names it."""

    PNG = "png"
    JPEG = "jpeg"


def image_target(name: str | None) -> ImageTarget | None:
    """The target that `--convert` names. Raises UsageError if there is none of that name."""
    if name is None:
        return None
    try:
        return ImageTarget(name.lower())
    except ValueError:
        raise UsageError(
            f"Images cannot be converted to `{name}`.", f"Choose one of {', '.join(ImageTarget)}."
        ) from None


def is_read(format: Format, file: ExportFile) -> bool:
    """Whether the usual reader of `format` decodes the file as it is."""
    return suffix_of(file.format) in READERS[format][1]


def with_target(file: ExportFile, format: Format, target: ImageTarget | None) -> ExportFile:
    """The file as it is to be in the export: of another format if it has to be converted."""
    if target is None or is_read(format, file):
        return file
    return file._replace(format=target.name, converted_from=file.format or "")


def converted(file: ExportFile, path: bytes, ingest: IngestSettings) -> bytes | Trouble:
    """The image at `path`, one of the file's, in the format of the export; or why it cannot be."""
    try:
        data = read_file(path, ingest.max_bytes)
        if hashlib.sha256(data).hexdigest() != file.row.sha256:
            return Trouble.CHANGED
        pixels = decode_whole(data, ingest).pixels
    except ImageProblem as problem:
        return Trouble.VANISHED if problem.reason is Quarantine.VANISHED else Trouble.UNREADABLE
    stream = BytesIO()
    options = {"quality": 95} if file.format == ImageTarget.JPEG.name else {}
    pixels.save(stream, format=file.format, **options)
    return stream.getvalue()
