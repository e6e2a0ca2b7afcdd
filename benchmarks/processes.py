"""Running a stage in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True)
class Measured:
    """What one stage took: seconds of each run, and what its process used in all."""

    seconds: tuple[float, ...]
    processor_seconds: float
    peak_megabytes: float


Answer = TypeVar("Answer")

Stage = Callable[[Path, int], tuple[float, ...]]
"""Works in a folder on so many rows, and says how long each run took."""


def in_own_process(stage: Stage, folder: Path, rows: int) -> Measured:
    """Run `stage` in a new process and measure it."""
    return answer_of(_measure, stage, folder, rows)


def answer_of(work: Callable[..., Answer], *given: Any) -> Answer:
    """What `work` returns in a process of its own, whose memory nothing else has touched."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, work, given))
    process.start()
    there.close()
    try:
        answer: Answer = here.recv()
    finally:
        process.join()
    return answer


def _answer(pipe: Connection, work: Callable[..., object], given: tuple[Any, ...]) -> None:
    pipe.send(work(*given))
    pipe.close()


def _measure(stage: Stage, folder: Path, rows: int) -> Measured:
    before = time.process_time()
    seconds = stage(folder, rows)
    used = time.process_time() - before
    scale = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    return Measured(seconds, used, peak)


def timed(action: Callable[[], object], times: int = 1) -> tuple[float, ...]:
    """Seconds of each of `times` calls."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return tuple(seconds)
