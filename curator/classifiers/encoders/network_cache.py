"""Converted encoders, cached in the workspace so that a later start is quick.

Building a network with torch and timm and converting it takes some ten seconds, reading
the converted one back less than one. A cached network is plain data (OpenVINO's XML and
weights) whose digests are checked on reading; a damaged one is converted again.
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
_CACHE_SIZE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedNetwork:
    """A converted network as OpenVINO writes it: structure and weights.

    `facts` are JSON values that describe it.
    """

    structure: bytes
    weights: bytes
    facts: Mapping[str, Any]


def load_network(folder: Path | None, key: Mapping[str, Any]) -> CachedNetwork | None:
    """The network stored under `key`, None if there is none or it is damaged.

    The key consists of everything that the conversion depends on.
    """
    if folder is None:
        return None
    path = folder / _name(key)
    try:
        description = json.loads((path / _DESCRIPTION).read_text(encoding="utf-8"))
        structure, weights = (path / _NETWORK).read_bytes(), (path / _WEIGHTS).read_bytes()
        facts: Mapping[str, Any] = description["facts"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    # The key is part of it: the network of another encoder is not taken for this one's.
    if description != _described(key, structure, weights, facts):
        return None
    return CachedNetwork(structure=structure, weights=weights, facts=facts)


def _described(
    key: Mapping[str, Any], structure: bytes, weights: bytes, facts: Mapping[str, Any]
) -> dict[str, Any]:
    described = {
        "key": _name(key),
        _NETWORK: _digest(structure),
        _WEIGHTS: _digest(weights),
        "facts": dict(facts),
    }
    return described | {"digest": _digest(json.dumps(described, sort_keys=True).encode())}


def store_network(folder: Path | None, key: Mapping[str, Any], network: CachedNetwork) -> None:
    """Store a network; without a folder, or if writing fails, it is converted again next time."""
    if folder is None:
        return
    path = folder / _name(key)
    description = _described(key, network.structure, network.weights, network.facts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as name:
            part = Path(name)
            (part / _NETWORK).write_bytes(network.structure)
            (part / _WEIGHTS).write_bytes(network.weights)
            text = json.dumps(description, indent=1, sort_keys=True)
            (part / _DESCRIPTION).write_text(text, encoding="utf-8")
            shutil.rmtree(path, ignore_errors=True)
            os.rename(name, path)  # noqa: PTH104 - a folder, not a file
            # TemporaryDirectory removes the folder of this name at the end.
            part.mkdir()
        stored = [entry for entry in folder.iterdir() if (entry / _DESCRIPTION).exists()]
        stored.sort(key=lambda entry: (entry / _DESCRIPTION).stat().st_mtime_ns)
        for oldest in stored[:-_CACHE_SIZE]:
            shutil.rmtree(oldest, ignore_errors=True)
    except OSError:
        return


def _name(key: Mapping[str, Any]) -> str:
    return _digest(json.dumps(key, sort_keys=True).encode())[:32]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
