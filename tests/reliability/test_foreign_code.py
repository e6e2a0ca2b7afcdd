"""A folder may hold files that are named like modules; none of them is ever run."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import aiohttp
import pytest

from tests.support.command import CHECKOUT
from tests.support.images import make_folder
from tests.support.serving import serving

pytestmark = pytest.mark.slow

NAMES = (
    "typer", "click", "rich", "numpy", "torch", "torchvision", "timm", "PIL", "sqlalchemy",
    "alembic", "textual", "aiohttp", "jinja2", "openvino", "pydantic", "tomlkit",
    "scipy", "faiss", "simplejpeg", "psutil", "matplotlib", "json", "csv", "typing", "dataclasses",
    "sqlite3", "multiprocessing", "concurrent", "logging", "pathlib", "env", "__future__",
)  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A workspace in a folder of hostile modules, which say so in `ran` when they are run."""
    root = tmp_path / "hostile"
    make_folder(tmp_path / "pictures", good=12, bad=12, seed=1)
    make_folder(tmp_path / "more", good=6, bad=6, seed=2)
    root.mkdir()
    for name in NAMES:
        for file in (root / f"{name}.py", root / name / "__init__.py"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(
                f"open({str(tmp_path / 'ran')!r}, 'a').write(f'{name} by {{__file__}}\\n')\n"
            )
    return root


def run(*arguments: str | Path, cwd: Path, module: bool) -> None:
    """The installed command, or `python -m curator`, in a folder and with a path of its own."""
    code = "from curator.cli.main import main; import sys; sys.exit(main())"
    start = ["-m", "curator"] if module else ["-P", "-c", code]
    ended = subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_no_command_and_no_child_runs_what_lies_in_the_folder(
    hostile: Path, tmp_path: Path
) -> None:
    for module in (False, True):
        root = hostile / f"workspace-{module}"
        run("init", root, cwd=hostile, module=module)
        for file in hostile.glob("*.py"):
            (root / file.name).write_bytes(file.read_bytes())
        for label in ("good", "bad"):
            folder = tmp_path / "pictures" / label
            run("-w", root, "add", folder, "--label", label, cwd=hostile, module=module)
        run("-w", root, "add", tmp_path / "more", cwd=hostile, module=module)
        for command in (["round"], ["status"], ["queue", "random"], ["verify"]):
            run("-w", root, *command, cwd=root, module=module)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()

    review = ("review", "random", "--web", "--address", "127.0.0.1:0")
    with serving(root, *review, cwd=root) as (address, _):
        asyncio.run(_see_the_first_image(address))
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


async def _see_the_first_image(address: str) -> None:
    base = address.partition("?")[0]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        await (await session.get(address)).text()
        async with session.post(f"{base}api/open", json={"page": "0" * 32}) as answer:
            card = (await answer.json())["card"]
        async with session.get(f"{base}picture/{card['id']}?within=512") as answer:
            assert answer.content_type.startswith("image/")


def test_a_child_finds_an_editable_installation(tmp_path: Path) -> None:
    """One line in a .pth file, as `pip install -e` leaves it, and no PYTHONPATH."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    installed = sysconfig.get_path("purelib")
    (site / "_curator.pth").write_text(f"{CHECKOUT}\n{installed}\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(
        [python, "-P", "-m", "curator", "--version"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.stdout.startswith("curator "), ended.stderr


def test_no_child_of_the_program_takes_code_from_the_folder_it_starts_in() -> None:
    """Python puts that folder first for `-m` and `-c`, unless it is told `-P`."""
    starts = [
        (file.name, start)
        for file in (CHECKOUT / "curator").rglob("*.py")
        for start in re.findall(r"sys\.executable[^\n]*", file.read_text())
    ]
    assert starts
    assert not [start for start in starts if '"-P"' not in start[1]]
