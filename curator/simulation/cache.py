"""Cache of simulation runs.

One file for one set of conditions, a line for each run, written as soon as it is finished.
The file's name is a digest of everything the outcome depends on except the setting and the
number of the repetition, which are on the line. A line that a kill cut short, or that is not
what was written, is named and its run repeated. The folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.files import opened
from curator.base.sealed import Note, seal_line, unsealed_line
from curator.base.text import count
from curator.base.version import __version__
from curator.simulation.policies import PolicyOutcome
from curator.simulation.summary import Setting

_FORMAT = 1


class RunCache:
    """The runs under the same conditions.

    `conditions` must have a complete `repr`; `arrays` are the pool. `note` is told of lines that
    are not what was written, whose runs are played again.
    """

    def __init__(
        self,
        folder: Path,
        conditions: tuple[object, ...],
        arrays: Sequence[NDArray[Any]],
        note: Note = lambda text: None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Another version of curator may train or plan otherwise, so its runs are not reused.
        digest = hashlib.sha256(repr((_FORMAT, __version__, conditions)).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        self._path = folder / f"{digest.hexdigest()[:32]}.jsonl"
        self._runs = _read(self._path, note) if self._path.exists() else {}

    def get(self, setting: Setting, repetition: int) -> tuple[PolicyOutcome, float] | None:
        """The outcome of a run and its seconds; None if it is missing."""
        return self._runs.get(_key(setting, repetition))

    def put(
        self, setting: Setting, repetition: int, outcome: PolicyOutcome, seconds: float
    ) -> None:
        """Store a run, in memory and on disk."""
        key = _key(setting, repetition)
        self._runs[key] = (outcome, seconds)
        line = json.dumps({"key": key, "played": asdict(outcome), "seconds": seconds})
        with opened(self._path, "ab") as stream:
            # The line break comes first, because the last line may be cut short.
            stream.write(f"\n{seal_line(self._path.stem, line)}".encode())


def _key(setting: Setting, repetition: int) -> str:
    return json.dumps([asdict(setting), repetition], sort_keys=True)


def _read(path: Path, note: Note) -> dict[str, tuple[PolicyOutcome, float]]:
    runs, damaged = {}, 0
    with opened(path) as stream:
        text = stream.read().decode("utf-8", "replace")
    for sealed in text.split("\n"):
        line = unsealed_line(path.stem, sealed)
        if line is not None:
            run = json.loads(line)
            runs[run["key"]] = (PolicyOutcome(**run["played"]), float(run["seconds"]))
        elif sealed:
            damaged += 1
    if damaged:
        note(f"{path}: {count(damaged, 'line')} damaged; these runs are computed again.")
    return runs
