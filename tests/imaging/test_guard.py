"""Pillow's process-wide settings are ours only while an image is open."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from PIL import Image, ImageFile

from curator.imaging.guard import pillow_guard, readable_formats
from curator.imaging.opening import decode_whole
from curator.imaging.problems import ImageProblem
from curator.settings.sections import IngestSettings
from tests.imaging.pictures import encode, photograph


def test_the_settings_are_back_after_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    filters = list(warnings.filters)
    data = encode(photograph(), "JPEG")
    with ThreadPoolExecutor(8) as pool:
        widths = set(pool.map(lambda _: decode_whole(data, IngestSettings()).width, range(200)))
    assert widths == {96}
    assert Image.MAX_IMAGE_PIXELS == 12345
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert list(warnings.filters) == filters


def test_the_guard_holds_until_the_last_thread_leaves() -> None:
    before = Image.MAX_IMAGE_PIXELS
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with pillow_guard(1000):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    with pillow_guard(4000):
        assert Image.MAX_IMAGE_PIXELS == 2000
    assert before != Image.MAX_IMAGE_PIXELS
    leave.set()
    thread.join()
    assert before == Image.MAX_IMAGE_PIXELS


def test_leniency_with_cut_files_is_off_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(photograph(), "BMP")
    with pytest.raises(ImageProblem):
        decode_whole(data[:-500], IngestSettings())


def test_warnings_of_pillow_neither_show_nor_raise() -> None:
    picture = photograph().quantize()
    picture.info["transparency"] = bytes(range(256))
    noisy = encode(picture, "PNG", transparency=bytes([0] * 10 + [255] * 246))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open(BytesIO(noisy)) as opened:
            opened.load()
            opened.convert("RGB")
    assert caught, "this file no longer makes Pillow warn: find another one"
    code = (
        "import sys\n"
        "from curator.imaging.opening import decode_whole\n"
        "from curator.settings.sections import IngestSettings\n"
        "print(decode_whole(sys.stdin.buffer.read(), IngestSettings()).width)\n"
    )
    for action in ("always", "error"):
        answer = subprocess.run(
            [sys.executable, "-W", action, "-c", code],
            input=noisy, capture_output=True, check=True,
        )  # fmt: skip
        assert (answer.stdout, answer.stderr) == (b"96\n", b"")


def test_warnings_of_others_are_not_silenced() -> None:
    with pillow_guard(1000), pytest.warns(UserWarning, match="not of Pillow"):
        warnings.warn("not of Pillow", stacklevel=1)


def test_formats_that_need_other_programs_are_left_out() -> None:
    assert not {"EPS", "WMF", "MPEG", "HDF5"} & set(readable_formats())
    assert {"JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"} <= set(readable_formats())
