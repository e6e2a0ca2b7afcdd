"""Encoding JPEGs: decoding alone, forward alone, the whole pipeline, and a plain loop beside it.

    python -m benchmarks.encoding [--images 512] [--repeats 3] [--sizes 224 1024] [--batch 32]

The pictures are crops of real photographs, saved as JPEG. The pipeline reads, decodes,
infers and brings features to the disk; what decoding and inference alone allow on the
same cores is 1 / (1 / decode + 1 / forward). The plain loop is torchvision's
`ImageFolder`, a `DataLoader` with one process per core and the same timm model in eager
float32. All of it is measured in turn in each repeat; ratios are medians over repeats.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import Line, median, print_report
from curator.base.arrays import PixelArray
from curator.classifiers.devices import core_count
from curator.classifiers.encoders.encoder import Encoder, open_encoder
from curator.classifiers.encoders.pipeline import PixelLoader
from curator.classifiers.encoders.projection import fit_projection
from curator.settings.sections import ClassifierSettings, IngestSettings, RuntimeSettings
from curator.storage.rows import RowFile, RowWriter
from tests.classifiers.encoders.cases import PHOTOGRAPHS

SIDE = 224
QUALITY = 90


@dataclass(frozen=True, slots=True)
class Rates:
    """Images per second in one repeat."""

    decode: float
    forward: float
    pipeline: float
    plain: float

    @property
    def allowed(self) -> float:
        """What decoding and inference allow when they share the cores."""
        return 1 / (1 / self.decode + 1 / self.forward)


def main() -> None:
    """Measure, print a table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 1024])
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    lines: list[Line] = []
    with (
        tempfile.TemporaryDirectory(prefix="curator-bench-") as name,
        open_encoder(
            ClassifierSettings(),
            RuntimeSettings(batch_size=arguments.batch),
            image_size=SIDE,
            cache_folder=Path(name, "networks"),
        ) as opened,
    ):
        # The projection costs the same whatever it was fitted on.
        noise = np.random.default_rng(0).normal(size=(600, sum(opened.groups)))
        encoder = opened.projected(fit_projection(noise.astype(np.float32), opened.groups))
        for size in arguments.sizes:
            folder = Path(name, str(size))
            paths = make_pictures(folder, arguments.images, size)
            measured = []
            for number in range(arguments.repeats):
                measured.append(one_repeat(encoder, folder, paths))
                print(f"{size} pixels, repeat {number + 1}: {measured[-1]}", file=sys.stderr)
            lines += table_lines(size, measured, mean_kilobytes(paths))
        details = {
            "images": arguments.images,
            "workers": encoder.workers,
            "batch": arguments.batch,
            "encoder": encoder.identity.model,
            "device": encoder.identity.device,
            "backend": encoder.identity.backend,
            "precision": encoder.identity.precision,
        }
    print_report("encoding", lines, details)


def make_pictures(folder: Path, count: int, size: int) -> list[Path]:
    """Write `count` square JPEGs of `size` pixels, random crops of real photographs."""
    rng = np.random.default_rng(size)
    photographs = [Image.open(path).convert("RGB") for path in PHOTOGRAPHS]
    inner = folder / "pictures"
    inner.mkdir(parents=True)
    paths = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = int(rng.uniform(0.5, 1.0) * min(photograph.size))
        left = int(rng.uniform(0, photograph.width - side))
        top = int(rng.uniform(0, photograph.height - side))
        crop = photograph.resize(
            (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
        paths.append(inner / f"{number:06d}.jpg")
        crop.save(paths[-1], quality=QUALITY)
    return paths


def mean_kilobytes(paths: Sequence[Path]) -> float:
    """Mean size of the files."""
    return sum(path.stat().st_size for path in paths) / len(paths) / 1_000


def one_repeat(encoder: Encoder, folder: Path, paths: list[Path]) -> Rates:
    """Measure all four, one after the other."""
    loader = PixelLoader(side=SIDE, fit="squash", ingest=IngestSettings())
    count = len(paths)
    return Rates(
        decode=count / seconds(lambda: decode_alone(encoder, loader, paths)),
        forward=count / seconds(lambda: forward_alone(encoder, count)),
        pipeline=count / seconds(lambda: whole_pipeline(encoder, loader, paths, folder)),
        plain=count / seconds(plain_loop(folder, encoder.engine.batch_size)),
    )


def seconds(work: Callable[[], None]) -> float:
    """How long `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def decode_alone(encoder: Encoder, loader: PixelLoader, paths: list[Path]) -> None:
    """Read and decode all files with as many threads as the pipeline has."""

    def decode(path: Path) -> None:
        assert isinstance(loader.load_path(str(path).encode()), np.ndarray)

    with ThreadPoolExecutor(encoder.workers) as pool:
        for _ in pool.map(decode, paths):
            pass


def forward_alone(encoder: Encoder, count: int) -> None:
    """Infer as many images, in memory already, with as many threads."""
    engine = encoder.engine
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (engine.batch_size, SIDE, SIDE, 3), dtype=np.uint8)

    def infer(_: int) -> NDArray[np.float32]:
        return engine.run(batch)

    with ThreadPoolExecutor(encoder.workers) as pool:
        for _ in pool.map(infer, range(-(-count // engine.batch_size))):
            pass


def whole_pipeline(encoder: Encoder, loader: PixelLoader, paths: list[Path], folder: Path) -> None:
    """From files to features on the disk."""
    shape = (encoder.identity.dimension,)
    file = RowFile(path=folder / "features.i8", dtype="<f2", shape=shape, mend="", scaled=True)

    def load(path: Path) -> PixelArray:
        pixels = loader.load_path(str(path).encode())
        assert isinstance(pixels, np.ndarray)
        return pixels

    with RowWriter(file, 0, np.empty(0, np.int64)) as writer:
        chunks = encoder.encode(paths, load)
        writer.append(file.contents(np.concatenate([chunk.features for chunk in chunks])))


def plain_loop(folder: Path, batch_size: int) -> Callable[[], None]:
    """What one would write without curator; the model is loaded before the clock starts."""
    import timm
    import torch
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    torch.set_num_threads(core_count())
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    prepare = transforms.Compose(
        [
            transforms.Resize((SIDE, SIDE)),
            transforms.ToTensor(),
            transforms.Normalize((0.498,) * 3, (0.502,) * 3),
        ]
    )
    dataset = ImageFolder(str(folder), prepare)
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=core_count())

    def run() -> None:
        with torch.inference_mode():
            for images, _ in loader:
                model(images).numpy()

    return run


def table_lines(size: int, measured: Sequence[Rates], kilobytes: float) -> list[Line]:
    """Medians of the rates, and of the ratios within each repeat."""
    n = len(measured)

    def line(name: str, values: list[float], ratios: list[float] | None, beside: str) -> Line:
        return Line(
            name=f"{size} px ({kilobytes:.0f} kB): {name}",
            median=median(values),
            unit="images/s",
            n=n,
            ratio=None if ratios is None else median(ratios),
            beside=beside,
        )

    pipeline = [one.pipeline for one in measured]
    return [
        line("decode alone", [one.decode for one in measured], None, ""),
        line("forward alone", [one.forward for one in measured], None, ""),
        line("what these allow", [one.allowed for one in measured], None, ""),
        line(
            "pipeline",
            pipeline,
            [one.pipeline / one.allowed for one in measured],
            "what is allowed",
        ),
        line("pipeline", pipeline, [one.pipeline / one.plain for one in measured], "plain loop"),
        line("plain loop", [one.plain for one in measured], None, ""),
    ]


if __name__ == "__main__":
    main()
