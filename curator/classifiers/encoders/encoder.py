"""Encoders: a frozen pre-trained network that turns an image into features.

What an encoder is, down to its last bit, is its identity; features are kept under the
fingerprint of that identity, so that features of two encoders are never mixed. Batches
have a fixed size and are padded, and on a CPU the same image gives the same bits in any
batch, with any number of workers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from curator.classifiers.devices import Placement, choose_placement, worker_count
from curator.classifiers.encoders.engine import Engine
from curator.classifiers.encoders.inputs import BUNDLED_RULE, InputRule
from curator.classifiers.encoders.network_cache import NetworkCache
from curator.classifiers.encoders.openvino_engine import NotConvertible, OpenVinoEngine, converted
from curator.classifiers.encoders.pipeline import EncodedChunk, Item, Load, encode_stream
from curator.classifiers.encoders.weights import DEFAULT_MODEL, WeightSource, find_weights

if TYPE_CHECKING:
    from curator.classifiers.encoders.timm_models import BuiltEncoder

CODE_VERSION = 1
"""Raise it when a change of the code changes the bits of features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRequest:
    """Which encoder is wanted, in the words of the settings.

    `image_size` is the side of the input in pixels. `fit` and `background` say how images
    become square; they are the loader's business, and part of the identity.
    """

    model: str = DEFAULT_MODEL
    weights: str = ""
    image_size: int
    fit: str = "squash"
    background: str = "#ffffff"
    device: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    batch_size: int = 32
    workers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderIdentity:
    """Everything that the bits of a feature depend on, but for the versions of libraries.

    `weights_digest` is the SHA-256 of the tensors in use; `mean` and `deviation` belong to
    pixels in [0, 255]. Another version of torch or OpenVINO may round differently in the
    last bit, which is not worth computing a pool again; versions are noted beside it.
    """

    model: str
    weights_digest: str
    dimension: int
    image_size: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    fit: str
    background: str
    device: str
    backend: str
    precision: str
    code_version: int = CODE_VERSION

    def fingerprint(self) -> str:
        """SHA-256 of the identity, hexadecimal."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def computes_like(self, other: EncoderIdentity) -> bool:
        """Whether both mean the same function, perhaps rounded differently."""
        rounded_like_this = replace(
            other, device=self.device, backend=self.backend, precision=self.precision
        )
        return self == rounded_like_this

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> EncoderIdentity:
        """The identity that `dataclasses.asdict` and JSON made into `facts`."""
        triples = {name: tuple(facts[name]) for name in ("mean", "deviation")}
        return cls(**(dict(facts) | triples))


class Encoder:
    """An opened encoder. Close it, or use it in a `with` block."""

    def __init__(self, identity: EncoderIdentity, engine: Engine, workers: int) -> None:
        self.identity = identity
        self.engine = engine
        self.workers = workers

    def encode(self, items: Iterable[Item], load: Load[Item]) -> Iterator[EncodedChunk[Item]]:
        """Chunks of features for any number of references, in order; see `pipeline`."""
        return encode_stream(self.engine, items, load, workers=self.workers)

    def close(self) -> None:
        """Give back memory and threads."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def input_rule(model: str, weights: str = "") -> InputRule:
    """The size and the range of numbers that a model was trained with.

    Raises LearnError for an unknown model or missing weights.
    """
    source = find_weights(model, weights)
    if source.kind == "bundled":
        return BUNDLED_RULE
    from curator.classifiers.encoders import timm_models

    return timm_models.input_rule(model, source)


def open_encoder(request: EncoderRequest, *, keep_in: Path | None = None) -> Encoder:
    """Open the encoder that is asked for.

    `keep_in` is a folder for converted networks, so that the next start is quick. Raises
    LearnError if the model is unknown, its weights are missing or do not fit, or the
    device or engine is not there.
    """
    source = find_weights(request.model, request.weights)
    placement = choose_placement(
        device=request.device, backend=request.backend, precision=request.precision
    )
    if placement.backend == "openvino":
        try:
            return _on_openvino(request, source, placement, NetworkCache(keep_in))
        except NotConvertible:
            if request.backend == "openvino":
                raise
            placement = choose_placement(
                device=request.device, backend="torch", precision=request.precision
            )
    return _on_torch(request, source, placement)


def _on_openvino(
    request: EncoderRequest, source: WeightSource, placement: Placement, kept: NetworkCache
) -> Encoder:
    key = {
        "model": request.model,
        "weights": source.digest(),
        "image_size": request.image_size,
        "batch_size": request.batch_size,
        "code": CODE_VERSION,
        "versions": {name: version(name) for name in ("openvino", "timm", "torch")},
    }
    network = kept.load(key)
    if network is None:
        from curator.classifiers.encoders.timm_models import build_encoder

        built = build_encoder(request.model, source, request.image_size)
        network = converted(
            built.module,
            image_size=request.image_size,
            batch_size=request.batch_size,
            facts=asdict(_identity(request, built, placement)),
        )
        kept.keep(key, network)
    identity = replace(
        EncoderIdentity.from_facts(network.facts),
        fit=request.fit,
        background=request.background,
        device=placement.kind,
        precision=placement.precision,
    )
    workers = worker_count(request.workers)
    engine = OpenVinoEngine(
        network,
        image_size=request.image_size,
        batch_size=request.batch_size,
        precision=placement.precision,
        workers=workers,
    )
    return Encoder(identity, engine, workers)


def _on_torch(request: EncoderRequest, source: WeightSource, placement: Placement) -> Encoder:
    from curator.classifiers.encoders.timm_models import build_encoder
    from curator.classifiers.encoders.torch_engine import TorchEngine

    built = build_encoder(request.model, source, request.image_size)
    engine = TorchEngine(
        built.module,
        image_size=request.image_size,
        batch_size=request.batch_size,
        device=placement.device,
        precision=placement.precision,
    )
    identity = _identity(request, built, placement)
    return Encoder(identity, engine, worker_count(request.workers))


def _identity(
    request: EncoderRequest, built: BuiltEncoder, placement: Placement
) -> EncoderIdentity:
    return EncoderIdentity(
        model=request.model,
        weights_digest=built.weights_digest,
        dimension=built.dimension,
        image_size=request.image_size,
        mean=built.rule.mean,
        deviation=built.rule.deviation,
        fit=request.fit,
        background=request.background,
        device=placement.kind,
        backend=placement.backend,
        precision=placement.precision,
    )
