"""What the pixel pack is worth: epochs per second beside torchvision's `ImageFolder`.

    python -m benchmarks.pack [--images 1000] [--repeats 3]

An epoch here brings every image to float tensors in batches of 64, in a random order, with
a mirror and a shift, and trains nothing. `ImageFolder` under a `DataLoader` opens, resizes
and changes each file anew; the pack holds decoded squares and changes a batch in pieces.
Pictures are solar cells (300×300 PNG) and photographs made of them as JPEGs of 1,200
pixels, both read at 64 pixels. Files are read once beforehand, so that both find them in
the memory of the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.report import Line, median, print_report
from curator.base.values import ImageFile
from curator.classifiers.networks.batch_loading import Batch, loaded
from curator.classifiers.networks.training_set import epoch_batches, training_set
from curator.classifiers.networks.training_step import augmentation
from curator.settings.sections import IngestSettings, TrainingSettings
from curator.storage.pack import PackSpec, packed_row
from curator.storage.rows import RowReader, RowWriter

SIDE = 64
BATCH = 64
LARGE = 1200
RECIPE = TrainingSettings()


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, write in (("solar cells", _cells), ("photographs", _photographs)):
            root = write(Path(scratch) / name, arguments.images)
            lines += _measured(name, root, Path(scratch) / f"{name}-pack", arguments.repeats)
    print_report("pack", lines, {"images": arguments.images, "side": SIDE, "batch": BATCH})


def _measured(name: str, root: Path, folder: Path, repeats: int) -> list[Line]:
    files = _files(root)
    started = time.perf_counter()
    spec, cores = PackSpec(side=SIDE, channels=3), os.cpu_count() or 1
    row_of: Any = partial(packed_row, spec=spec, ingest=IngestSettings())
    with (
        ThreadPoolExecutor(cores) as pool,
        RowWriter(spec.row_file(folder), 0, np.empty(0, np.int64)) as writer,
    ):
        _, digests = writer.append(list(pool.map(row_of, files)))
    building = time.perf_counter() - started
    pack = RowReader(spec.row_file(folder), digests)
    packed = [_seconds(lambda: _from_pack(pack)) for _ in range(repeats)]
    lines = [
        Line(name=f"{name}: build the pack", median=building, unit="s", n=1),
        _epochs(f"{name}: pack", packed, packed),
    ]
    for workers in (0, 2):
        read = [_seconds(lambda: _from_folder(root, workers)) for _ in range(repeats)]  # noqa: B023
        told = f"{name}: ImageFolder, {workers} workers"
        lines.append(_epochs(told, read, packed))
        saved = median(read) - median(packed)
        lines.append(
            Line(name=f"{told}: epochs until the pack has paid", median=building / saved,
                 unit="epochs", n=repeats)
        )  # fmt: skip
    return lines


def _epochs(name: str, seconds: list[float], beside: list[float]) -> Line:
    return Line(
        name=name,
        median=1 / median(seconds),
        unit="epochs/s",
        n=len(seconds),
        ratio=median(seconds) / median(beside),
        beside="times the seconds of the pack",
    )


def _seconds(work: Callable[[], int]) -> float:
    started = time.perf_counter()
    assert work() > 0
    return time.perf_counter() - started


def _from_pack(pack: RowReader) -> int:
    """An epoch as training reads it."""
    rows = np.arange(pack.rows)
    data = training_set(rows, rows % 2 == 0, balanced=True, pseudo_share=0.0, human_share=0.5)
    augment, seen = augmentation(RECIPE, 3), 0
    batches = (
        Batch(positions, positions)
        for positions in epoch_batches(data, BATCH, 0.5, seed=0, epoch=0)
    )
    for _, images in loaded(batches, pack, "cpu"):
        seen += len(augment(images))
    return seen


def _from_folder(root: Path, workers: int) -> int:
    """An epoch as torchvision's own tutorials read it."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    shift = (RECIPE.shift, RECIPE.shift)
    transform: Any = v2.Compose(
        [
            v2.Resize((SIDE, SIDE), antialias=True),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomAffine(
                0, translate=shift, interpolation=v2.InterpolationMode.BILINEAR, fill=0.5
            ),
        ]
    )
    loader: Iterable[Any] = DataLoader(
        ImageFolder(str(root), transform), batch_size=BATCH, shuffle=True, num_workers=workers
    )
    return sum(len(images) for images, _ in loader)


def _files(root: Path) -> list[ImageFile]:
    found = []
    for number, path in enumerate(sorted(root.rglob("*.*")), 1):
        content, state = path.read_bytes(), path.stat()
        found.append(
            ImageFile(
                image_id=number,
                sha256=hashlib.sha256(content).digest(),
                path=os.fsencode(path),
                size=state.st_size,
                mtime_ns=state.st_mtime_ns,
            )
        )
    return found


def _cells(root: Path, count: int) -> Path:
    """The dataset's own files, in two folders."""
    from importlib import resources

    data = Path(str(resources.files("elpv_dataset"))) / "data" / "images"
    for number, path in enumerate(sorted(data.glob("*.png"))[:count]):
        target = root / str(number % 2) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return root


def _photographs(root: Path, count: int) -> Path:
    """Cells enlarged and coloured, a fifth as many, as cameras would store them."""
    _cells(root, count // 5)
    for path in sorted(root.rglob("*.png")):
        with Image.open(path) as picture:
            large = picture.convert("RGB").resize((LARGE, LARGE), Image.Resampling.BICUBIC)
        large.save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
    return root


if __name__ == "__main__":
    main()
