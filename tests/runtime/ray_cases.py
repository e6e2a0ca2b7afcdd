"""What a driver does on a test's Ray cluster: `python -m tests.runtime.ray_cases CASE FOLDER`."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from curator.errors import CuratorError, LearnError
from curator.runtime import ray_cluster
from curator.runtime.runtime import Runtime, open_runtime
from curator.settings.sections import RuntimeSettings

KILLS_ALWAYS = 77
_begun: list[int] = []


def _open(folder: Path, threads: int) -> Path:
    return folder


def _squares(folder: Path, chunk: list[int]) -> list[tuple[int, int]]:
    """Squares; every worker dies at one item, and the first one after its third chunk."""
    with (folder / "chunks").open("a") as stream:
        stream.write(f"{chunk[0]} {len(chunk)}\n")
    _begun.append(chunk[0])
    is_fourth = len(_begun) == 4 and not (folder / "died").exists()
    if is_fourth:
        (folder / "died").touch()
    if is_fourth or KILLS_ALWAYS in chunk:
        os.kill(os.getpid(), signal.SIGKILL)
    return [(item, item * item) for item in chunk]


def _lost(item: int, reason: str) -> list[tuple[int, int]]:
    return [(item, -1)]


def deaths(runtime: Runtime, folder: Path) -> object:
    """All items in order, -1 for the one that kills its workers; most chunks taken in advance."""
    opened = functools.partial(_open, folder)
    taken, ahead, pairs = 0, 0, []

    def counted() -> Iterator[list[int]]:
        nonlocal taken
        for chunk in runtime.chunks(range(400), 1):
            taken += 1
            yield chunk

    for given, part in enumerate(runtime.map(opened, _squares, counted(), _lost)):
        ahead = max(ahead, taken - given)
        pairs += part
    for part in runtime.map(opened, _squares, runtime.chunks(range(500, 510), 1), _lost):
        pairs += part
    return {"pairs": pairs, "ahead": ahead}


def _fails(folder: Path, chunk: list[int]) -> None:
    raise LearnError("That cannot be done.", "Do something else.")


def failure(runtime: Runtime, folder: Path) -> object:
    """An error of the work reaches the driver in its parts."""
    return list(
        runtime.map(functools.partial(_open, folder), _fails, [[1]], lambda item, why: None)
    )


def _dies(folder: Path, chunk: list[int]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def mortality(runtime: Runtime, folder: Path) -> object:
    """Where workers die at everything, no image is blamed for it."""
    opened = functools.partial(_open, folder)
    return list(runtime.map(opened, _dies, runtime.chunks(range(1_000), 1), lambda i, why: None))


def nothing(runtime: Runtime, folder: Path) -> object:
    """Connects, and does nothing."""
    return None


def main(case: Callable[[Runtime, Path], object], folder: Path) -> None:
    settings = RuntimeSettings(engine="ray", chunk=16)
    needs = [os.fsencode(folder)]
    try:
        with open_runtime(settings, 1, needs=needs) as runtime:
            answer = {"result": case(runtime, folder)}
    except CuratorError as error:
        answer = {"error": [type(error).__name__, error.problem, error.advice]}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    if sys.argv[3:]:
        ray_cluster.__version__ = sys.argv[3]
    main(globals()[sys.argv[1]], Path(sys.argv[2]))
