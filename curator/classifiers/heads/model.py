"""A trained classifier of the frozen kind: what it takes to score features, in one file.

The file is safetensors, named by the SHA-256 of its bytes, so that a round can say
exactly which model it used and nothing is ever unpickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.classifiers.heads.solver import LinearHeads
from curator.classifiers.model_file import read_model_file
from curator.errors import LearnError
from curator.statistics.calibration import CalibrationMap

FORMAT = "curator-heads-3"
_MAP_PER_HEAD = ("curator-heads-1", "curator-heads-2")
"""Formats of earlier versions, with a calibration map for each head."""

SQUARED_LENGTH = 1_000.0
"""Mean squared length of a centred row whose axes keep their variance."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardizer:
    """Centre and scale of each feature, (features,) float32; constant features vanish."""

    mean: Float32
    inverse_scale: Float32

    def apply(self, features: NDArray[np.floating]) -> Float32:
        """Standardised float32 features, (rows, features)."""
        standard: Float32 = np.subtract(features, self.mean, dtype=np.float32)
        standard *= self.inverse_scale
        return standard

    def folded_into(self, heads: LinearHeads) -> LinearHeads:
        """The same heads for raw features."""
        scaled = heads.weights * self.inverse_scale[:, None]
        shift = heads.bias - self.mean @ scaled
        return LinearHeads(weights=np.ascontiguousarray(scaled), bias=shift.astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenClassifier:
    """K heads over the features of one encoder, with the map from margins to probabilities.

    `calibration` is for the pool, where neighbours count; `alone` is for the heads' own margins,
    as of images that are in no pool. `settings` says what the heads were trained with: encoder
    fingerprint, folds, seed, class names, basis of the calibration, and the digest of the
    neighbours' graph, None where they were left out.
    """

    standardizer: Standardizer
    heads: LinearHeads
    calibration: CalibrationMap
    alone: CalibrationMap
    settings: dict[str, Any]

    @property
    def head_count(self) -> int:
        """K."""
        return int(self.heads.weights.shape[1])

    def on_raw_features(self) -> LinearHeads:
        """The same heads with standardisation folded in, for features (rows, features)."""
        return self.standardizer.folded_into(self.heads)

    def to_bytes(self) -> bytes:
        """The content of the model file; the same classifier gives the same bytes."""
        from safetensors.numpy import save

        tensors: dict[str, NDArray[Any]] = {
            "mean": self.standardizer.mean,
            "inverse_scale": self.standardizer.inverse_scale,
            "weights": self.heads.weights,
            "bias": self.heads.bias,
            "calibration": self.calibration.as_array(),
            "alone": self.alone.as_array(),
        }
        # One entry only: safetensors writes several in an order that differs between runs.
        described = json.dumps({"format": FORMAT, "settings": self.settings}, sort_keys=True)
        return bytes(save(tensors, metadata={"curator": described}))


def standardize(
    count: int,
    total: NDArray[np.float64],
    squares: NDArray[np.float64],
    *,
    keeps_variance: bool = False,
) -> Standardizer:
    """Centre and scale from sums over rows: `total` and `squares` are (features,).

    With `keeps_variance` all features get one factor, after which the mean squared length of a
    row is `SQUARED_LENGTH`; without, each gets unit variance.
    Raises LearnError if every feature is the same for all images.
    """
    mean = total / count
    variance = np.maximum(squares / count - np.square(mean), 0.0)
    scale = np.sqrt(variance)
    varies = scale > 1e-6 * np.maximum(np.abs(mean), 1.0)
    if not varies.any():
        raise LearnError(
            f"The features of all {count:,} images are identical, so no classifier can be trained.",
            "Choose another encoder with `curator config classifier.model=NAME`, or check the"
            " features that you imported.",
        )
    if keeps_variance:
        scale = np.full_like(scale, np.sqrt(variance[varies].sum() / SQUARED_LENGTH))
    inverse = np.where(varies, 1.0 / np.where(varies, scale, 1.0), 0.0)
    return Standardizer(mean=mean.astype(np.float32), inverse_scale=inverse.astype(np.float32))


def load_classifier(path: Path, digest: str) -> FrozenClassifier:
    """Read a model file back. Raises LearnError if it is missing or not what `digest` says."""
    metadata, tensors = read_model_file(path, digest, "numpy")
    if metadata.get("format") in _MAP_PER_HEAD:
        prefix = "alone_" if "alone_log_slope" in tensors else ""
        alone = calibration = CalibrationMap.from_maps(
            tensors[f"{prefix}log_slope"], tensors[f"{prefix}intercept"]
        )
    elif metadata.get("format") == FORMAT:
        calibration = CalibrationMap.from_array(tensors["calibration"])
        alone = CalibrationMap.from_array(tensors["alone"])
    else:
        raise LearnError(
            f"{path} has the format {metadata.get('format')}, which this version cannot read.",
            "Update curator.",
        )
    return FrozenClassifier(
        standardizer=Standardizer(mean=tensors["mean"], inverse_scale=tensors["inverse_scale"]),
        heads=LinearHeads(weights=tensors["weights"], bias=tensors["bias"]),
        calibration=calibration,
        alone=alone,
        settings=metadata["settings"],
    )
