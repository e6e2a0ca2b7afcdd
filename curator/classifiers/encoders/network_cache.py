"""Converted encoders, kept in the workspace so that a later start is quick.

Building a network with torch and timm and converting it takes some ten seconds, reading
the converted one back less than one. A kept network is plain data (OpenVINO's XML and
weights), checked against its digests on reading; one that is damaged or of another
version is as good as none, and is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DESCRIPTION = "encoder.json"
_NETWORK = "network.xml"
_WEIGHTS = "network.bin"
_KEPT_AT_MOST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedNetwork:
    """A converted network as OpenVINO writes it: structure and weights.

    `facts` are JSON values that whoever made it wants to know again.
    """

    structure: bytes
    weights: bytes
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NetworkCache:
    """A folder of converted networks; without a folder nothing is kept.

    A network is found by a key that is made from everything its conversion depends on.
    """

    folder: Path | None

    def load(self, key: Mapping[str, Any]) -> CachedNetwork | None:
        """The network kept under `key`, None if there is none or it is damaged."""
        place = self._place(key)
        if place is None:
            return None
        try:
            described = json.loads((place / _DESCRIPTION).read_text(encoding="utf-8"))
            structure, weights = (place / _NETWORK).read_bytes(), (place / _WEIGHTS).read_bytes()
            digests = (described[_NETWORK], described[_WEIGHTS])
            facts: Mapping[str, Any] = described["facts"]
        except (OSError, ValueError, KeyError):
            return None
        if digests != (_digest(structure), _digest(weights)):
            return None
        return CachedNetwork(structure=structure, weights=weights, facts=facts)

    def keep(self, key: Mapping[str, Any], network: CachedNetwork) -> None:
        """Keep a network; where that cannot be written, it is made again next time."""
        place = self._place(key)
        if place is None:
            return
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=".part-") as name:
                _write(Path(name), network)
                shutil.rmtree(place, ignore_errors=True)
                os.rename(name, place)  # noqa: PTH104 - a folder, not a file
                Path(name).mkdir()
            self._forget_old(place.parent)
        except OSError:
            return

    def _place(self, key: Mapping[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / _digest(json.dumps(key, sort_keys=True).encode())[:32]

    @staticmethod
    def _forget_old(folder: Path) -> None:
        kept = [place for place in folder.iterdir() if (place / _DESCRIPTION).exists()]
        kept.sort(key=lambda place: (place / _DESCRIPTION).stat().st_mtime_ns)
        for place in kept[:-_KEPT_AT_MOST]:
            shutil.rmtree(place, ignore_errors=True)


def _write(folder: Path, network: CachedNetwork) -> None:
    (folder / _NETWORK).write_bytes(network.structure)
    (folder / _WEIGHTS).write_bytes(network.weights)
    described = {
        _NETWORK: _digest(network.structure),
        _WEIGHTS: _digest(network.weights),
        "facts": dict(network.facts),
    }
    text = json.dumps(described, indent=1, sort_keys=True)
    (folder / _DESCRIPTION).write_text(text, encoding="utf-8")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
