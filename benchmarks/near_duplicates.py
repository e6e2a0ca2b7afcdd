"""Near-duplicates: which copies are found, and what is joined that should not be.

    python -m benchmarks.near_duplicates copies   # recall per kind of copy, and precision
    python -m benchmarks.near_duplicates camera   # parts from a fixed camera, and forms
    python -m benchmarks.near_duplicates garments [--images 70000]
    python -m benchmarks.near_duplicates cells [--sheet FILE]

`imagehash` is the 64-bit pHash of that library at 10 bits, where its author says that pictures
begin to differ, and at 5. A pair of `curator` is two pictures of one group.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance
from sklearn.datasets import load_sample_images

from benchmarks.report import machine
from curator.intake.inspection import encode_preview
from curator.intake.likeness import perceptual_hash, shrunk_for_comparing, signature
from curator.intake.near_duplicates import NearGroup, find_groups
from curator.settings.sections import DuplicatesSettings, IngestSettings
from tests.support import fashion

Picture = Image.Image
Change = Callable[[Picture], Picture]
RADII = (5, 10)
Row = dict[str, object]
"""A row of a printed table."""


@dataclass(frozen=True, slots=True)
class Described:
    """What pictures are grouped by, row by row."""

    sha256: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    signatures: NDArray[np.uint8]

    @classmethod
    def of(cls, pictures: Iterable[Picture]) -> Described:
        """Hash, pHash and signature of each picture; the number makes contents distinct."""
        ingest = IngestSettings()
        digests, hashes, signatures = [], [], []
        for number, picture in enumerate(pictures):
            content = number.to_bytes(8, "big") + picture.tobytes()
            digests.append(hashlib.sha256(content).digest())
            hashes.append(perceptual_hash(shrunk_for_comparing(picture)))
            # As `add` stores it and a pass over all images reads it.
            preview = encode_preview(picture, ingest.preview_size, ingest.preview_quality)
            assert preview is not None
            signatures.append(signature(Image.open(BytesIO(preview)).convert("RGB")))
        return cls(
            sha256=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
            hashes=np.array(hashes, np.uint64),
            signatures=np.frombuffer(b"".join(signatures), np.uint8).reshape(len(digests), -1),
        )

    def all_groups(self) -> list[NearGroup]:
        """The groups of any size."""
        return find_groups(
            self.sha256, self.hashes, self.signatures.__getitem__, DuplicatesSettings()
        )

    def groups(self) -> list[NearGroup]:
        """The groups that `add` makes; larger ones than allowed are dissolved."""
        limit = DuplicatesSettings().largest_group
        return [group for group in self.all_groups() if len(group.members) <= limit]


def saved(kind: str, quality: int) -> Change:
    """The picture written to a file of this kind and read again."""

    def change(picture: Picture) -> Picture:
        stream = BytesIO()
        picture.save(stream, kind, quality=quality)
        return Image.open(stream).convert("RGB")

    return change


def scaled(factor: float) -> Change:
    """The picture in another size."""

    def change(picture: Picture) -> Picture:
        size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
        return picture.resize(size, Image.Resampling.LANCZOS)

    return change


def cropped(left: float, top: float, right: float, bottom: float) -> Change:
    """The picture without these shares at its borders."""

    def change(picture: Picture) -> Picture:
        width, height = picture.size
        return picture.crop((
            round(left * width), round(top * height),
            width - round(right * width), height - round(bottom * height),
        ))  # fmt: skip

    return change


def _both(first: Change, second: Change) -> Change:
    return lambda picture: second(first(picture))


COPIES: dict[str, Change] = {
    "JPEG, quality 90": saved("JPEG", 90),
    "JPEG, quality 75": saved("JPEG", 75),
    "JPEG, quality 50": saved("JPEG", 50),
    "JPEG, quality 30": saved("JPEG", 30),
    "WebP, quality 80": saved("WEBP", 80),
    "WebP, quality 50": saved("WEBP", 50),
    "size x 0.3": scaled(0.3),
    "size x 0.5": scaled(0.5),
    "size x 0.75": scaled(0.75),
    "size x 2": scaled(2.0),
    "half the size, JPEG 75": _both(scaled(0.5), saved("JPEG", 75)),
    "brightness + 5%": lambda picture: ImageEnhance.Brightness(picture).enhance(1.05),
    "brightness + 10%": lambda picture: ImageEnhance.Brightness(picture).enhance(1.1),
    "contrast + 10%": lambda picture: ImageEnhance.Contrast(picture).enhance(1.1),
    "saturation + 20%": lambda picture: ImageEnhance.Color(picture).enhance(1.2),
    "cropped, 0.5% at each side": cropped(0.005, 0.005, 0.005, 0.005),
    "cropped, 1% at each side": cropped(0.01, 0.01, 0.01, 0.01),
    "cropped, 2% at each side": cropped(0.02, 0.02, 0.02, 0.02),
    "cropped, 2% at one side": cropped(0.02, 0, 0, 0),
    "cropped, 4% at one side": cropped(0, 0, 0, 0.04),
    "cropped 1%, JPEG 75": _both(cropped(0.01, 0.01, 0.01, 0.01), saved("JPEG", 75)),
}
"""Kinds of true copies."""


def pieces(count: int = 60) -> list[Picture]:
    """Parts of two photographs of different sizes and proportions."""
    generator = np.random.default_rng(5)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    parts = []
    for number in range(count):
        width, height = int(generator.integers(160, 420)), int(generator.integers(160, 400))
        left, top = (
            int(generator.integers(0, 640 - width)),
            int(generator.integers(0, 427 - height)),
        )
        parts.append(photographs[number % 2].crop((left, top, left + width, top + height)))
    return parts


def cells() -> tuple[list[Picture], NDArray[np.float64]]:
    """The 2,624 solar cells and how likely each is defective."""
    from elpv_dataset.utils import load_dataset

    pixels, defect, _ = load_dataset()
    return [Image.fromarray(part).convert("RGB") for part in pixels], defect


def part_shots(
    count: int, *, noise: float = 4, side: int = 14, depth: float = 255, shake: int = 0,
    quality: int = 0, light: float = 0, seed: int = 3,
) -> tuple[list[Picture], NDArray[np.int64]]:  # fmt: skip
    """One part by a fixed camera, every second time with a dark square of `side` pixels.

    300x300 pixels; `noise` is that of the sensor in grey levels, `shake` the largest shift in
    pixels, `light` the largest change of the exposure, `quality` that of JPEG, 0 for none.
    """
    generator = np.random.default_rng(seed)
    photograph = Image.fromarray(load_sample_images().images[0][90:410, 90:410]).convert("L")
    scene = np.asarray(photograph, np.float64)
    shots = []
    for number in range(count):
        down, across = generator.integers(-shake, shake + 1, 2) + 10
        shot = scene[down : down + 300, across : across + 300].copy()
        if number % 2:
            y, x = generator.integers(10, 290 - side, 2)
            shot[y : y + side, x : x + side] -= depth
        shot = shot.clip(0) * generator.uniform(1 - light, 1 + light)
        shot += generator.normal(0, noise, shot.shape)
        picture = Image.fromarray(shot.clip(0, 255).astype(np.uint8)).convert("RGB")
        shots.append(saved("JPEG", quality)(picture) if quality else picture)
    return shots, np.arange(count) % 2


DEFECTS = ("scratch", "spot", "chip", "missing hole")


def rendered_shots(
    count: int, defect: str, *, shake: int = 1, seed: int = 0
) -> tuple[list[Picture], NDArray[np.int64]]:
    """A plate with holes and ribs by a fixed camera, every second one with a defect.

    300x240 pixels, another plate for each seed, sensor noise 2, light +-5%, JPEG 85. The thresholds
    were not chosen on these. A defect is about 8 to 30 pixels long, a spot 7 wide.
    """
    generator = np.random.default_rng(seed)
    scale, width, height = 3, 320, 260
    face = tuple(int(level) for level in generator.integers(120, 200, 3))
    holes = [tuple(generator.uniform(0.2, 0.8, 2)) for _ in range(int(generator.integers(3, 8)))]
    ribs = generator.uniform(0.15, 0.85, int(generator.integers(2, 6)))
    grain = generator.normal(0, generator.uniform(0, 8), (height, 1, 1))

    def plate(kind: str) -> NDArray[np.float64]:
        page = Image.new("RGB", (width * scale, height * scale), (40, 42, 45))
        draw = ImageDraw.Draw(page)
        size = np.array([width, height]) * scale
        draw.rounded_rectangle((*(0.1 * size), *(0.9 * size)), 20 * scale, fill=face)
        for rib in ribs:
            x = rib * size[0]
            draw.line((x, 0.12 * size[1], x, 0.88 * size[1]), fill=(90, 90, 95), width=4 * scale)
        for number, (x, y) in enumerate(holes):
            if kind != "missing hole" or number:
                _disc(draw, np.array([x, y]) * size, 9 * scale, (25, 25, 25))
        at = generator.uniform(0.2, 0.8, 2) * size
        if kind == "scratch":
            end = at + generator.uniform(-30, 30, 2) * scale
            draw.line((*at, *end), fill=(230, 230, 235), width=2 * scale)
        elif kind == "spot":
            _disc(draw, at, 3.5 * scale, (110, 60, 30))
        elif kind == "chip":
            _disc(draw, np.array([at[0], 0.1 * size[1]]), 8 * scale, (40, 42, 45))
        small = page.resize((width, height), Image.Resampling.LANCZOS)
        return np.asarray(small, np.float64) + grain

    shots = []
    for number in range(count):
        scene = plate(defect if number % 2 else "sound")
        down, across = generator.integers(-shake, shake + 1, 2) + 10
        shot = scene[down : down + 240, across : across + 300] * generator.uniform(0.95, 1.05)
        shot += generator.normal(0, 2, (240, 300, 1))
        picture = Image.fromarray(shot.clip(0, 255).astype(np.uint8))
        shots.append(saved("JPEG", 85)(picture))
    return shots, np.arange(count) % 2


def _disc(
    draw: ImageDraw.ImageDraw,
    centre: NDArray[np.float64],
    radius: float,
    colour: tuple[int, int, int],
) -> None:
    draw.ellipse((*(centre - radius), *(centre + radius)), fill=colour)


def forms(count: int, seed: int = 1) -> list[Picture]:
    """Scans of one form, 800x1100, with different names, dates and amounts filled in."""
    generator = np.random.default_rng(seed)
    letters = list("abcdefghijklmnoprstuvwz")
    scans = []
    for _ in range(count):
        page = Image.new("RGB", (800, 1100), "white")
        draw = ImageDraw.Draw(page)
        draw.text((250, 60), "APPLICATION FORM", fill="black", font_size=32)
        for row in range(8):
            y = 180 + 100 * row
            draw.text((60, y), f"Question {row + 1}", fill="black", font_size=20)
            draw.rectangle((240, y - 10, 740, y + 40), outline="black", width=2)
            if row < 4:
                text = "".join(generator.choice(letters, int(generator.integers(5, 16))))
                draw.text((250, y), text.title(), fill=(20, 20, 120), font_size=22)
        pixels = np.asarray(page, np.float64) + generator.normal(0, 3, (1100, 800, 1))
        scans.append(saved("JPEG", 80)(Image.fromarray(pixels.clip(0, 255).astype(np.uint8))))
    return scans


def _library_hashes(pictures: Iterable[Picture]) -> NDArray[np.uint64]:
    return np.array([int(str(imagehash.phash(picture)), 16) for picture in pictures], np.uint64)


def _pairs(groups: Iterable[NearGroup]) -> Iterator[tuple[int, int]]:
    for group in groups:
        yield from combinations(sorted(group.members), 2)


def _pairs_within(hashes: NDArray[np.uint64], radius: int, classes: NDArray[np.generic]) -> str:
    """Pairs of hashes within a radius, and how many of them are of two classes."""
    count = across = 0
    for row in range(len(hashes) - 1):
        close = np.bitwise_count(hashes[row + 1 :] ^ hashes[row]) <= radius
        count += int(close.sum())
        across += int((close & (classes[row + 1 :] != classes[row])).sum())
    return f"{across:,} of {count:,}"


def _joined(groups: Sequence[NearGroup], classes: NDArray[np.generic]) -> str:
    pairs = list(_pairs(groups))
    across = sum(bool(classes[first] != classes[second]) for first, second in pairs)
    return f"{across:,} of {len(pairs):,}"


def measure_copies() -> list[Row]:
    """Each kind of copy beside its originals: found copies, and groups of two originals."""
    lines: list[Row] = []
    solar, _ = cells()
    for name, originals in (("photographs", pieces()), ("solar cells", solar[::44])):
        count = len(originals)
        wanted = _library_hashes(originals)
        for kind, change in COPIES.items():
            copies = [change(picture) for picture in originals]
            groups = Described.of([*originals, *copies]).groups()
            together = set(_pairs(groups))
            hit = sum((number, count + number) in together for number in range(count))
            wrong = sum((second - first) % count != 0 for first, second in together)
            bits = np.bitwise_count(wanted ^ _library_hashes(copies))
            line: Row = {"pictures": name, "copy": kind, "n": count, "found": hit / count}
            line |= {f"imagehash {radius}": float((bits <= radius).mean()) for radius in RADII}
            lines.append(line | {"wrong pairs": wrong})
    return lines


SHOTS: dict[str, dict[str, float]] = {
    "sensor noise 4": {},
    "no noise": {"noise": 0},
    "noise 2, JPEG 90": {"noise": 2, "quality": 90},
    "noise 2, JPEG 75, light +-5%": {"noise": 2, "quality": 75, "light": 0.05},
    "shake 1 pixel, noise 2, JPEG 90, light +-5%":
        {"noise": 2, "shake": 1, "quality": 90, "light": 0.05},
    "shake 2 pixels, noise 2, JPEG 90, light +-5%":
        {"noise": 2, "shake": 2, "quality": 90, "light": 0.05},
    "defect of 8 pixels, 100 levels": {"noise": 2, "side": 8, "depth": 100},
    "defect of 6 pixels, 60 levels": {"noise": 2, "side": 6, "depth": 60},
}  # fmt: skip


def measure_camera() -> list[Row]:
    """Pairs of a sound and a defective part, and of two defective ones, in one group."""
    lines: list[Row] = []
    for name, options in SHOTS.items():
        shots, classes = part_shots(120, **options)  # type: ignore[arg-type]
        lines.append(_camera_line(name, shots, classes))
    for seed, defect in enumerate(DEFECTS):
        shots, classes = rendered_shots(120, defect, seed=seed)
        lines.append(_camera_line(f"rendered plate {seed}, {defect}", shots, classes))
    scans = forms(120)
    lines.append(_camera_line("forms, each filled in otherwise", scans, np.arange(len(scans))))
    return lines


def _camera_line(name: str, shots: list[Picture], classes: NDArray[np.int64]) -> Row:
    described = Described.of(shots)
    found, groups = described.all_groups(), described.groups()
    hashes = _library_hashes(shots)
    line: Row = {"pictures": name, "n": len(shots), "found": len(found), "groups": len(groups)}
    line["largest found"] = max((len(group.members) for group in found), default=0)
    line["across classes, of pairs found"] = _joined(found, classes)
    line["across classes, of pairs"] = _joined(groups, classes)
    return line | {f"imagehash {r}": _pairs_within(hashes, r, classes) for r in RADII}


def measure_garments(count: int) -> list[Row]:
    """Fashion-MNIST: pairs across classes, seconds and memory of grouping."""
    parts = [fashion.load(part) for part in ("train", "t10k")]
    pixels = np.concatenate([part for part, _ in parts])[:count]
    classes = np.concatenate([labels for _, labels in parts])[:count]
    described = Described.of(Image.fromarray(part).convert("RGB") for part in pixels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    groups = described.groups()
    seconds = time.process_time() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    hashes = _library_hashes(Image.fromarray(part) for part in pixels[:10_000])
    line: Row = {"n": len(pixels), "groups": len(groups), "processor seconds": seconds}
    line |= {"MB": grown / 1024, "across classes, of pairs": _joined(groups, classes)}
    return [
        line
        | {
            f"imagehash {r}, first 10,000": _pairs_within(hashes, r, classes[:10_000])
            for r in RADII
        }
    ]


def measure_cells(sheet: Path | None) -> list[Row]:
    """Solar cells: which are joined; with a sheet, a picture of the pairs."""
    pictures, defect = cells()
    groups = Described.of(pictures).groups()
    hashes = _library_hashes(pictures)
    if sheet is not None:
        pairs = list(_pairs(groups))[:60]
        page = Image.new("RGB", (6 * 310, 160 * -(-len(pairs) // 6)), "white")
        for number, pair in enumerate(pairs):
            for place, row in enumerate(pair):
                corner = (number % 6 * 310 + place * 152, number // 6 * 160)
                page.paste(pictures[row].resize((150, 150)), corner)
        page.save(sheet)
    line: Row = {"n": len(pictures), "groups": len(groups)}
    line["across classes, of pairs"] = _joined(groups, defect > 0.5)
    return [line | {f"imagehash {r}": _pairs_within(hashes, r, defect > 0.5) for r in RADII}]


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("copies", "camera", "garments", "cells"))
    parser.add_argument("--images", type=int, default=70_000)
    parser.add_argument("--sheet", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.what == "copies":
        lines = measure_copies()
    elif arguments.what == "camera":
        lines = measure_camera()
    elif arguments.what == "garments":
        lines = measure_garments(arguments.images)
    else:
        lines = measure_cells(arguments.sheet)
    print("|", " | ".join(lines[0]), "|")
    print("|---" * len(lines[0]) + "|")
    for line in lines:
        cells = (
            f"{value:.3g}" if isinstance(value, float) else f"{value}" for value in line.values()
        )
        print("|", " | ".join(cells), "|")
    print(machine())


if __name__ == "__main__":
    main()
