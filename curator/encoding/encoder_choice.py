"""From a workspace's settings to its encoder, and back from features to settings.

The input size of `auto` is decided once, by the images that are there when the first
features are computed, and then kept: images that come later never change it, because
that would make all earlier features worthless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curator.catalogue import features as catalogued
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.images import small_side_quantile
from curator.classifiers.devices import choose_placement
from curator.classifiers.encoders.encoder import (
    CODE_VERSION,
    Encoder,
    EncoderIdentity,
    EncoderRequest,
    input_rule,
    open_encoder,
)
from curator.classifiers.encoders.inputs import POOL_SHARE, automatic_size
from curator.classifiers.encoders.loading import PixelLoader
from curator.classifiers.encoders.weights import find_weights
from curator.settings.sections import ClassifierSettings
from curator.workspace import Workspace

IMPORTED = "features:"
"""How the setting `classifier.model` begins for features that the user brought."""


def is_imported(workspace: Workspace) -> bool:
    """Whether the user brings the features, so that there is no encoder to run."""
    return encoder_settings(workspace).model.startswith(IMPORTED)


def encoder_settings(workspace: Workspace) -> ClassifierSettings:
    """The settings that name the encoder.

    Where networks are trained end to end, `classifier.model` is no encoder; queues that
    need features then take the default one.
    """
    chosen = workspace.settings.classifier
    return ClassifierSettings(fit=chosen.fit) if chosen.kind == "finetune" else chosen


def find_encoded(workspace: Workspace) -> FeatureSetRecord | None:
    """The set that holds what the current settings' encoder computes on this machine.

    Neither loads the encoder nor computes anything; None if there is no such set yet.
    Raises LearnError if weights, device or engine are not there.
    """
    records = catalogued.list_feature_sets(workspace.catalogue)
    if is_imported(workspace):
        return _newest_import(workspace, records)
    size = _settled_size(workspace, records)
    request = _requested(workspace) | {"image_size": size}
    runtime = workspace.settings.runtime
    placement = choose_placement(
        device=runtime.device, backend=runtime.backend, precision=runtime.precision
    )
    where = (placement.kind, placement.backend, placement.precision)
    for record in reversed(records):
        identity = record.details.get("identity", {})
        ran_on = tuple(identity.get(name) for name in ("device", "backend", "precision"))
        computed = record.details.get("request", {}) | {"image_size": identity.get("image_size")}
        if computed == request and ran_on == where:
            return record
    return None


def _newest_import(
    workspace: Workspace, records: list[FeatureSetRecord]
) -> FeatureSetRecord | None:
    """The last import under the name in the settings that came to its end."""
    for record in reversed(records):
        if record.name == workspace.settings.classifier.model:
            rows = catalogued.row_count(workspace.catalogue, record.feature_set_id)
            if rows == record.details["images"]:
                return record
    return None


def details_of(workspace: Workspace, identity: EncoderIdentity) -> dict[str, Any]:
    """What is kept beside a feature set: the wish, the encoder, and what computed it."""
    packages = ("torch", "timm", "openvino", "pillow")
    return {
        "request": _requested(workspace),
        "identity": asdict(identity),
        "versions": {name: version(name) for name in packages if _installed(name)},
    }


def open_workspace_encoder(workspace: Workspace, *, image_size: int | None = None) -> Encoder:
    """The encoder that the settings name, with `image_size` or the size they mean.

    Raises LearnError if it cannot be had.
    """
    chosen, runtime = encoder_settings(workspace), workspace.settings.runtime
    request = EncoderRequest(
        model=chosen.model,
        weights=weights_file(workspace),
        image_size=image_size or _image_size(workspace),
        fit=chosen.fit,
        background=workspace.settings.ingest.background,
        device=runtime.device,
        backend=runtime.backend,
        precision=runtime.precision,
        batch_size=runtime.batch_size,
        workers=runtime.workers,
    )
    return open_encoder(request, keep_in=workspace.folder("models") / "encoders")


def pixel_loader(workspace: Workspace, image_size: int) -> PixelLoader:
    """What reads images for an encoder, by this workspace's rules."""
    settings = workspace.settings
    return PixelLoader(side=image_size, fit=settings.classifier.fit, ingest=settings.ingest)


def _image_size(workspace: Workspace) -> int:
    settled = _settled_size(workspace, catalogued.list_feature_sets(workspace.catalogue))
    if settled is not None:
        return settled
    rule = input_rule(workspace.settings.classifier.model, weights_file(workspace))
    return automatic_size(rule, small_side_quantile(workspace.catalogue, share=POOL_SHARE))


def _settled_size(workspace: Workspace, records: list[FeatureSetRecord]) -> int | None:
    """The size in the settings, or what `auto` came to mean for this model; None if open."""
    chosen = workspace.settings.classifier
    if chosen.image_size != "auto":
        return chosen.image_size
    for record in records:
        request: Mapping[str, Any] = record.details.get("request", {})
        if (request.get("model"), request.get("image_size")) == (chosen.model, "auto"):
            return int(record.details["identity"]["image_size"])
    return None


def _requested(workspace: Workspace) -> dict[str, Any]:
    """The settings that decide about features, with a weights file named by its content."""
    chosen = encoder_settings(workspace)
    return {
        "model": chosen.model,
        "weights": find_weights(chosen.model, weights_file(workspace)).digest(),
        "image_size": chosen.image_size,
        "fit": chosen.fit,
        "background": workspace.settings.ingest.background,
        "code": CODE_VERSION,
    }


def weights_file(workspace: Workspace) -> str:
    """The user's weights file, seen from the workspace; empty for the model's usual ones."""
    weights = workspace.settings.classifier.weights
    return str(workspace.root / Path(weights).expanduser()) if weights else ""


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec({"pillow": "PIL"}.get(package, package)) is not None
