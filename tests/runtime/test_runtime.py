"""Order, laziness and a clean end, whatever the threads do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from curator.runtime.runtime import ordered_map


def test_results_come_in_the_order_of_the_tasks() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.002 if number % 7 == 0 else 0)
        return number * number

    assert list(ordered_map(slow_at_first, range(500), 4)) == [n * n for n in range(500)]


def test_only_a_few_tasks_are_taken_ahead() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    results = ordered_map(lambda number: number, tasks(), 2)
    for _ in range(100):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 300


def test_an_error_ends_everything() -> None:
    def fail(number: int) -> int:
        if number == 50:
            raise RuntimeError("broken")
        return number

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="broken"):
        list(ordered_map(fail, range(1000), 3))
    assert threading.active_count() == before


def test_nothing_to_do_is_fine() -> None:
    assert list(ordered_map(str, [], 2)) == []
