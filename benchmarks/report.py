"""What every benchmark prints: the machine, n, medians and ratios, for people and programs.

The table goes to stderr and the JSON to stdout, so that `python -m benchmarks.NAME > NAME.json`
keeps one and shows the other.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measured thing: `n` runs, their median, and a ratio against something beside it."""

    name: str
    median: float
    unit: str
    n: int
    ratio: float | None = None
    beside: str = ""


def median(values: Sequence[float]) -> float:
    """The median of the runs."""
    return statistics.median(values)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    packages = ("torch", "timm", "numpy", "sqlalchemy", "openvino", "scikit-learn")
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def print_report(title: str, lines: Sequence[Line], details: dict[str, Any] | None = None) -> None:
    """Show a table on stderr and write JSON to stdout."""
    table = Table("what", "median", "unit", "n", "ratio", "beside", title=title)
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        table.add_row(line.name, f"{line.median:,.4g}", line.unit, str(line.n), ratio, line.beside)
    console = Console(stderr=True)
    console.print(table)
    console.print(f"{_processor()}, {os.cpu_count()} cores, {platform.platform()}")
    content = {
        "benchmark": title,
        "machine": machine(),
        "lines": [asdict(line) for line in lines],
        "details": details or {},
    }
    json.dump(content, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:  # noqa: PTH123
            names = [line.split(":", 1)[1].strip() for line in stream if "model name" in line]
        return names[0] if names else platform.processor()
    except OSError:
        return platform.processor()
