"""What small commands load, and the import rules between rooms.

`curator --help` and `curator status` must come at once: nothing that trains, decodes or
writes tables may be loaded for them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.command import CHECKOUT, curator

HEAVY = {
    "PIL", "alembic", "cv2", "faiss", "imagehash", "matplotlib", "openvino", "pandas", "pyarrow",
    "safetensors", "scipy", "simplejpeg", "sklearn", "textual", "timm", "torch", "torchvision",
}  # fmt: skip

PROBE = """
import contextlib, io, json, sys
from curator.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
assert code == 0, code
json.dump(sorted({name.partition(".")[0] for name in sys.modules}), sys.stdout)
"""


def loaded_by(*arguments: str | Path, program: str = PROBE) -> set[str]:
    """The top-level packages that a new process has loaded after running a command."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_importing_the_package_is_cheap() -> None:
    program = "import json, sys, curator; json.dump(sorted(sys.modules), sys.stdout)"
    loaded = {name.partition(".")[0] for name in loaded_by(program=program)}
    assert not loaded & (HEAVY | {"numpy", "pydantic", "sqlalchemy", "typer", "rich"})


def test_help_loads_nothing_to_work_with() -> None:
    assert not loaded_by("--help") & (HEAVY | {"numpy", "sqlalchemy"})


@pytest.mark.slow
def test_help_of_a_command_loads_nothing_to_work_with() -> None:
    assert not loaded_by("round", "--help") & (HEAVY | {"numpy", "sqlalchemy"})


@pytest.mark.slow
@pytest.mark.parametrize("command", [("status",), ("status", "--json"), ("config",)])
def test_looking_loads_nothing_heavy(tmp_path: Path, command: tuple[str, ...]) -> None:
    curator("init", tmp_path / "ws")
    assert not loaded_by("-w", tmp_path / "ws", *command) & HEAVY


@pytest.mark.slow
def test_a_round_on_stored_features_loads_no_torch(tmp_path: Path) -> None:
    images, workspace = tmp_path / "images", tmp_path / "ws"
    images.mkdir()
    positive = np.arange(120) % 2 == 0
    pixels = np.random.default_rng(1).integers(0, 256, (len(positive), 16, 16, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(images / f"{number}.png")
    values = np.random.default_rng(0).normal(size=(len(positive), 6)) + 3 * positive[:, None]
    np.save(tmp_path / "features.npy", values.astype(np.float32))
    names = [f"images/{number}.png" for number in range(len(positive))]
    (tmp_path / "index.csv").write_text("\n".join(["path", *names]))
    seeds = [
        f"{name},{'good' if side else 'bad'}" for name, side in zip(names, positive, strict=True)
    ]
    (tmp_path / "seeds.csv").write_text("\n".join(["path,label", *seeds[:60]]))
    curator("init", workspace, "--positive", "good", "--negative", "bad")
    curator("-w", workspace, "add", images)
    curator("-w", workspace, "label", tmp_path / "seeds.csv")
    arguments = ("encode", "--from", tmp_path / "features.npy", "--index", tmp_path / "index.csv")
    curator("-w", workspace, *arguments, "--name", "own")
    curator("-w", workspace, "config", "classifier.model=features:own")
    assert not loaded_by("-w", workspace, "round") & {"torch", "timm", "openvino"}


@pytest.mark.slow
def test_the_probe_would_notice() -> None:
    program = "import torch, json, sys; json.dump(sorted(sys.modules), sys.stdout)"
    assert "torch" in loaded_by(program=program)


def test_imports_between_rooms_keep_the_rules() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout
