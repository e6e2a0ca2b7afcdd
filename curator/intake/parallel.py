"""Many files at once, results in order, never more than a few in memory.

Reading and decoding release Python's lock, so threads are as good as processes here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_TASKS_PER_JOB = 8
_JOBS_PER_WORKER = 3


def ordered_map(
    work: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """`work` of every task, in the order of the tasks, by `workers` threads.

    Tasks are taken only a little ahead of what was asked for. When the caller stops
    early, or `work` raises, what has not begun is dropped.
    """

    def job(portion: list[Task]) -> list[Result]:
        return [work(task) for task in portion]

    remaining = iter(tasks)
    waiting: deque[Future[list[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="curator-ingest")
    try:
        while True:
            while len(waiting) < workers * _JOBS_PER_WORKER:
                portion = list(islice(remaining, _TASKS_PER_JOB))
                if not portion:
                    break
                waiting.append(pool.submit(job, portion))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
