"""From a workspace's settings to its encoder, and from settings to stored features.

The input size of `auto` is decided once, by the images that exist when the first
features are computed: images that come later never change it, because that would make
all earlier features worthless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curator.catalogue import features as catalogued
from curator.catalogue.engine import Catalogue
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.images import small_side_quantile
from curator.classifiers.devices import choose_placement, instruction_set
from curator.classifiers.encoders.encoder import (
    CODE_VERSION,
    Encoder,
    EncoderIdentity,
    input_rule,
    open_encoder,
)
from curator.classifiers.encoders.pipeline import PixelLoader
from curator.classifiers.encoders.projection import PoolProjection
from curator.classifiers.encoders.weights import POOL_SHARE, automatic_size, find_weights
from curator.errors import StorageError
from curator.settings.sections import ClassifierSettings, Settings
from curator.workspace import Workspace

IMPORTED = "features:"
"""How the setting `classifier.model` begins for imported features."""

_PACKAGES = {"torch": "torch", "timm": "timm", "openvino": "openvino", "pillow": "PIL"}
"""Distributions whose versions are recorded with features, and their modules."""


def encoder_settings(settings: Settings, root: Path) -> ClassifierSettings:
    """The section that names the encoder, with the absolute path of the user's weights file.

    `root` is the workspace's folder.

    Where networks are trained end to end, model and weights are those of the network;
    queues that need features then use the default encoder.
    """
    classifier = settings.classifier
    if classifier.kind == "finetune":
        return ClassifierSettings(image_size=classifier.image_size, fit=classifier.fit)
    if not classifier.weights:
        return classifier
    path = root / Path(classifier.weights).expanduser()
    return classifier.model_copy(update={"weights": str(path)})


def find_encoded(workspace: Workspace) -> FeatureSetRecord | None:
    """The set that holds what the current settings' encoder computes on this machine.

    Neither loads the encoder nor computes anything; None if there is no such set yet.
    Raises LearnError if weights, device or engine are missing.
    """
    catalogue, settings = workspace.catalogue, workspace.settings
    classifier, runtime = encoder_settings(settings, workspace.root), settings.runtime
    records = catalogued.list_feature_sets(catalogue)
    if classifier.model.startswith(IMPORTED):
        for record in reversed(records):
            # An import that was interrupted has fewer rows than images and does not count.
            if record.name == classifier.model and record.details["images"] == (
                catalogued.row_count(catalogue, record.feature_set_id)
            ):
                return record
        return None
    request = _request(classifier, settings.ingest.background)
    request["image_size"] = _settled_size(classifier, records)
    placement = choose_placement(
        device=runtime.device, backend=runtime.backend, precision=runtime.precision
    )
    ran_on = {
        "device": placement.kind,
        "backend": placement.backend,
        "precision": placement.precision,
        "instructions": instruction_set(placement.device),
    }
    earlier = None
    for record in reversed(records):
        identity = record.details.get("identity", {})
        computed = record.details.get("request", {}) | {"image_size": identity.get("image_size")}
        # Features from before instruction sets were recorded do not name theirs.
        if any(identity.get(name, ran_on["instructions"]) != ran_on[name] for name in ran_on):
            continue
        is_earlier = "layers" not in computed
        if computed | {"layers": computed.get("layers", "final")} == request:
            return record
        if is_earlier and earlier is None and computed | {"layers": request["layers"]} == request:
            earlier = record
    # A workspace of an earlier version keeps its features until its user asks for others.
    return earlier


def is_projected(record: FeatureSetRecord) -> bool:
    """Whether a set of features is a projection of numbers from all stages of a network."""
    identity: dict[str, Any] = record.details.get("identity", {})
    return identity.get("layers") == "stages"


def read_projection(catalogue: Catalogue, record: FeatureSetRecord) -> PoolProjection | None:
    """The projection of a set of features, None for a last layer.

    Raises StorageError if the catalogue does not have it.
    """
    if not is_projected(record):
        return None
    content = catalogued.projection_content(catalogue, record.feature_set_id)
    try:
        return PoolProjection.from_bytes(content or b"")
    except (ValueError, EOFError) as error:
        raise StorageError(
            f"The catalogue lacks the projection of the features of `{record.name}`.",
            "Compute other features with `curator encode --refit`.",
        ) from error


def feature_set_details(
    classifier: ClassifierSettings, background: str, identity: EncoderIdentity
) -> dict[str, Any]:
    """What is recorded with a feature set: the settings, the encoder, and library versions."""
    installed = [name for name, module in _PACKAGES.items() if find_spec(module)]
    return {
        "request": _request(classifier, background),
        "identity": asdict(identity),
        "versions": {name: version(name) for name in installed},
    }


def open_workspace_encoder(
    workspace: Workspace, record: FeatureSetRecord | None = None, *, refit: bool = False
) -> Encoder:
    """The encoder that the settings name, as for the features of `record`.

    Without a record it is as for the current features; if there are none, or with `refit`, its
    projection is yet to be fitted. Raises LearnError if weights, device or engine are missing.
    """
    settings = workspace.settings
    classifier = encoder_settings(settings, workspace.root)
    record = record or (None if refit else find_encoded(workspace))
    image_size, projection = None, None
    if record is not None:
        identity = EncoderIdentity.from_facts(record.details["identity"])
        image_size, projection = identity.image_size, read_projection(workspace.catalogue, record)
        classifier = classifier.model_copy(update={"layers": identity.layers})
    if image_size is None:
        records = catalogued.list_feature_sets(workspace.catalogue)
        image_size = _settled_size(classifier, records)
    if image_size is None:
        small_side = small_side_quantile(workspace.catalogue, share=POOL_SHARE)
        image_size = automatic_size(input_rule(classifier.model, classifier.weights), small_side)
    return open_encoder(
        classifier,
        settings.runtime,
        image_size=image_size,
        background=settings.ingest.background,
        cache_folder=workspace.folder("models") / "encoders",
        projection=projection,
    )


def pixel_loader(settings: Settings, image_size: int) -> PixelLoader:
    """Reads images for an encoder with inputs of `image_size` pixels."""
    return PixelLoader(side=image_size, fit=settings.classifier.fit, ingest=settings.ingest)


def _settled_size(
    classifier: ClassifierSettings, records: Sequence[FeatureSetRecord]
) -> int | None:
    """The size in the settings, or what `auto` was decided to be for this model, if it was."""
    if classifier.image_size != "auto":
        return classifier.image_size
    for record in records:
        request = record.details.get("request", {})
        if (request.get("model"), request.get("image_size")) == (classifier.model, "auto"):
            return int(record.details["identity"]["image_size"])
    return None


def _request(classifier: ClassifierSettings, background: str) -> dict[str, Any]:
    """The settings that features depend on, with a weights file named by its content."""
    return {
        "model": classifier.model,
        "weights": find_weights(classifier.model, classifier.weights).digest(),
        "image_size": classifier.image_size,
        "fit": classifier.fit,
        "background": background,
        "code": CODE_VERSION,
        "layers": classifier.layers,
    }
