"""Reading images for an encoder judges files as `add` does."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.base.vocabulary import Quarantine
from curator.classifiers.encoders.pipeline import PixelLoader
from curator.imaging.opening import decode_whole
from curator.imaging.problems import ImageProblem, Unreadable
from curator.settings.sections import IngestSettings

INGEST = IngestSettings(max_pixels=10_000, max_bytes=100_000, background="#ffffff")
LOADER = PixelLoader(side=8, fit="squash", ingest=INGEST)


@pytest.mark.parametrize(("file_format", "cut"), [("PNG", 12), ("JPEG", 2)])
def test_a_file_without_its_end_is_truncated_outside_the_catalogue_too(
    tmp_path: Path, file_format: str, cut: int
) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 20, 200)).save(stream, file_format)
    whole, path = stream.getvalue(), tmp_path / "picture"
    path.write_bytes(whole)
    assert isinstance(LOADER.load_path(os.fsencode(path)), np.ndarray)
    path.write_bytes(whole[:-cut])
    with pytest.raises(ImageProblem) as refused:
        decode_whole(whole[:-cut], INGEST)
    found = LOADER.load_path(os.fsencode(path))
    assert isinstance(found, Unreadable)
    assert found.reason is refused.value.reason is Quarantine.TRUNCATED
