"""The current model as one file, for use without curator.

The file scores pixels as `predict` scores files: same encoder, heads and calibration. Its
metadata has the facts that a program needs: the input and how an image becomes it, the names
of the classes, the thresholds, and the meaning of the probabilities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.base.files import check_destination, replacing
from curator.base.progress import SILENT, Progress
from curator.base.version import __version__
from curator.catalogue.rounds import head
from curator.classifiers.encoders.encoder import EncoderIdentity
from curator.classifiers.heads.model import load_classifier
from curator.encoding.encoder_choice import read_projection
from curator.encoding.stored_rows import is_pack
from curator.errors import DataError
from curator.prediction.predict import CurrentModel, current_model
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelExportReport:
    """The written file; `facts` are also in it, under `curator` in its metadata."""

    destination: Path
    format: str
    size: int
    sha256: str
    facts: Mapping[str, Any]


def export_model(
    workspace: Workspace, destination: Path, *, force: bool = False, progress: Progress = SILENT
) -> ModelExportReport:
    """Write the model of the current round as ONNX (.onnx) or torch.export (.pt2).

    Raises UsageError for another suffix, DataError before the first round or where the
    features were imported, LearnError if the network cannot be written that way, and
    StorageError if the file exists or cannot be written.
    """
    from curator.classifiers.portable import as_file, file_kind

    kind = file_kind(destination)
    check_destination(destination, force=force)
    model = current_model(workspace)
    with progress.stage("model", 1, "files") as stage:
        module, shape, preprocessing = _module(workspace, model, progress)
        facts = _facts(workspace, model, shape, preprocessing)
        content = as_file(module, kind, shape, facts)
        with replacing(destination) as stream:
            stream.write(content)
        stage.advance()
    return ModelExportReport(
        destination=destination,
        format=kind.name.lower(),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        facts=facts,
    )


def _module(
    workspace: Workspace, model: CurrentModel, progress: Progress
) -> tuple[Any, tuple[int, int, int], dict[str, Any]]:
    """The classifier, the shape of one image, and how an image becomes that."""
    from curator.classifiers.portable import portable_heads, portable_networks

    if is_pack(model.feature_set):
        from curator.classifiers.networks.classifier import announce_user_code, load_finetuned

        trained = load_finetuned(model.path, model.digest)
        announce_user_code(trained.request, workspace.root, progress)
        pixels = trained.pixels
        shape = (pixels.side, pixels.side, pixels.channels)
        return portable_networks(trained, workspace.root), shape, _preprocessing(workspace)
    facts = model.feature_set.details.get("identity")
    if facts is None:
        raise DataError(
            f"The current model rests on imported features, `{model.feature_set.name}`, whose"
            " encoder curator does not know.",
            "Set classifier.model to a model of timm and run `curator round`.",
        )
    identity = EncoderIdentity.from_facts(facts)
    weights = workspace.settings.classifier.weights
    module = portable_heads(
        load_classifier(model.path, model.digest),
        identity,
        weights=str(workspace.root / Path(weights).expanduser()) if weights else "",
        projection=read_projection(workspace.catalogue, model.feature_set),
    )
    encoder_choices = {"fit": identity.fit, "background": identity.background}
    shape = (identity.image_size, identity.image_size, 3)
    return module, shape, _preprocessing(workspace) | encoder_choices


def _preprocessing(workspace: Workspace) -> dict[str, Any]:
    return {
        "orientation": "as EXIF says",
        "background": workspace.settings.ingest.background,
        "fit": workspace.settings.classifier.fit,
        "resampling": "bicubic with antialiasing (Pillow's BICUBIC)",
        "values": "0 to 255; normalisation is in the file",
    }


def _facts(
    workspace: Workspace,
    model: CurrentModel,
    shape: tuple[int, int, int],
    preprocessing: Mapping[str, Any],
) -> dict[str, Any]:
    from curator.classifiers.portable import FORMAT, INPUT

    classes, promotion = workspace.settings.classes, workspace.settings.promotion
    return {
        "format": FORMAT,
        "curator": __version__,
        "round": head(workspace.catalogue),
        "model_sha256": model.digest,
        "classes": {"positive": classes.positive, "negative": classes.negative},
        "input": {
            "name": INPUT,
            "type": "uint8",
            "shape": ["images", *shape],
            "colours": "RGB" if shape[2] == 3 else "grey",
        },
        "preprocessing": dict(preprocessing),
        "outputs": {
            "probability": f"P({classes.positive}), calibrated",
            "raw": f"P({classes.positive}), by the heads alone",
        },
        "thresholds": {
            "positive_above": promotion.promote_above,
            "negative_below": promotion.promote_below,
            "of": "raw" if promotion.score == "raw" else "probability",
        },
    }
