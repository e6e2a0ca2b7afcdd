"""Encoders: a frozen pre-trained network that turns an image into features.

An encoder's identity is everything that the bits of its features depend on; features are
stored under its fingerprint, so that features of two encoders are never mixed. Batches
have a fixed size and are padded, and on a CPU the same image gives the same bits in any
batch, with any number of workers.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import FloatArray
from curator.base.scaled_rows import pack_scaled, unpack_scaled
from curator.base.vocabulary import Quarantine
from curator.classifiers.devices import choose_placement, instruction_set, worker_count
from curator.classifiers.encoders.network_cache import CachedNetwork, load_network, store_network
from curator.classifiers.encoders.openvino_engine import NotConvertible, OpenVinoEngine, converted
from curator.classifiers.encoders.pipeline import (
    EncodedChunk,
    Engine,
    Item,
    Load,
    as_float16,
    encode_chunk,
)
from curator.classifiers.encoders.projection import PoolProjection
from curator.classifiers.encoders.weights import (
    BUNDLED_RULE,
    InputRule,
    WeightSource,
    find_weights,
)
from curator.errors import LearnError
from curator.imaging.problems import Unreadable
from curator.runtime.runtime import LocalRuntime, Runtime
from curator.settings.sections import ClassifierSettings, RuntimeSettings

if TYPE_CHECKING:
    from curator.classifiers.encoders.timm_models import BuiltEncoder

CODE_VERSION = 1
"""Raise it when a change of the code changes the bits of features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderIdentity:
    """Everything that the bits of a feature depend on, but for the versions of libraries.

    `weights_digest` is the SHA-256 of the tensors in use; `mean` and `deviation` belong to
    pixels in [0, 255]. `layers` is the setting, `projection` the SHA-256 of the projection that
    belongs to it, empty for a final layer; `instructions` is `devices.instruction_set`, empty for
    features from before it was recorded. Another version of torch or OpenVINO may round
    differently in the last bit, which is not worth encoding a pool again; versions are recorded
    beside it.
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
    layers: str = "final"
    projection: str = ""
    instructions: str = ""

    def fingerprint(self) -> str:
        """SHA-256 of the identity, hexadecimal."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def computes_like(self, other: EncoderIdentity) -> bool:
        """Whether both compute the same function, up to rounding."""
        return self == replace(
            other,
            device=self.device,
            backend=self.backend,
            precision=self.precision,
            instructions=self.instructions,
        )

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> EncoderIdentity:
        """The identity from JSON of its `dataclasses.asdict`."""
        triples = {name: tuple(facts[name]) for name in ("mean", "deviation")}
        return cls(**(dict(facts) | triples))


class Encoder:
    """An opened encoder. Close it, or use it in a `with` block.

    `groups` are the sizes of the groups that its raw output consists of. With `layers` of
    `stages` it gives features only once it has a projection.
    """

    def __init__(
        self,
        identity: EncoderIdentity,
        engine: Engine,
        workers: int,
        groups: tuple[int, ...],
        projection: PoolProjection | None = None,
        *,
        open_again: Callable[..., Encoder],
    ) -> None:
        """`open_again` opens another one like it, with a `projection` and `workers` threads."""
        self.engine = engine
        self.workers = workers
        self.groups = groups
        self.projection = projection
        self._identity = identity
        self._open_again = open_again

    @property
    def identity(self) -> EncoderIdentity:
        """What the bits of the features depend on."""
        if self.projection is None:
            return self._identity
        projection = self.projection
        return replace(self._identity, dimension=projection.axes, projection=projection.digest)

    @property
    def needs_projection(self) -> bool:
        """Whether it cannot give features yet, only raw numbers."""
        return self._identity.layers == "stages" and self.projection is None

    def projected(self, projection: PoolProjection) -> Encoder:
        """The same encoder with this projection; it shares the engine, and is closed with it."""
        return Encoder(
            self._identity,
            self.engine,
            self.workers,
            self.groups,
            projection,
            open_again=self._open_again,
        )

    def encode(
        self, items: Iterable[Item], load: Load[Item], runtime: Runtime | None = None
    ) -> Iterator[EncodedChunk[Item]]:
        """Chunks of features for any number of references, in order; see `pipeline`.

        `runtime` does the work, this computer without one; elsewhere, `load` and items are sent
        to the workers. Without a projection that it needs, features are raw numbers in float32.
        """
        batch = self.engine.batch_size
        if runtime is None or runtime.is_here:
            here = LocalRuntime(self.workers)
            work = partial(encode_chunk, load=load, finish=self.finish)
            yield from here.map(lambda _: self.engine, work, here.chunks(items, batch))
            return
        dimension = self.identity.dimension

        def lost(item: Item, reason: str) -> list[EncodedChunk[Item]]:
            problem = Unreadable(Quarantine.CORRUPT, reason)
            blank = np.zeros((1, dimension), np.float32)
            return [
                EncodedChunk(
                    items=(item,), features=blank, captured=np.ones(1), problems={0: problem}
                )
            ]

        opened = partial(_opened_like, self._open_again, self.projection, self.identity)
        encoded = partial(_encoded_all, load=load)
        for part in runtime.map(opened, encoded, runtime.chunks(items, batch), lost):
            yield from part

    def finish(self, raw: NDArray[np.float32]) -> tuple[NDArray[np.floating], FloatArray]:
        """Features as they are stored, of the engine's output; see `pipeline.Finish`."""
        if self.projection is None:
            return (raw, np.ones(len(raw))) if self.needs_projection else as_float16(raw)
        projected, captured = self.projection.apply(raw)
        try:
            return unpack_scaled(pack_scaled(projected)), captured
        except ValueError:
            return projected, captured  # it is refused with the numbers that are not finite

    def close(self) -> None:
        """Release memory and threads."""
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


