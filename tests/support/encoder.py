"""A tiny encoder for tests: a real timm network with fixed random weights, from a local file.

It encodes hundreds of small pictures a second and tells synthetic classes apart well
enough for rounds to promote; nothing about it is downloaded.
"""

from __future__ import annotations

from pathlib import Path

MODEL = "test_resnet"
IMAGE_SIZE = 32


def write_weights(path: Path, seed: int = 0) -> Path:
    """Write weights for `MODEL`, the same bytes for the same seed."""
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model(MODEL, pretrained=False)
    save_file(network.state_dict(), path)
    return path


def settings(weights: Path) -> list[str]:
    """Arguments of `curator config` that make a workspace use the tiny encoder."""
    return [
        f"classifier.model={MODEL}",
        f'classifier.weights="{weights}"',
        f"classifier.image_size={IMAGE_SIZE}",
        "runtime.backend=torch",
        "runtime.precision=float32",
        "runtime.device=cpu",
    ]
