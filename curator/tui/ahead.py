"""Work done before it is asked for, off the interface's thread and within a fixed memory.

The screen says which pictures it will want, the nearest first; a few threads make them.
What is no longer wanted is dropped before it is begun, and of what was made only the
newest stay, so that a queue of a million images costs no more than one of fifty.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class Ahead(Generic[Key, Made]):
    """Makes and keeps things by key. All methods are called from one thread."""

    def __init__(self, make: Callable[[Key], Made], *, keep: int, workers: int = 2) -> None:
        self._make = make
        self._keep = keep
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
        self._futures: OrderedDict[Key, Future[Made]] = OrderedDict()
        self._lock = threading.Lock()

    def want(self, keys: Sequence[Key]) -> None:
        """Make these, in this order; older wishes that have not begun are dropped."""
        with self._lock:
            wanted = set(keys)
            for key, future in list(self._futures.items()):
                if key not in wanted and not future.done() and future.cancel():
                    del self._futures[key]
            for key in keys:
                self._start(key)
            self._trim(wanted)

    def get(self, key: Key) -> Future[Made]:
        """The thing, perhaps still in the making; it is begun if it was not wanted before."""
        with self._lock:
            return self._start(key)

    def ready(self, key: Key) -> Made | None:
        """The thing if it is there already and was made without an error."""
        with self._lock:
            future = self._futures.get(key)
        if future is None or not future.done() or future.cancelled() or future.exception():
            return None
        return future.result()

    def forget(self, key: Key) -> None:
        """Make it anew when it is asked for again."""
        with self._lock:
            self._futures.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for future in self._futures.values():
                future.cancel()
            self._futures.clear()

    def close(self) -> None:
        """Stop; what is being made is finished first."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        """How many things are kept or in the making."""
        return len(self._futures)

    def _start(self, key: Key) -> Future[Made]:
        future = self._futures.get(key)
        if future is None:
            future = self._pool.submit(self._make, key)
            self._futures[key] = future
        self._futures.move_to_end(key)
        return future

    def _trim(self, wanted: set[Key]) -> None:
        surplus = len(self._futures) - max(self._keep, len(wanted))
        for key in [one for one in self._futures if one not in wanted][: max(0, surplus)]:
            del self._futures[key]
