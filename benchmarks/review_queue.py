"""A reviewer's session on a long queue: how much memory, and how long a search for more takes.

    python -m benchmarks.review_queue [--rows 1000000] [--decisions 300]

The same session runs on a catalogue of `--rows` images and on one of ten thousand, each
queue in a process of its own, without pictures and without a screen. Memory is the most
that the process held, interpreter and libraries included. Beside each queue stands the
small catalogue.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.catalogue import CHUNK, some_files
from benchmarks.processes import answer_of
from benchmarks.report import Line, median, print_report

SMALL = 10_000
QUEUES = ("borderline", "random", "calibration")


@dataclass(frozen=True, slots=True)
class Session:
    """The most megabytes that its process held; milliseconds of every search and decision."""

    megabytes: float
    searches: tuple[float, ...]
    decisions: tuple[float, ...]


def main() -> None:
    """Measure, print a table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--decisions", type=int, default=300)
    arguments = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="curator-queue-") as name:
        for rows in (SMALL, arguments.rows):
            print(f"{rows:,} images ...", file=sys.stderr, flush=True)
            make_workspace(Path(name) / str(rows), rows)
        for queue in QUEUES:
            small, large = (
                answer_of(hold_session, Path(name) / str(rows), queue, arguments.decisions)
                for rows in (SMALL, arguments.rows)
            )
            lines += _lines(queue, small, large)
    title = f"a session on {arguments.rows:,} images"
    print_report(title, lines, {"rows": arguments.rows, "beside": SMALL})


def make_workspace(folder: Path, rows: int) -> None:
    """A workspace with so many images and their scores, and no file behind them."""
    from curator.catalogue import rounds
    from curator.catalogue.files import record_files
    from curator.catalogue.sources import add_source
    from curator.workspace import create_workspace

    workspace = create_workspace(folder, positive=None, negative=None, recipe=None)
    with workspace.catalogue as catalogue:
        source = add_source(catalogue, name="all", root=b"/nowhere", licence="", attribution="")
        for first in range(0, rows, CHUNK):
            record_files(catalogue, source.source_id, some_files(first, min(rows, first + CHUNK)))
        token = rounds.begin_staging(catalogue)
        for first in range(1, rows + 1, 50_000):
            ids = np.arange(first, min(rows + 1, first + 50_000))
            scores = np.random.default_rng(first).uniform(size=len(ids))
            rounds.stage_scores(catalogue, token, ids, scores, scores)
        new = rounds.NewRound(
            parent_id=rounds.head(catalogue), seed=0, settings={}, outcome={},
            started_at=datetime.now(UTC),
        )  # fmt: skip
        rounds.commit_round(catalogue, token, new)


def hold_session(folder: Path, queue: str, decisions: int) -> Session:
    """Decide about so many images, as quickly as it goes."""
    from curator.base.vocabulary import Label
    from curator.review.session import ReviewSession
    from curator.workspace import open_workspace

    searches: list[float] = []
    decided: list[float] = []
    workspace = open_workspace(folder)
    with workspace.catalogue, ReviewSession(workspace, queue, actor="somebody") as desk:
        for _ in range(decisions):
            if desk.runs_low:
                searches.append(_milliseconds(desk.refill))
            desk.current()
            decided.append(_milliseconds(lambda: desk.decide(Label.POSITIVE)))
    return Session(_peak(), tuple(searches), tuple(decided))


def _milliseconds(action: object) -> float:
    assert callable(action)
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def _peak() -> float:
    """The most megabytes that this process held; `ru_maxrss` may be that of its parent."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) * 1024 / 1e6


def _lines(queue: str, small: Session, large: Session) -> list[Line]:
    def line(what: str, mine: tuple[float, ...], other: tuple[float, ...], unit: str) -> Line:
        value, beside = median(mine), median(other)
        ratio = value / beside if beside else None
        return Line(
            name=f"{queue}: {what}", median=value, unit=unit, n=len(mine), ratio=ratio,
            beside=f"{SMALL:,} images",
        )  # fmt: skip

    return [
        line("memory", (large.megabytes,), (small.megabytes,), "MB"),
        line("a search", large.searches, small.searches, "ms"),
        line("the longest search", (max(large.searches),), (max(small.searches),), "ms"),
        line("a decision", large.decisions, small.decisions, "ms"),
    ]


if __name__ == "__main__":
    main()
