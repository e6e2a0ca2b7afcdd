"""A classifier of trained networks: everything it takes to score pixels, in one file.

The file is safetensors, named by the SHA-256 of its bytes, so that a round can say
exactly which model it used and nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.base.arrays import IntArray
from curator.base.progress import Progress
from curator.classifiers.model_file import read_model_file
from curator.classifiers.networks.batch_loading import margins_of
from curator.classifiers.networks.network import (
    NetworkRequest,
    PixelInput,
    PixelNetwork,
    rebuild_network,
)
from curator.classifiers.protocol import RowSource
from curator.errors import LearnError
from curator.statistics.calibration import CalibrationMap, Evidence, sigmoid

FORMAT = "curator-networks-1"

State = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetunedClassifier:
    """One network, or two that judge each other's half, with the map to probabilities.

    `states` are the networks' weights, `calibration` the map of both. `settings` says
    what they were trained with; `part` among them is the part of the pool (0 or 1) whose
    pseudo-labels taught them.
    """

    request: NetworkRequest
    pixels: PixelInput
    states: tuple[State, ...]
    calibration: CalibrationMap
    settings: Mapping[str, Any]

    @property
    def part(self) -> int:
        """The part of the pool that taught, 0 or 1."""
        return int(self.settings["part"])

    @property
    def turn(self) -> int:
        """How many rounds of networks came before."""
        return int(self.settings.get("turn", 0))

    @property
    def head_count(self) -> int:
        """How many networks there are."""
        return len(self.states)

    def networks(self, code_folder: Path | None = None) -> list[PixelNetwork]:
        """The networks, ready to score."""
        request = NetworkRequest(**{**_facts(self.request), "code_folder": code_folder})
        return [rebuild_network(request, self.pixels, state) for state in self.states]

    def to_bytes(self) -> bytes:
        """The content of the model file; the same classifier gives the same bytes."""
        from safetensors.torch import save

        tensors = {
            f"{index}.{name}": value.detach().cpu().contiguous()
            for index, state in enumerate(self.states)
            for name, value in state.items()
        }
        tensors["calibration"] = torch.from_numpy(self.calibration.as_array())
        described = {
            "format": FORMAT,
            "request": _facts(self.request),
            "pixels": asdict(self.pixels),
            "networks": len(self.states),
            "settings": dict(self.settings),
        }
        # One entry only: safetensors writes several in an order that differs between runs.
        return bytes(save(tensors, metadata={"curator": json.dumps(described, sort_keys=True)}))


def announce_user_code(request: NetworkRequest, folder: Path, progress: Progress) -> None:
    """Say so before code of the user's is run."""
    if request.is_user_code:
        progress.note(f"Running user code: `{request.model}`, imported from {folder}.")


@dataclass(frozen=True, slots=True)
class PixelsInMemory:
    """Pixels (rows, side, side, channels) in memory, read like a pack."""

    pixels: NDArray[np.uint8]

    def gather(self, rows: IntArray) -> NDArray[np.uint8]:
        """These rows, (rows, side, side, channels)."""
        return self.pixels[rows]


def score_unseen_pixels(
    networks: list[PixelNetwork],
    calibration: CalibrationMap,
    pixels: RowSource,
    rows: IntArray,
    device: str = "cpu",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(positive), calibrated and raw, (rows,), of images that no network met: the means."""
    margins = np.stack([margins_of(network, pixels, rows, device) for network in networks], axis=1)
    mean = margins.mean(axis=1)
    return calibration.probabilities(Evidence(mean)), sigmoid(mean)


def load_finetuned(path: Path, digest: str) -> FinetunedClassifier:
    """Read a model file back. Raises LearnError if it is missing or not what `digest` says."""
    described, tensors = read_model_file(path, digest, "pt")
    if described.get("format") != FORMAT:
        raise LearnError(
            f"{path} holds no fine-tuned networks.",
            "Set classifier.kind as it was for that round, or run `curator round` again.",
        )
    return _from_description(described, tensors)


def _from_description(described: dict[str, Any], tensors: State) -> FinetunedClassifier:
    facts = described["pixels"]
    triples = {name: tuple(facts[name]) for name in ("mean", "deviation")}
    states = []
    for index in range(described["networks"]):
        start = f"{index}."
        states.append({k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
    if "calibration" in tensors:
        calibration = CalibrationMap.from_array(tensors["calibration"].numpy())
    else:
        calibration = CalibrationMap.from_maps(
            tensors["log_slope"].numpy(), tensors["intercept"].numpy()
        )
    return FinetunedClassifier(
        request=NetworkRequest(**described["request"]),
        pixels=PixelInput(**{**facts, **triples}),
        states=tuple(states),
        calibration=calibration,
        settings=described["settings"],
    )


def _facts(request: NetworkRequest) -> dict[str, Any]:
    """The request without the place of the user's code, which belongs to this machine."""
    facts = asdict(request)
    del facts["code_folder"]
    return facts
