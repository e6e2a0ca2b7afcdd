"""Rehearsals that were played, kept so that none is played twice.

One file for one set of conditions, a line for each rehearsal, written as soon as it is
finished. The file's name is a digest of everything the outcome depends on but the setting
and the number of the repetition, which stand on the line. A line that a kill cut short is
passed over and played again. The folder can be deleted at any time.
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

from curator.base.version import __version__
from curator.simulation.policies import PolicyOutcome
from curator.simulation.summary import Setting

_FORMAT = 1


class RunCache:
    """The rehearsals under the same conditions.

    `conditions` must have a `repr` that says all of them; `arrays` are the pool.
    """

    def __init__(
        self, folder: Path, conditions: tuple[object, ...], arrays: Sequence[NDArray[Any]]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(repr((_FORMAT, __version__, conditions)).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        self._path = folder / f"{digest.hexdigest()[:32]}.jsonl"
        self._known = dict(_read(self._path)) if self._path.exists() else {}

    def get(self, setting: Setting, repetition: int) -> tuple[PolicyOutcome, float] | None:
        """What came of a rehearsal, and its seconds; None if it was not played yet."""
        return self._known.get(_key(setting, repetition))

    def put(self, setting: Setting, repetition: int, played: PolicyOutcome, seconds: float) -> None:
        """Keep a rehearsal, in memory and on disk."""
        key = _key(setting, repetition)
        self._known[key] = (played, seconds)
        line = json.dumps({"key": key, "played": asdict(played), "seconds": seconds})
        with self._path.open("a", encoding="utf-8") as stream:
            # A line of its own also after one that was cut short.
            stream.write(f"\n{line}")


def _key(setting: Setting, repetition: int) -> str:
    return json.dumps([asdict(setting), repetition], sort_keys=True)


def _read(path: Path) -> Sequence[tuple[str, tuple[PolicyOutcome, float]]]:
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            kept = json.loads(line)
            found.append((kept["key"], (PolicyOutcome(**kept["played"]), float(kept["seconds"]))))
        except (ValueError, TypeError, KeyError):
            continue
    return found