def _opened_like(
    open_again: Callable[..., Encoder],
    projection: PoolProjection | None,
    identity: EncoderIdentity,
    threads: int,
) -> Encoder:
    """An encoder of a worker elsewhere. Raises LearnError if it computes other bits."""
    encoder = open_again(projection=projection, workers=threads)
    for name, value in asdict(encoder.identity).items():
        if value != getattr(identity, name):
            raise LearnError(
                f"The encoder would compute different features on the node {platform.node()} than"
                f" here: {name} is `{value}` there and `{getattr(identity, name)}` here.",
                "Run curator on a computer with the same kind of processor or GPU as the nodes, or"
                " set runtime.engine to `local`.",
            )
    return encoder


def _encoded_all(encoder: Encoder, items: list[Item], load: Load[Item]) -> list[EncodedChunk[Item]]:
    """One chunk of a worker elsewhere: in batches, as here."""
    return [replace(chunk, host=platform.node()) for chunk in encoder.encode(items, load)]


def input_rule(model: str, weights: str = "") -> InputRule:
    """The size and the range of numbers that a model was trained with.

    Raises LearnError for an unknown model or missing weights.
    """
    source = find_weights(model, weights)
    if source.kind == "bundled":
        return BUNDLED_RULE
    from curator.classifiers.encoders import timm_models

    return timm_models.input_rule(model, source)


def open_encoder(
    classifier: ClassifierSettings,
    runtime: RuntimeSettings,
    *,
    image_size: int,
    background: str = "#ffffff",
    cache_folder: Path | None = None,
    projection: PoolProjection | None = None,
) -> Encoder:
    """Open the encoder that `classifier` names for inputs of `image_size` pixels.

    `projection` is that of features of all stages, None where it is yet to be fitted.
    `background` is the colour behind transparent pixels, a part of the identity.
    `cache_folder` stores converted networks, so that the next start is quick. Raises
    LearnError if the model is unknown, its weights are missing or do not fit, or the
    device or engine is not there.
    """
    source = find_weights(classifier.model, classifier.weights)
    placement = choose_placement(
        device=runtime.device, backend=runtime.backend, precision=runtime.precision
    )
    workers = worker_count(runtime.workers)
    engine: Engine | None = None
    if placement.backend == "openvino":
        try:
            network = _converted(classifier, source, image_size, runtime.batch_size, cache_folder)
        except NotConvertible:
            if runtime.backend == "openvino":
                raise
            placement = choose_placement(
                device=runtime.device, backend="torch", precision=runtime.precision
            )
        else:
            facts = network.facts
            engine = OpenVinoEngine(
                network,
                image_size=image_size,
                batch_size=runtime.batch_size,
                precision=placement.precision,
                workers=workers,
            )
    if engine is None:
        from curator.classifiers.encoders.timm_models import build_encoder
        from curator.classifiers.encoders.torch_engine import TorchEngine

        built = build_encoder(classifier.model, source, image_size, classifier.layers)
        facts = _facts(built)
        engine = TorchEngine(
            built.module,
            image_size=image_size,
            batch_size=runtime.batch_size,
            device=placement.device,
            precision=placement.precision,
        )
    identity = EncoderIdentity(
        model=classifier.model,
        weights_digest=facts["weights_digest"],
        dimension=facts["dimension"],
        image_size=image_size,
        mean=tuple(facts["mean"]),
        deviation=tuple(facts["deviation"]),
        fit=classifier.fit,
        background=background,
        device=placement.kind,
        backend=placement.backend,
        precision=placement.precision,
        layers=classifier.layers,
        instructions=instruction_set(placement.device),
    )
    groups = tuple(facts["groups"])
    open_again = partial(
        _open_again,
        classifier,
        runtime.model_copy(update={"device": placement.kind}),  # a worker sees one GPU, number 0
        image_size=image_size,
        background=background,
        cache_folder=cache_folder,
    )
    return Encoder(identity, engine, workers, groups, projection, open_again=open_again)


def _open_again(
    classifier: ClassifierSettings, runtime: RuntimeSettings, *, workers: int, **choices: Any
) -> Encoder:
    return open_encoder(classifier, runtime.model_copy(update={"workers": workers}), **choices)


def _converted(
    classifier: ClassifierSettings,
    source: WeightSource,
    image_size: int,
    batch_size: int,
    cache_folder: Path | None,
) -> CachedNetwork:
    """The network for OpenVINO, from the cache if possible, which needs neither torch nor timm."""
    key = {
        "model": classifier.model,
        "layers": classifier.layers,
        "weights": source.digest(),
        "image_size": image_size,
        "batch_size": batch_size,
        "code": CODE_VERSION,
        "versions": {name: version(name) for name in ("openvino", "timm", "torch")},
    }
    network = load_network(cache_folder, key)
    if network is None:
        from curator.classifiers.encoders.timm_models import build_encoder

        built = build_encoder(classifier.model, source, image_size, classifier.layers)
        network = converted(
            built.module, image_size=image_size, batch_size=batch_size, facts=_facts(built)
        )
        store_network(cache_folder, key, network)
    return network


def _facts(built: BuiltEncoder) -> dict[str, Any]:
    """What an identity says about the network itself, as JSON values."""
    return {
        "weights_digest": built.weights_digest,
        "dimension": sum(built.groups),
        "groups": list(built.groups),
        "mean": list(built.rule.mean),
        "deviation": list(built.rule.deviation),
    }
