"""One file, one pass: what it is, or why it cannot be used."""

from __future__ import annotations

import hashlib
import os
import tempfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from curator.base.values import FileStamp, InspectedFile
from curator.base.vocabulary import Quarantine
from curator.imaging.problems import ImageProblem
from curator.intake import inspection
from curator.intake.inspection import inspect_file
from curator.settings.sections import IngestSettings
from tests.imaging.pictures import encode, photograph, png_claiming
from tests.intake.conftest import Save
from tests.intake.nobody import as_nobody

INGEST = IngestSettings(preview_size=40, preview_quality=80)


def look(path: Path, ingest: IngestSettings = INGEST) -> InspectedFile:
    stamp = FileStamp(path=os.fsencode(path.name), size=0, mtime_ns=0)
    return inspect_file(os.fsencode(path.parent), stamp, ingest)


def test_everything_comes_from_one_pass(save: Save) -> None:
    path = save("a.jpg")
    file = look(path)
    status = path.stat()
    assert file.stamp == FileStamp(path=b"a.jpg", size=status.st_size, mtime_ns=status.st_mtime_ns)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).digest()
    assert (file.width, file.height, file.format, file.mode) == (96, 64, "JPEG", "RGB")
    assert file.quarantine is None
    assert file.perceptual_hash is not None
    assert 0 <= file.perceptual_hash < 2**64
    assert file.preview is not None
    with Image.open(BytesIO(file.preview)) as preview:
        assert (preview.format, preview.size) == ("JPEG", (40, 27))


def test_previews_can_be_left_out_and_are_never_larger_than_the_picture(save: Save) -> None:
    path = save("a.png")
    none = IngestSettings(preview_size=0, preview_quality=80)
    large = IngestSettings(preview_size=4000, preview_quality=80)
    assert look(path, none).preview is None
    with Image.open(BytesIO(look(path, large).preview or b"")) as preview:
        assert preview.size == (96, 64)


def test_the_extension_means_nothing(pictures: Path) -> None:
    (pictures / "a.txt").write_bytes(encode(photograph(), "PNG"))
    (pictures / "b.jpg").write_text("no picture\n")
    assert look(pictures / "a.txt").format == "PNG"
    assert look(pictures / "b.jpg").quarantine is Quarantine.NOT_AN_IMAGE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Quarantine.EMPTY),
        (b"words", Quarantine.NOT_AN_IMAGE),
        (os.urandom(300_000), Quarantine.NOT_AN_IMAGE),
        (encode(photograph(), "JPEG")[:-40], Quarantine.TRUNCATED),
        (png_claiming(30_000, 30_000), Quarantine.TOO_LARGE),
    ],
)
def test_an_unusable_file_keeps_its_identity(
    pictures: Path, content: bytes, reason: Quarantine
) -> None:
    (pictures / "x").write_bytes(content)
    file = look(pictures / "x")
    assert file.quarantine is reason
    assert file.detail
    assert file.sha256 == hashlib.sha256(content).digest()
    assert (file.preview, file.perceptual_hash) == (None, None)


def test_a_file_over_the_limit_is_not_read(pictures: Path) -> None:
    with (pictures / "huge").open("wb") as stream:
        stream.truncate(3_000_000_000)
    file = look(pictures / "huge")
    assert (file.quarantine, file.sha256, file.stamp.size) == (
        Quarantine.TOO_LARGE, None, 3_000_000_000,
    )  # fmt: skip


def test_a_large_file_that_is_no_image_is_hashed_without_being_held(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(30_000_000)
    (pictures / "video").write_bytes(b"\0\0\1\xba" + content)
    held: list[bool] = []
    read = inspection._read

    def spy(descriptor: int, size: int) -> tuple[bytes, int, bytes | ImageProblem]:
        answer = read(descriptor, size)
        held.append(isinstance(answer[2], bytes))
        return answer

    monkeypatch.setattr(inspection, "_read", spy)
    file = look(pictures / "video")
    assert (file.quarantine, file.detail) == (Quarantine.NOT_AN_IMAGE, "a video (MPEG)")
    assert file.sha256 == hashlib.sha256(b"\0\0\1\xba" + content).digest()
    assert held == [False]


def test_what_vanished_is_vanished_and_a_link_to_nothing_unreadable(pictures: Path) -> None:
    (pictures / "link").symlink_to(pictures / "nothing")
    assert look(pictures / "gone").quarantine is Quarantine.VANISHED
    assert look(pictures / "link").quarantine is Quarantine.UNREADABLE


def test_a_pipe_that_took_the_place_of_a_file_does_not_hang(pictures: Path) -> None:
    os.mkfifo(pictures / "a.jpg")
    assert look(pictures / "a.jpg").quarantine is Quarantine.UNREADABLE


def test_a_file_without_the_right_to_read_is_unreadable() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "secret.png"
        path.write_bytes(encode(photograph(), "PNG"))
        path.chmod(0)
        assert as_nobody(lambda: look(path).quarantine) is Quarantine.UNREADABLE


def meddle(
    monkeypatch: pytest.MonkeyPatch, path: Path, times: int, *, keep_size: bool = False
) -> None:
    """Let somebody write to `path` while it is being read, the first `times` times."""
    read = inspection._read
    left = times

    def write_then_read(descriptor: int, size: int) -> tuple[bytes, int, bytes | ImageProblem]:
        nonlocal left
        answer = read(descriptor, size)
        if left:
            left -= 1
            if keep_size:
                os.utime(path, ns=(1, 1000 + left))
            else:
                with path.open("ab") as stream:
                    stream.write(b"more")
        return answer

    monkeypatch.setattr(inspection, "_read", write_then_read)
    monkeypatch.setattr(inspection, "_PAUSE_SECONDS", 0.001)


@pytest.mark.parametrize("keep_size", [True, False])
def test_a_file_that_comes_to_rest_is_taken_as_it_is_then(
    save: Save, monkeypatch: pytest.MonkeyPatch, keep_size: bool
) -> None:
    path = save("a.jpg")
    meddle(monkeypatch, path, times=2, keep_size=keep_size)
    file = look(path)
    assert file.quarantine is None
    assert file.sha256 == hashlib.sha256(path.read_bytes()).digest()
    assert file.stamp.mtime_ns == path.stat().st_mtime_ns


def test_a_file_that_never_rests_is_given_up_as_changing(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save("a.jpg")
    meddle(monkeypatch, path, times=99)
    file = look(path)
    assert (file.quarantine, file.sha256) == (Quarantine.CHANGING, None)


def test_a_grey_picture_with_alpha_has_hash_and_preview(pictures: Path) -> None:
    (pictures / "a.png").write_bytes(encode(photograph().convert("LA"), "PNG"))
    file = look(pictures / "a.png")
    assert (file.quarantine, file.mode) == (None, "LA")
    assert file.preview
