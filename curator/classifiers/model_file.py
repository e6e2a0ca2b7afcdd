"""Model files on disk: tensors as safetensors, with a description, named by their digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from curator.base.files import replacing
from curator.errors import LearnError


def write_model_file(folder: Path, content: bytes) -> str:
    """Write a model; returns its digest, from which its name follows."""
    digest = hashlib.sha256(content).hexdigest()
    with replacing(folder / f"{digest}.safetensors") as stream:
        stream.write(content)
    return digest


def read_model_file(
    path: Path, digest: str, framework: Literal["numpy", "pt"]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The description and the tensors by name, as arrays of `framework`.

    Raises LearnError if the file is missing, no model file, or not what `digest` says.
    """
    from safetensors import SafetensorError, safe_open

    try:
        content = path.read_bytes()
    except OSError as error:
        raise LearnError(
            f"The model {path} cannot be read: {error.strerror}.", "Run `curator round` again."
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise LearnError(
            f"The model {path} was changed after its round wrote it.", "Run `curator round` again."
        )
    try:
        with safe_open(path, framework=framework) as opened:
            described = json.loads((opened.metadata() or {}).get("curator", "{}"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise LearnError(f"{path} is not a model file.", "Run `curator round`.") from error
    return described, tensors
