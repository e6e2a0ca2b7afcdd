"""The pixels of an image for a screen: quickly, and what to say when there are none.

The preview that was stored when the image was added is enough for most screens and opens
in a millisecond; larger pictures and close looks come from the file, decoded at reduced
scale. Nothing here raises for a bad or missing file: the reason comes back instead, so
that a reviewer can skip it or set it aside. Safe to call from several threads.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass

from PIL import Image

from curator.base.vocabulary import Quarantine
from curator.imaging.opening import open_within, read_file, shrunk
from curator.imaging.problems import ImageProblem
from curator.review.cards import ImageCard
from curator.sources.addresses import is_url
from curator.sources.files import files_of
from curator.workspace import STATE_FOLDER, Workspace

WHOLE = 1 << 20
"""Larger than any image that is allowed in: no limit on width or height."""
NO_FILE = "no file is left at any known path"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPicture:
    """A picture for the screen, or why there is none.

    `pixels` is RGB. `reason` and `problem` are set when nothing can be shown; `remark`
    says what a viewer should know about what is shown.
    """

    pixels: Image.Image | None
    reason: Quarantine | None = None
    problem: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image: its centre and its width and height as shares of the whole."""

    x: float
    y: float
    share: float


EVERYTHING = Region(0.5, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class VisiblePart:
    """What of an image is seen, in its pixels, and the pixels of the screen for each of them."""

    left: float
    top: float
    width: float
    height: float
    scale: float


def visible_part(region: Region, image: tuple[int, int], room: tuple[int, int]) -> VisiblePart:
    """What fills a room of so many pixels of an image, at the region's scale."""
    scale = min(room[0] / image[0], room[1] / image[1]) / region.share
    width, height = min(image[0], room[0] / scale), min(image[1], room[1] / scale)
    left = min(max(region.x * image[0] - width / 2, 0), image[0] - width)
    top = min(max(region.y * image[1] - height / 2, 0), image[1] - height)
    return VisiblePart(left, top, width, height, scale)


class Pictures:
    """Opens pictures for one workspace. Call `close` when done."""

    def __init__(self, workspace: Workspace) -> None:
        from curator.storage.downloads import DownloadCache
        from curator.storage.previews import PreviewStore

        self._ingest = workspace.settings.ingest
        self._previews = PreviewStore(workspace.folder("previews"))
        self._downloads = DownloadCache(workspace.root / STATE_FOLDER / "cache")
        self._reading = threading.Lock()
        self._whole: tuple[int, Image.Image] | None = None

    def close(self) -> None:
        """Let go of the files."""
        self._previews.close()

    def shot(self, card: ImageCard, width: int, height: int) -> LoadedPicture:
        """The image within `width` by `height` pixels, never enlarged."""
        against = _against(card)
        preview = self._preview(card)
        if preview is not None and (against or _covers(preview, card, width, height)):
            remark = f"{against}; this is the stored preview" if against else ""
            return LoadedPicture(pixels=shrunk(preview, width, height), remark=remark)
        try:
            return LoadedPicture(
                pixels=open_within(self._read(card, against), width, height, self._ingest)
            )
        except ImageProblem as problem:
            return _instead(preview, problem, width, height)

    def whole(self, card: ImageCard) -> LoadedPicture:
        """Every pixel of the file itself; the preview, smaller and lossy, only where it is gone."""
        try:
            return LoadedPicture(pixels=self._open_whole(card))
        except ImageProblem as problem:
            return _instead(self._preview(card), problem, WHOLE, WHOLE)

    def close_up(
        self, card: ImageCard, region: Region, width: int, height: int, *, keep: bool = True
    ) -> LoadedPicture:
        """A part of the image from its own pixels; small ones are enlarged without blur.

        The whole image is kept for the next look at it, unless it is opened ahead.
        """
        try:
            whole = self._open_whole(card, keep=keep)
        except ImageProblem as problem:
            preview = self._preview(card)
            cropped = None if preview is None else _crop(preview, region, width, height)
            return _instead(cropped, problem, width, height)
        return LoadedPicture(pixels=_crop(whole, region, width, height))

    def _preview(self, card: ImageCard) -> Image.Image | None:
        if card.preview is None:
            return None
        with self._reading:
            data = self._previews.read(card.preview)
        if data is None:
            return None
        try:
            return open_within(data, WHOLE, WHOLE, self._ingest)
        except ImageProblem:  # a damaged cache; the file itself is asked next
            return None

    def _open_whole(self, card: ImageCard, *, keep: bool = True) -> Image.Image:
        last = self._whole
        if last is not None and last[0] == card.image_id:
            return last[1]
        whole = open_within(self._read(card, _against(card)), WHOLE, WHOLE, self._ingest)
        if keep:
            self._whole = (card.image_id, whole)
        return whole

    def _read(self, card: ImageCard, against: str) -> bytes:
        if card.file is None or against:
            raise ImageProblem(Quarantine.VANISHED, against or NO_FILE)
        if is_url(card.file.path):
            return self._downloads.read(card.file, self._ingest.max_bytes)
        return read_file(card.file.path, self._ingest.max_bytes)

    def local_path(self, card: ImageCard) -> bytes | None:
        """A file of this computer that holds the image, None if there is none.

        Raises ImageProblem if it lies on a server and cannot be downloaded.
        """
        if card.file is None or not is_url(card.file.path):
            return None if card.file is None else card.file.path
        self._downloads.read(card.file, self._ingest.max_bytes)
        path = self._downloads.path(card.file)
        return os.fsencode(path) if path.is_file() else None


def _instead(
    preview: Image.Image | None, problem: ImageProblem, width: int, height: int
) -> LoadedPicture:
    """The preview with a remark, else the reason."""
    if preview is None:
        return LoadedPicture(pixels=None, reason=problem.reason, problem=problem.detail)
    remark = f"{problem.detail}; this is the stored preview"
    return LoadedPicture(pixels=shrunk(preview, width, height), remark=remark)


def _covers(preview: Image.Image, card: ImageCard, width: int, height: int) -> bool:
    """Whether the file would not give more detail at this size than the preview."""
    whole = (card.width or 0, card.height or 0)
    scale = min(width / max(1, whole[0]), height / max(1, whole[1]), 1.0)
    return preview.width >= whole[0] * scale * 0.95 or preview.size == whole


def _against(card: ImageCard) -> str:
    """What speaks against taking the file for the image; empty if nothing does."""
    if card.file is None:
        return NO_FILE
    if is_url(card.file.path):
        return ""  # whatever is downloaded is compared with its SHA-256
    try:
        stamp = files_of(card.file.path).stamp(card.file.path)
        if (stamp.size, stamp.mtime_ns) == (card.file.size, card.file.mtime_ns):
            return ""
        # Another size is another image: it is not read, and what is no file is never waited on.
        same = stamp.size == card.file.size and _has_digest(card.file.path, card.sha256)
    except OSError as error:
        return f"the file cannot be read ({error.strerror})"
    return "" if same else "another image is there now: run `curator add` again"


def _has_digest(path: bytes, sha256: bytes) -> bool:
    with (
        files_of(path).opened(path) as descriptor,
        open(descriptor, "rb", closefd=False) as stream,
    ):
        return hashlib.file_digest(stream, "sha256").digest() == sha256


def _crop(whole: Image.Image, region: Region, width: int, height: int) -> Image.Image:
    """The part of `whole` that fills `width` by `height`, at the region's scale."""
    part = visible_part(region, whole.size, (width, height))
    target = (max(1, round(part.width * part.scale)), max(1, round(part.height * part.scale)))
    how = Image.Resampling.NEAREST if part.scale > 1 else Image.Resampling.BICUBIC
    box = (part.left, part.top, part.left + part.width, part.top + part.height)
    return whole.resize(target, how, box=box)
