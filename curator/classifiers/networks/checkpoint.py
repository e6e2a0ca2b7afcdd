"""Where a training stands, on disk after every epoch, so that it can be taken up again.

A checkpoint holds tensors and plain numbers and is read with `weights_only=True`: nothing
in it is ever executed. It bears the digest of everything that the training depends on,
and one of another training is not taken up.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from curator.base.files import replacing
from curator.classifiers.encoders.weights import TORN


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` in place of an earlier checkpoint. Raises StorageError if that fails."""
    with replacing(path) as stream:
        torch.save(dict(state), stream)


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """The state of the training with this key; None if there is none that can be used."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, pickle.UnpicklingError, *TORN):
        return None  # damaged: the training begins anew
    return state if isinstance(state, dict) and state.get("key") == key else None
