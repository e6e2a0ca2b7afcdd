"""JPEGs that were cut off, also those that libjpeg would silently fill with grey.

libjpeg only warns when the compressed data end early, and Pillow does not listen. Here
the same decoder (libjpeg-turbo, the same pixels to the bit) runs with warnings as errors.
A warning about the end of the data means a cut file; others, such as a few bytes of junk
that many cameras write, are left to Pillow's judgement.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import simplejpeg
from PIL import Image

from curator.base.vocabulary import Quarantine
from curator.imaging.problems import ImageProblem

_COLOUR_SPACES = {"RGB": "RGB", "L": "GRAY"}
_END_OF_IMAGE, _START_OF_SCAN = b"\xff\xd9", b"\xff\xda"


def strict_jpeg(data: bytes, image: Image.Image, cover: int | None) -> Image.Image | None:
    """The pixels of a JPEG as RGB, or None where Pillow should decode it.

    `image` is the same file, opened by Pillow and not loaded. All compressed data are
    read; with `cover`, the picture is only rebuilt at the smallest scale in eighths whose
    longer side has at least that many pixels. Raises ImageProblem (`truncated`) if the
    compressed data end early.
    """
    space = _COLOUR_SPACES.get(image.mode)
    scale = 1.0 if cover is None else min(1.0, cover / max(image.size))
    try:
        if space is None:
            # Pillow's conversion of CMYK is the one to keep; this only looks for the end.
            simplejpeg.decode_jpeg(data, "CMYK", min_factor=8, strict=True)
            return None
        pixels = simplejpeg.decode_jpeg(
            data,
            space,
            fastdct=False,
            fastupsample=False,
            min_width=ceil(image.width * scale),
            min_height=ceil(image.height * scale),
            strict=True,
        )
    except ValueError as error:
        _refuse_cut(data, str(error))
        return None
    if space == "GRAY":
        return Image.fromarray(np.squeeze(pixels, axis=2)).convert("RGB")
    return Image.fromarray(pixels)


def _refuse_cut(data: bytes, warning: str) -> None:
    """Raise if the decoder's warning, or the missing end marker, tells of a cut file."""
    has_end = data.rfind(_END_OF_IMAGE) > data.rfind(_START_OF_SCAN)
    if "premature end" in warning.lower() or not has_end:
        raise ImageProblem(Quarantine.TRUNCATED, f"the JPEG data end early ({warning})")
