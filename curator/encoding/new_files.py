"""Features of files that are not in the catalogue, for scoring them by a trained model.

They come from the same encoder as the model's own features, with the same preprocessing;
another engine or device may have computed those, which changes no more than a rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import PixelArray
from curator.base.progress import SILENT, Progress
from curator.catalogue.features import FeatureSetRecord
from curator.classifiers.encoders.encoder import EncoderIdentity
from curator.encoding.encoder_choice import open_workspace_encoder, pixel_loader
from curator.errors import DataError
from curator.imaging.problems import Unreadable
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPath:
    """A file with its features (dimension,) or pixels (side, side, channels), or its problem."""

    path: Path
    features: NDArray[np.floating] | PixelArray | None
    problem: Unreadable | None


def encode_paths(
    workspace: Workspace,
    paths: Iterable[Path],
    *,
    feature_set: FeatureSetRecord,
    progress: Progress = SILENT,
) -> Iterator[EncodedPath]:
    """Encode files in this order, with the encoder of `feature_set`.

    Raises DataError if the settings name another encoder by now, or the features were
    imported and there is no encoder; LearnError if it cannot be opened.
    """
    facts = feature_set.details.get("identity")
    if facts is None:
        raise DataError(
            f"The current model rests on imported features, `{feature_set.name}`, "
            "which cannot be computed for new images.",
            "Set classifier.model to a model of timm and run `curator round`.",
        )
    identity = EncoderIdentity.from_facts(facts)
    with open_workspace_encoder(workspace, feature_set) as encoder:
        if not encoder.identity.computes_like(identity):
            raise DataError(
                f"The current model was trained on features of another encoder, "
                f"{identity.model} at {identity.image_size} pixels, than the settings name now.",
                "Run `curator round`, or change the settings of `classifier` back.",
            )
        loader = pixel_loader(workspace.settings, identity.image_size)
        with progress.stage("encode") as stage:
            for chunk in encoder.encode(paths, lambda path: loader.load_path(os.fsencode(path))):
                stage.advance(len(chunk.items))
                for position, path in enumerate(chunk.items):
                    problem = chunk.problems.get(position)
                    features = None if problem else chunk.features[position]
                    yield EncodedPath(path=path, features=features, problem=problem)
