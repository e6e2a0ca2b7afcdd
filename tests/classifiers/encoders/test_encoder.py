"""The default encoder is the one it says it is, and its bits depend on nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from curator.classifiers.encoders.encoder import EncoderIdentity, open_encoder
from curator.classifiers.encoders.pipeline import encode_chunk
from curator.classifiers.encoders.projection import fit_projection
from curator.classifiers.encoders.weights import (
    BUNDLED_RULE,
    SMALLEST,
    automatic_size,
    bundled_weights,
    read_state,
)
from curator.settings.sections import ClassifierSettings, RuntimeSettings
from tests.classifiers.encoders.cases import (
    PHOTOGRAPHS,
    encode_all,
    open_tiny,
    photographs,
    random_pixels,
)

pytestmark = pytest.mark.slow

Logits = NDArray[np.float32]
BACKENDS = ("openvino", "torch")


def class_probabilities(features: NDArray[np.floating]) -> Logits:
    """ImageNet probabilities by the classifier that belongs to the default weights."""
    path = bundled_weights()
    assert path is not None
    state = read_state(path)
    logits = features.astype(np.float32) @ state["_fc.weight"].numpy().T
    logits += state["_fc.bias"].numpy()
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_default_encoder_recognises_photographs_of_known_things(
    backend: str, converted_networks: Path
) -> None:
    runtime = RuntimeSettings.model_validate({"backend": backend, "batch_size": 8})
    with open_encoder(
        ClassifierSettings(layers="final"), runtime, image_size=224, cache_folder=converted_networks
    ) as encoder:
        features = encode_all(encoder, photographs(224))
    probabilities = class_probabilities(features)
    named = [int(row.argmax()) in right for row, right in zip(
        probabilities, PHOTOGRAPHS.values(), strict=True
    )]  # fmt: skip
    assert all(named), dict(zip((path.name for path in PHOTOGRAPHS), named, strict=True))
    surest = [
        probabilities[row, sorted(right)].sum() for row, right in enumerate(PHOTOGRAPHS.values())
    ]
    assert sorted(surest)[1:] > [0.7] * 4


def test_another_order_of_tensors_would_be_noticed() -> None:
    """Tensors of one shape change places, which no check of shapes can see."""
    from curator.classifiers.encoders.timm_models import build_encoder
    from curator.classifiers.encoders.torch_engine import TorchEngine
    from curator.classifiers.encoders.weights import DEFAULT_MODEL, find_weights

    built = build_encoder(DEFAULT_MODEL, find_weights(DEFAULT_MODEL), 224)
    images = photographs(224)

    def recognised() -> int:
        engine = TorchEngine(
            built.module, image_size=224, batch_size=8, device="cpu", precision="float32"
        )
        found = encode_chunk(engine, range(len(images)), lambda index: images[index])
        engine.close()
        best = class_probabilities(found.features).argmax(axis=1)
        return sum(int(one) in right for one, right in zip(best, PHOTOGRAPHS.values(), strict=True))

    assert recognised() == len(images)
    state = built.module.stages.network.state_dict()
    twins = [(f"blocks.5.{block}.", f"blocks.5.{block + 1}.") for block in (0, 2)]
    for first, second in twins:
        for name in [name for name in state if name.startswith(first)]:
            held = state[name].clone()
            other = name.replace(first, second)
            if other in state and state[other].shape == held.shape:
                state[name].copy_(state[other])
                state[other].copy_(held)
    assert recognised() < len(images)


def test_pixels_are_normalised_as_the_default_weights_expect() -> None:
    """Against the network itself, fed with (x - 127) / 128 in float64; wrong ways differ."""
    import torch

    from curator.classifiers.encoders.timm_models import build_encoder
    from curator.classifiers.encoders.weights import DEFAULT_MODEL, find_weights

    built = build_encoder(DEFAULT_MODEL, find_weights(DEFAULT_MODEL), 224)
    network = built.module.stages.network.double()
    images = photographs(224)

    def reference(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        planes = torch.from_numpy(np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            found: NDArray[np.float64] = network(planes).numpy()
        return found

    given_pixels = images.astype(np.float64)
    right = reference((given_pixels - 127) / 128)
    wrong = {
        "timm's own": (given_pixels - 127.5) / 127.5,
        "ImageNet's": (given_pixels / 255 - 0.45) / 0.225,
        "BGR": ((given_pixels - 127) / 128)[..., ::-1],
        "0 to 1": given_pixels / 255,
    }
    runtime = RuntimeSettings(backend="torch", precision="float32", batch_size=8)
    with open_encoder(ClassifierSettings(layers="final"), runtime, image_size=224) as encoder:
        found = encode_all(encoder, images).astype(np.float64)
    error = np.abs(found - right).max()
    assert error < 0.005
    for name, inputs in wrong.items():
        assert np.abs(reference(inputs) - right).max() > 5 * error, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["float32", "auto"])
@pytest.mark.parametrize("layers", ["stages", "final"])
def test_features_depend_neither_on_workers_nor_on_the_rest_of_the_batch(
    layers: str, backend: str, precision: str, tiny_weights: Path, converted_networks: Path
) -> None:
    images = random_pixels(37)
    runtime = {"backend": backend, "precision": precision}
    projection = None
    if layers == "stages":
        with open_tiny(tiny_weights, converted_networks, **runtime) as encoder:
            raw = encode_all(encoder, random_pixels(60, seed=5)).astype(np.float32)
            projection = fit_projection(raw, encoder.groups)
    shuffled = np.random.default_rng(1).permutation(len(images))
    found: list[bytes] = []
    for workers in (1, 2, 3):
        with open_tiny(
            tiny_weights, converted_networks, layers, workers=workers, **runtime
        ) as opened:
            encoder = opened.projected(projection) if projection else opened
            features = encode_all(encoder, images)
            found.append(features.tobytes())
            back = np.empty_like(features)
            back[shuffled] = encode_all(encoder, images[shuffled])
            alone = encode_all(encoder, images[:1])
        found.append(back.tobytes())
        assert found[0].startswith(alone.tobytes())
    assert len(set(found)) == 1


def test_engines_agree_on_what_they_compute(tiny_weights: Path, converted_networks: Path) -> None:
    images = random_pixels(16)
    found = {}
    for backend in BACKENDS:
        with open_tiny(
            tiny_weights, converted_networks, backend=backend, precision="float32"
        ) as encoder:
            found[backend] = (encoder.identity, encode_all(encoder, images))
    (one, first), (other, second) = found.values()
    np.testing.assert_allclose(first, second, atol=2e-3)
    assert one.fingerprint() != other.fingerprint()
    assert one.computes_like(other)


def test_the_fingerprint_changes_with_whatever_changes_features(
    tiny_weights: Path, converted_networks: Path
) -> None:
    with open_tiny(tiny_weights, converted_networks) as encoder:
        identity = encoder.identity
    changed = {
        "model": "other",
        "weights_digest": "0" * 64,
        "dimension": 7,
        "image_size": 64,
        "mean": (0.0, 0.0, 0.0),
        "deviation": (1.0, 1.0, 1.0),
        "fit": "crop",
        "background": "#000000",
        "device": "cuda",
        "backend": "other",
        "precision": "float16",
        "code_version": 99,
        "layers": "final",
        "projection": "0" * 64,
        "instructions": "other",
    }
    assert set(changed) == set(EncoderIdentity.__dataclass_fields__)
    variants = [replace(identity, **{name: value}) for name, value in changed.items()]  # type: ignore[arg-type]
    fingerprints = {one.fingerprint() for one in (identity, *variants)}
    assert len(fingerprints) == 1 + len(changed)


@given(st.integers(1, 5_000))
def test_small_images_are_not_blown_up_and_large_ones_fill_the_native_size(side: int) -> None:
    size = automatic_size(BUNDLED_RULE, side)
    assert SMALLEST <= size <= BUNDLED_RULE.native_size
    assert size == SMALLEST or size < 2 * side + 32
    assert size == BUNDLED_RULE.native_size or size >= 2 * side
    assert automatic_size(replace(BUNDLED_RULE, fixed=True), side) == BUNDLED_RULE.native_size


def test_automatic_sizes_of_well_known_pools() -> None:
    sizes = {side: automatic_size(BUNDLED_RULE, side) for side in (24, 28, 32, 64, 112, 300)}
    assert sizes == {24: 64, 28: 64, 32: 64, 64: 128, 112: 224, 300: 224}
    assert automatic_size(BUNDLED_RULE, None) == 224
