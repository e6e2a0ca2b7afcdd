"""Figures of long benchmarks, written as they come, so that a run that was cut off goes on.

Each measured thing is a line of JSON in a file: what was asked, and what came out. What is
there already is not measured again, and a table can be made of whatever is there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Facts = Mapping[str, Any]


class Kept:
    """Figures by what they are of; without a file they are kept in memory alone."""

    def __init__(self, path: Path | None) -> None:
        """Read what `path` holds; a last line that was cut off does not count."""
        self._path = path
        self._found: dict[str, dict[str, Any]] = {}
        if path is None or not path.is_file():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                asked, came = json.loads(line)
            except ValueError:
                continue
            self._found[_key(asked)] = came

    def has(self, asked: Facts) -> bool:
        """Whether it was measured before."""
        return _key(asked) in self._found

    def figures(self, asked: Facts, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was measured of `asked`, now if it never was."""
        known = self._found.get(_key(asked))
        if known is not None:
            return known
        came = measure()
        self._found[_key(asked)] = came
        print(f"{_key(asked)}: {json.dumps(came)}", file=sys.stderr, flush=True)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps([asked, came]) + "\n")
        return came


def _key(asked: Facts) -> str:
    return json.dumps(asked, sort_keys=True)
