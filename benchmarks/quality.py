"""Pictures that stand out: which planted ones are found, beside CleanVision, and the time it takes.

    python -m benchmarks.quality plant FOLDER
    python -m benchmarks.quality curator FOLDER
    python -m benchmarks.quality cleanvision FOLDER    # where CleanVision is installed

`plant` writes the solar cells (2,624) and garments (4,000), and of each 40 made dark, bright,
blurred, tiny, elongated and uniform, with the kind in the file's name. A column of the tables says
of how many images of a kind a tool says so; `plain` are the images as they were.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

KINDS = ("dark", "bright", "blurred", "tiny", "elongated", "uniform")
SETS = ("cells", "garments")
PLANTED, GARMENTS = 40, 4_000


def plant(folder: Path) -> None:
    """Write both sets with their planted images."""
    for name, pictures in (("cells", _cells()), ("garments", _garments())):
        (folder / name).mkdir(parents=True)
        generator = np.random.default_rng(0)
        plain = list(pictures)
        for number, picture in enumerate(plain):
            picture.save(folder / name / f"plain-{number:05d}.png")
        for kind in KINDS:
            for number in generator.choice(len(plain), PLANTED, replace=False):
                changed = _changed(kind, plain[number], generator)
                changed.save(folder / name / f"{kind}-{number:05d}.png")


def _cells() -> Iterator[Image.Image]:
    data = Path(str(resources.files("elpv_dataset"))) / "data" / "images"
    for path in sorted(data.glob("*.png")):
        yield Image.open(path).convert("L")


def _garments() -> Iterator[Image.Image]:
    from tests.support import fashion

    yield from map(Image.fromarray, fashion.load("train")[0][:GARMENTS])


def _changed(kind: str, picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    width, height = picture.size
    values = np.asarray(picture).astype(float)
    if kind == "dark":
        values *= generator.uniform(0.05, 0.15)
    elif kind == "bright":
        values = 255 - (255 - values) * generator.uniform(0.02, 0.06)
    elif kind == "uniform":
        values = values.mean() + generator.normal(0, 0.7, values.shape)
    elif kind == "blurred":
        return picture.filter(ImageFilter.GaussianBlur(generator.uniform(0.03, 0.06) * width))
    elif kind == "tiny":
        return picture.resize((width // 8, height // 8), Image.Resampling.BILINEAR)
    else:
        share = generator.uniform(0.2, 0.28)
        top = int(height * (0.5 - share / 2))
        return picture.crop((0, top, width, top + round(height * share)))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def curator(folder: Path) -> None:
    """What `add` finds, its CPU time, and the part of the measures in it."""
    from curator.catalogue.images import image_chunks, image_details
    from curator.catalogue.quality import oddities_of
    from curator.intake.add import add
    from curator.intake.likeness import shrunk_for_comparing
    from curator.intake.quality import picture_quality
    from curator.workspace import create_workspace

    for name in SETS:
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch) / "ws"
            workspace = create_workspace(root, positive="good", negative="bad", recipe=None)
            began = time.process_time()
            add(workspace, [folder / name])
            seconds = time.process_time() - began
            image_ids = np.concatenate(list(image_chunks(workspace.catalogue))).tolist()
            details = image_details(workspace.catalogue, image_ids)
            kind_of = {i: _kind(each.locations[0].path) for i, each in details.items()}
            odd = oddities_of(workspace.catalogue, image_ids)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for image_id, oddities in odd.items():
            counts[kind_of[image_id]].update(map(str, oddities))
        greys = [
            shrunk_for_comparing(Image.open(path).convert("RGB")).convert("L")
            for path in sorted((folder / name).glob("plain-*.png"))[:500]
        ]
        began = time.process_time()
        for grey in greys:
            picture_quality(grey, grey.width, grey.height)
        each = (time.process_time() - began) / len(greys)
        _print(name, counts, KINDS)
        share = each * len(image_ids) / seconds
        print(f"add {seconds:.1f} s of CPU, {each * 1e6:.0f} us of it an image ({share:.1%})\n")


def cleanvision(folder: Path) -> None:
    """What CleanVision finds by the same six checks, and its CPU time in one process."""
    from cleanvision import Imagelab  # type: ignore[import-not-found]

    names = ("dark", "light", "blurry", "odd_size", "odd_aspect_ratio", "low_information")
    for name in SETS:
        lab = Imagelab(data_path=str(folder / name))
        began = time.process_time()
        lab.find_issues({issue: {} for issue in names}, n_jobs=1, verbose=False)
        seconds = time.process_time() - began
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for path, row in lab.issues.iterrows():
            counts[_kind(path.encode())].update(n for n in names if row[f"is_{n}_issue"])
        _print(name, counts, names)
        print(f"{seconds:.1f} s of CPU\n")


def _kind(path: bytes) -> str:
    return path.rsplit(b"/", 1)[1].split(b"-")[0].decode()


def _print(name: str, counts: Mapping[str, Counter[str]], columns: tuple[str, ...]) -> None:
    print(f"{name:<12}" + "".join(f"{column:>17}" for column in columns))
    for kind in (*KINDS, "plain"):
        print(f"{kind:<12}" + "".join(f"{counts[kind][column]:>17}" for column in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("plant", "curator", "cleanvision"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    {"plant": plant, "curator": curator, "cleanvision": cleanvision}[arguments.command](
        arguments.folder
    )


if __name__ == "__main__":
    main()
