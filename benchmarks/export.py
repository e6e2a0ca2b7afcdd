"""Exports of one million catalogued rows, beside pandas writing the same table.

    python -m benchmarks.export [--rows 1000000] [--folder DIR] [--runs 3]

Every export and every pandas call runs in a process of its own, so that its peak memory is
its own. The exports read the catalogue, sort by path, write, bring to disk and digest;
pandas has the finished table in memory and only writes it, so the ratio says what all the
rest costs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.catalogue import STAGES
from benchmarks.processes import Measured, in_own_process, timed
from benchmarks.report import Line, median, print_report
from curator.export.export import export
from curator.export.filters import ExportRequest
from curator.workspace import CATALOGUE_NAME, STATE_FOLDER, open_workspace

SUFFIXES = ("csv", "parquet")
MADE_BY = ("catalogue", "stage promotions", "promote all")


@dataclass(frozen=True, slots=True)
class Export:
    """An export of the workspace, as often as asked for."""

    suffix: str
    runs: int

    def __call__(self, folder: Path, rows: int) -> tuple[float, ...]:
        """Seconds of each run."""
        workspace = open_workspace(folder)
        place = folder / f"clean.{self.suffix}"
        seconds = timed(
            lambda: export(workspace, ExportRequest(destination=place, force=True)), self.runs
        )
        workspace.catalogue.close()
        return seconds


@dataclass(frozen=True, slots=True)
class Pandas:
    """pandas writes the table of the export, which it has in memory."""

    suffix: str
    runs: int

    def __call__(self, folder: Path, rows: int) -> tuple[float, ...]:
        """Seconds of each run."""
        import pandas as pd

        table = pd.read_parquet(folder / "clean.parquet")
        place = folder / f"pandas.{self.suffix}"
        write = {
            "csv": lambda: table.to_csv(place, index=False),
            "parquet": lambda: table.to_parquet(place, index=False),
        }
        return timed(write[self.suffix], self.runs)


def main() -> None:
    """Measure, print a table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files are made; they stay there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.folder or Path(made)
        _make_workspace(folder, arguments.rows)
        measured: dict[str, Measured] = {}
        for suffix in reversed(SUFFIXES):
            measured[f"export {suffix}"] = _measure(Export(suffix, arguments.runs), folder)
        for suffix in reversed(SUFFIXES):
            measured[f"pandas {suffix}"] = _measure(Pandas(suffix, arguments.runs), folder)
        sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(folder.glob("*.*"))}
    details = {
        "rows": arguments.rows,
        "rows_per_second": {
            name: round(arguments.rows / median(one.seconds)) for name, one in measured.items()
        },
        "peak_megabytes": {name: round(one.peak_megabytes) for name, one in measured.items()},
        "processor_seconds": {
            name: round(one.processor_seconds, 1) for name, one in measured.items()
        },
        "megabytes_on_disk": {name: round(size, 1) for name, size in sizes.items()},
    }
    print_report(f"Exports of {arguments.rows:,} rows", _lines(measured), details)


def _make_workspace(folder: Path, rows: int) -> None:
    """A workspace whose images are all promoted but for a hundred, unless it is there already."""
    state = folder / STATE_FOLDER
    if (state / CATALOGUE_NAME).exists():
        return
    state.mkdir(parents=True)
    (folder / "curator.toml").write_text("", encoding="utf-8")
    for name in MADE_BY:
        print(f"{name} ...", file=sys.stderr, flush=True)
        in_own_process(STAGES[name], state, rows)


def _measure(stage: Export | Pandas, folder: Path) -> Measured:
    print(f"{stage} ...", file=sys.stderr, flush=True)
    return in_own_process(stage, folder, 0)


def _lines(measured: dict[str, Measured]) -> list[Line]:
    lines = []
    for suffix in SUFFIXES:
        ours, theirs = measured[f"export {suffix}"], measured[f"pandas {suffix}"]
        for what, one in (("export", ours), ("pandas", theirs)):
            beside = f"pandas {suffix}" if what == "export" else ""
            seconds, peak = median(one.seconds), one.peak_megabytes
            lines += [
                Line(
                    name=f"{what} {suffix}",
                    median=seconds,
                    unit="s",
                    n=len(one.seconds),
                    ratio=seconds / median(theirs.seconds) if beside else None,
                    beside=beside,
                ),
                Line(
                    name=f"{what} {suffix}: peak memory",
                    median=peak,
                    unit="MB",
                    n=1,
                    ratio=peak / theirs.peak_megabytes if beside else None,
                    beside=beside,
                ),
            ]
    return lines


if __name__ == "__main__":
    main()
