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

from curator.learn.quiet import import_openvino

_DESCRIPTION = "encoder.json"
_NETWORK = "network.xml"
_WEIGHTS = "network.bin"
_KEPT_AT_MOST = 4


@dataclass(frozen=True, slots=True)
class KeptNetworks:
    """A folder of converted networks; without a folder nothing is kept.

    A network is described by facts (JSON values) that its maker hands in, and found by a
    key that is made from everything the conversion depends on.
    """

    folder: Path | None

    def load(self, key: Mapping[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """The OpenVINO model kept under `key` and its facts, or None."""
        place = self._place(key)
        if place is None or not place.is_dir():
            return None
        try:
            described = json.loads((place / _DESCRIPTION).read_text(encoding="utf-8"))
            whole = all(_digest(place / name) == described[name] for name in (_NETWORK, _WEIGHTS))
        except (OSError, ValueError, KeyError):
            return None
        if not whole:
            return None
        facts: dict[str, Any] = described["facts"]
        return import_openvino().Core().read_model(place / _NETWORK), facts

    def keep(self, key: Mapping[str, Any], model: Any, facts: Mapping[str, Any]) -> None:
        """Keep a model; where that cannot be written, it is made again next time."""
        place = self._place(key)
        if place is None:
            return
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=".part-") as name:
                _write(Path(name), model, facts)
                shutil.rmtree(place, ignore_errors=True)
                os.rename(name, place)  # noqa: PTH104 - a folder, not a file
                Path(name).mkdir()
            self._forget_old()
        except (OSError, RuntimeError):
            return

    def _forget_old(self) -> None:
        assert self.folder is not None
        kept = [place for place in self.folder.iterdir() if (place / _DESCRIPTION).exists()]
        kept.sort(key=lambda place: (place / _DESCRIPTION).stat().st_mtime_ns)
        for place in kept[:-_KEPT_AT_MOST]:
            shutil.rmtree(place, ignore_errors=True)

    def _place(self, key: Mapping[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        text = json.dumps(key, sort_keys=True)
        return self.folder / hashlib.sha256(text.encode()).hexdigest()[:32]


def _write(folder: Path, model: Any, facts: Mapping[str, Any]) -> None:
    import_openvino().save_model(model, folder / _NETWORK, compress_to_fp16=False)
    described = {name: _digest(folder / name) for name in (_NETWORK, _WEIGHTS)}
    text = json.dumps(described | {"facts": dict(facts)}, indent=1, sort_keys=True)
    (folder / _DESCRIPTION).write_text(text, encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
