"""Pure work on chunks of images, in order, a few chunks ahead: the one pool of curator.

Whoever calls `map` fixes the chunks, and alone records what comes back, in their order. So
what is recorded does not depend on who did the work, and nothing is recorded twice: a worker
that is killed costs its chunks, a killed caller what was not recorded.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Protocol, TypeVar

from curator.base.chunks import chunked
from curator.errors import DataError
from curator.settings.sections import RuntimeSettings

Item = TypeVar("Item")
State = TypeVar("State")
Result = TypeVar("Result")

AHEAD = 2
"""Chunks in progress for each worker: one that it works on, and the next."""
_FILES = 8
"""Files that a thread takes at once where one file is little work."""


class Runtime(Protocol):
    """Does work on chunks with a number of workers."""

    workers: int
    is_here: bool
    """Whether workers are threads of this process, and see what it sees."""

    def host(self, threads: int) -> str:
        """Opens a worker that needs only the name of its node, empty for this computer."""

    def chunks(
        self, items: Iterable[Item], batch: int, most: int | None = None
    ) -> Iterator[list[Item]]:
        """The items in chunks of a size that suits the workers, a multiple of `batch`.

        `most` limits it where results are large: up to four chunks of each worker are in memory.
        """

    def map(
        self,
        open_worker: Callable[[int], State],
        work: Callable[[State, list[Item]], Result],
        chunks: Iterable[list[Item]],
        lost: Callable[[Item, str], Result],
    ) -> Iterator[Result]:
        """`work` of every chunk, in the order of the chunks.

        `open_worker` gives what a worker needs, once for each process; it gets the threads that
        the worker may use. Chunks are taken only a little ahead of what was asked for, so memory
        does not grow with their number. An error in `work` is raised here and ends the work.
        Where a worker process dies at a chunk, the chunk is tried again, then split; `lost`
        gives the result of an image at which it dies each time, or raises.
        """


class LocalRuntime:
    """Threads of this process. Reading, decoding and inference release Python's lock."""

    is_here = True

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def host(self, threads: int) -> str:
        """No name: this computer's threads see what it sees."""
        return ""

    def chunks(
        self, items: Iterable[Item], batch: int, most: int | None = None
    ) -> Iterator[list[Item]]:
        """The items in chunks of `batch`."""
        return chunked(items, batch)

    def map(
        self,
        open_worker: Callable[[int], State],
        work: Callable[[State, list[Item]], Result],
        chunks: Iterable[list[Item]],
        lost: Callable[[Item, str], Result] | None = None,
    ) -> Iterator[Result]:
        """`work` of every chunk, in order; see `Runtime`. Threads that die take curator along."""
        state = open_worker(1)
        waiting: deque[Future[Result]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="curator")
        try:
            for chunk in chunks:
                waiting.append(pool.submit(work, state, chunk))
                if len(waiting) >= AHEAD * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """`work` of every item, in order, by `workers` threads that take a few items at once."""

    def work_on(host: str, chunk: list[Item]) -> list[Result]:
        return [work(item) for item in chunk]

    here = LocalRuntime(workers)
    for results in here.map(here.host, work_on, here.chunks(items, _FILES)):
        yield from results


@contextmanager
def open_runtime(
    settings: RuntimeSettings, workers: int, *, needs: Sequence[bytes] = (), on_gpu: bool = False
) -> Iterator[Runtime]:
    """The engine that the settings name, until the end of the block.

    `workers` is the number of threads here. Workers elsewhere must see the paths `needs`; with
    `on_gpu` each has a GPU. Raises SettingsError if there is no such cluster or a node has another
    version of curator, and DataError if a node does not see a path.
    """
    if settings.engine == "local":
        yield LocalRuntime(workers)
        return
    from curator.runtime.ray_cluster import RayRuntime

    with closing(RayRuntime(settings, needs, on_gpu=on_gpu)) as runtime:
        yield runtime


def unseen(path: bytes, host: str) -> DataError:
    """What to tell about a file that is readable here and not on a node."""
    return DataError(
        f"The node {host} of the Ray cluster cannot read {os.fsdecode(path)}, which this computer"
        " can.",
        "Mount it at the same path on all nodes, readable for the user that Ray runs as, or set"
        " runtime.engine to `local`.",
    )
