"""A trained classifier as one file that other programs run: ONNX, or torch.export.

From uint8 pixels to P(positive): normalisation, network, heads and calibration are in the
file, and the scores are those that `predict` gives. What happens before, how an image
becomes square pixels, is described in the file, with the names of the classes.
"""

from __future__ import annotations

import io
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from curator.classifiers.encoders.encoder import EncoderIdentity
from curator.classifiers.encoders.projection import PoolProjection
from curator.classifiers.encoders.weights import find_weights
from curator.classifiers.heads.model import FrozenClassifier
from curator.classifiers.quiet import quiet_libraries
from curator.errors import LearnError, UsageError
from curator.statistics.calibration import CalibrationMap

with quiet_libraries():
    import torch
    from torch import nn

    from curator.classifiers.encoders.timm_models import build_encoder
    from curator.classifiers.networks.classifier import FinetunedClassifier

FACTS = "curator"
"""The entry of a file's own metadata that says what it takes and gives, as JSON."""

FORMAT = "curator-portable-1"
INPUT, OUTPUTS = "pixels", ("probability", "raw")


class FileKind(StrEnum):
    """What a file is written as, by its suffix."""

    ONNX = ".onnx"
    TORCH = ".pt2"


class Calibrated(nn.Module):
    """Margins (N, K) to P(positive) (N,), calibrated and raw, from their mean."""

    def __init__(self, calibration: CalibrationMap) -> None:
        super().__init__()
        self.calibration = calibration
        self.slope = math.exp(calibration.log_slope)

    def forward(self, margins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The two probabilities."""
        mean = margins.mean(dim=1)
        z = mean * self.slope + self.calibration.intercept
        damped = z / torch.sqrt(1.0 + self.calibration.widening * z * z)
        return torch.sigmoid(damped), torch.sigmoid(mean)


class Projected(nn.Module):
    """Raw numbers (N, raw) to features (N, axes), with the steps in which they are stored."""

    def __init__(self, projection: PoolProjection) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.weight: torch.Tensor
        self.directions: torch.Tensor
        self.register_buffer("mean", torch.from_numpy(projection.mean))
        self.register_buffer("weight", torch.from_numpy(projection.weight))
        directions = torch.from_numpy(projection.directions).float() * projection.factor
        self.register_buffer("directions", directions)

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """The features."""
        values = ((raw - self.mean) * self.weight) @ self.directions
        scale = values.abs().amax(dim=1, keepdim=True) / 127
        return torch.round(values / scale) * scale


class PortableHeads(nn.Module):
    """An encoder and its heads, for pixels (N, S, S, 3), uint8, RGB."""

    def __init__(
        self, encoder: nn.Module, classifier: FrozenClassifier, projection: PoolProjection | None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projected = Projected(projection) if projection else None
        self.calibrated = Calibrated(classifier.alone)
        heads = classifier.on_raw_features()
        self.weights: torch.Tensor
        self.bias: torch.Tensor
        self.register_buffer("weights", torch.from_numpy(heads.weights))
        self.register_buffer("bias", torch.from_numpy(heads.bias))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """P(positive) of each image, (N,), calibrated and raw."""
        features = self.encoder(pixels)
        # A final layer is kept in 16 bits, a projection in 8.
        features = self.projected(features) if self.projected else features.half().float()
        calibrated: tuple[torch.Tensor, torch.Tensor]
        calibrated = self.calibrated(features @ self.weights + self.bias)
        return calibrated


class PortableNetworks(nn.Module):
    """Trained networks, for pixels (N, S, S, channels), uint8."""

    def __init__(self, networks: list[nn.Module], calibration: CalibrationMap) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.calibrated = Calibrated(calibration)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """P(positive) of each image, (N,), calibrated and raw."""
        inputs = pixels.permute(0, 3, 1, 2).float() / 255.0
        margins = torch.stack([network(inputs) for network in self.networks], dim=1)
        calibrated: tuple[torch.Tensor, torch.Tensor] = self.calibrated(margins)
        return calibrated


def file_kind(path: Path) -> FileKind:
    """What the suffix stands for. Raises UsageError if it stands for nothing."""
    try:
        return FileKind(path.suffix.lower())
    except ValueError:
        raise UsageError(
            f"The name {path.name} has no known suffix.",
            "Use .onnx (ONNX) or .pt2 (torch.export).",
        ) from None


def portable_heads(
    classifier: FrozenClassifier,
    identity: EncoderIdentity,
    *,
    weights: str,
    projection: PoolProjection | None,
) -> nn.Module:
    """The frozen kind, with its encoder in float32.

    Raises LearnError if the encoder's weights are not those that the heads were trained on.
    """
    model = identity.model
    source = find_weights(model, weights)
    built = build_encoder(model, source, identity.image_size, identity.layers)
    if built.weights_digest != identity.weights_digest:
        raise LearnError(
            f"The weights of `{model}` are not those that the current model was trained with.",
            "Run `curator round` again, or set classifier.weights to the former file.",
        )
    return PortableHeads(built.module, classifier, projection).eval().requires_grad_(False)


def portable_networks(classifier: FinetunedClassifier, code_folder: Path) -> nn.Module:
    """The finetune kind: all its networks."""
    networks: list[nn.Module] = list(classifier.networks(code_folder))
    return PortableNetworks(networks, classifier.calibration).eval().requires_grad_(False)


def as_file(
    module: nn.Module, kind: FileKind, shape: tuple[int, int, int], facts: Mapping[str, Any]
) -> bytes:
    """The content of the file; `shape` is that of one image, (S, S, channels).

    Raises LearnError if the network cannot be written that way, or ONNX is not installed.
    """
    if kind is FileKind.ONNX:
        _need_onnx()
    # Two images, because one would be taken for a constant.
    example = (torch.zeros((2, *shape), dtype=torch.uint8),)
    described = json.dumps(dict(facts), sort_keys=True, ensure_ascii=False)
    with _quiet():
        try:
            program = torch.export.export(
                module, example, dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
            )
            write = _onnx if kind is FileKind.ONNX else _torch
            return write(program, described)
        except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
            raise LearnError(
                f"This network cannot be exported as {kind} ({str(error).splitlines()[0]}).",
                "Try the other suffix, .onnx or .pt2, or another model.",
            ) from error


def _torch(program: torch.export.ExportedProgram, described: str) -> bytes:
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={f"{FACTS}.json": described})
    return stream.getvalue()


def _onnx(program: torch.export.ExportedProgram, described: str) -> bytes:
    exported = torch.onnx.export(
        program, dynamo=True, input_names=[INPUT], output_names=list(OUTPUTS), verbose=False
    )
    assert exported is not None
    proto = exported.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = FACTS, described
    content: bytes = proto.SerializeToString()
    return content


def _need_onnx() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise LearnError(
            f"Writing ONNX needs the package {' and '.join(missing)}.",
            "Install it with `pip install 'curator[onnx]'`, or write a .pt2 file.",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' own narration away from the user's terminal."""
    chatty = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in chatty]
    with warnings.catch_warnings(), quiet_libraries():
        warnings.simplefilter("ignore")
        for logger in chatty:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(chatty, levels, strict=True):
                logger.setLevel(level)
