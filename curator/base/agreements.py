"""What the user of this computer has agreed to, kept outside of any workspace.

A workspace may come from somebody else, so what it asks for is not enough to run code. Agreements
lie under `$XDG_STATE_HOME/curator/trusted`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curator.base.files import replacing
from curator.errors import StorageError

_agreed_here: set[Path] = set()
"""Agreements of this process, which hold also where none can be kept."""


def has_agreed(matter: str) -> bool:
    """Whether the user has agreed to this very text."""
    path = _agreement(matter)
    return path in _agreed_here or path.is_file()


def agree(matter: str, about: Mapping[str, Any]) -> None:
    """Note that the user has agreed; `about` tells a reader to what.

    Raises StorageError if that cannot be kept.
    """
    path = _agreement(matter)
    _agreed_here.add(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{path.parent} cannot be made: {error.strerror}.",
            "Set XDG_STATE_HOME to a folder that you may write to.",
        ) from error
    with replacing(path) as stream:
        stream.write(json.dumps(about, indent=1).encode())


def _agreement(matter: str) -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    # A relative one would lie in the current folder, perhaps in the workspace itself.
    folder = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    name = hashlib.sha256(matter.encode("utf-8", "surrogateescape")).hexdigest()
    return folder / "curator" / "trusted" / f"{name}.json"
