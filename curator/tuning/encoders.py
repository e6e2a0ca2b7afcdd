"""Which encoder suits a pool: a list of current ones, and a trial on the user's own labels.

A trial encodes the labelled images and a sample of the pool with each encoder, trains heads on the
features as a round does (without neighbours and pseudo-labels), and compares what heads that were
not trained on a label predict for it. All encoders see the same images, so differences are paired.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import FloatArray, IntArray
from curator.base.progress import SILENT, Progress
from curator.base.scaled_rows import pack_scaled, scaled_dtype, unpack_scaled
from curator.catalogue import features as catalogued
from curator.catalogue.images import small_side_quantile
from curator.catalogue.pool import HumanLabels, human_labels, pool_size
from curator.classifiers.encoders.encoder import input_rule, open_encoder
from curator.classifiers.encoders.projection import fit_projection
from curator.classifiers.encoders.weights import (
    DEFAULT_MODEL,
    POOL_SHARE,
    automatic_size,
    find_weights,
)
from curator.classifiers.heads.frozen import FrozenHeads
from curator.classifiers.protocol import PoolSlice, TrainingInputs, TrainingLabels
from curator.encoding.alternate_files import check_pool
from curator.encoding.encoder_choice import IMPORTED, encoder_settings, pixel_loader
from curator.encoding.projections import SAMPLE
from curator.encoding.stored_rows import files_of
from curator.errors import UsageError
from curator.rounds.labels import check_labels, training_labels
from curator.settings.sections import ClassifierSettings, Settings
from curator.statistics.folds import sampling_rank
from curator.workspace import Workspace

MOST_LABELS = 2_000
_TIMED_BATCHES = 4

KNOWN = {
    DEFAULT_MODEL: "installed with curator; small and fast, trained on the classes of ImageNet",
    "convnext_tiny.in12k_ft_in1k": "trained on 12,000 classes; takes any image size",
    "convnext_tiny.dinov3_lvd1689m": "DINOv3, self-supervised; parts, surfaces, any image size",
    "vit_small_patch14_reg4_dinov2.lvd142m": "DINOv2, self-supervised; fine differences",
    "vit_small_patch16_dinov3.lvd1689m": "DINOv3, self-supervised; fine differences",
    "vit_base_patch16_siglip_gap_224.v2_webli": "SigLIP 2, trained on captions; kinds of objects",
    "eva02_small_patch14_336.mim_in22k_ft_in1k": "EVA-02, trained on masked images, then on 1,000"
    " classes",
    "vit_pe_core_small_patch16_384.fb": "PE-Core, trained on captions; kinds of objects, scenes",
}
"""timm's name of an encoder → how it was trained, and so what it may be good at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFacts:
    """What timm says of an encoder. `licence` is that of the weights; `rate` is images/s here,
    without reading files, None for weights that are not on this machine."""

    model: str
    licence: str
    parameters: int
    image_size: int
    dimension: int
    good_at: str
    downloaded: bool
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderTrial:
    """What an encoder's features make of the labels.

    `log_loss` is per label, of heads that were not trained on it; `difference` its difference from
    the first encoder of the trial, with `standard_error`. `coverage` is the share of the sampled
    images without a label whose score is beyond the thresholds, `error` that of labelled images
    beyond them, None without any. `rate` is images/s here, from file to feature.
    """

    model: str
    image_size: int
    labels: int
    log_loss: float
    difference: float
    standard_error: float
    coverage: float
    error: float | None
    rate: float
    pool_seconds: float
    row_bytes: int


def list_encoders(workspace: Workspace) -> Iterator[EncoderFacts]:
    """The known encoders, one after the other, with the speed of those that are here."""
    from curator.classifiers.encoders import timm_models

    for model, good_at in KNOWN.items():
        source = find_weights(model)
        facts = timm_models.model_facts(model)
        here = source.path is not None or timm_models.is_downloaded(model)
        rule = timm_models.input_rule(model, source)
        yield EncoderFacts(
            model=model,
            licence=facts.licence,
            parameters=facts.parameters,
            image_size=rule.native_size,
            dimension=facts.dimension,
            good_at=good_at,
            downloaded=here,
            rate=_rate(workspace, model, rule.native_size) if here else None,
        )


def _rate(workspace: Workspace, model: str, image_size: int) -> float:
    with open_encoder(
        ClassifierSettings(model=model),
        workspace.settings.runtime,
        image_size=image_size,
        cache_folder=workspace.folder("models") / "encoders",
    ) as encoder:
        batch, size = encoder.engine.new_batch(), encoder.engine.batch_size
        pixels = [batch[0]] * (size * encoder.workers * _TIMED_BATCHES)
        # The first batch also pays for memory and kernels.
        encoder.engine.run(batch)
        begun = time.perf_counter()
        for _ in encoder.encode(pixels, lambda square: square):
            pass
        return len(pixels) / (time.perf_counter() - begun)


def try_encoders(
    workspace: Workspace,
    names: Sequence[str],
    *,
    images: int = SAMPLE,
    progress: Progress = SILENT,
) -> Iterator[EncoderTrial]:
    """Compare encoders on the labels of the workspace; that of the settings comes first.

    A name is one of timm's, or `MODEL=FILE` for weights of your own. `images` of the pool are
    encoded beside the labelled ones. Nothing is stored but converted networks. Raises DataError if
    the labels cannot train anything, LearnError if an encoder is unknown or its weights are not to
    be had.
    """
    catalogue = workspace.catalogue
    check_pool(catalogue)
    choices = [_choice(workspace, name) for name in names]
    current = encoder_settings(workspace.settings, workspace.root)
    if not current.model.startswith(IMPORTED):
        choices = [current, *(choice for choice in choices if choice != current)]
    settings = _trial_settings(workspace.settings)
    heads = FrozenHeads(settings)
    sample = catalogued.images_by_content(catalogue, images)
    human = _subsample(human_labels(catalogue, None), settings.runtime.seed)
    encoded = np.union1d(human.image_ids, sample)
    baseline: FloatArray | None = None
    for choice in choices:
        ids, features, trial = _encoded(workspace, choice, encoded, progress)
        rows = np.searchsorted(ids, human.image_ids)
        present = ids[np.minimum(rows, len(ids) - 1)] == human.image_ids
        labels = training_labels(
            replace(human, feature_rows=np.where(present, rows, -1)),
            heads.folds,
            settings.runtime.seed,
        )
        check_labels(labels, human, pool_size(catalogue), settings.classes)
        losses, trial = _judged(heads, settings, labels, features, trial, progress)
        # Images that one encoder could not read are missing for all: they read the same files.
        baseline = losses if baseline is None else baseline
        paired = losses - baseline
        yield replace(
            trial,
            difference=float(paired.mean()),
            standard_error=float(paired.std(ddof=1) / np.sqrt(len(paired))),
        )


def _choice(workspace: Workspace, name: str) -> ClassifierSettings:
    model, _, weights = name.partition("=")
    if model.startswith(IMPORTED) or ":" in model:
        raise UsageError(
            f"`{model}` is not an encoder of timm.",
            "`curator encoders` lists some.",
        )
    path = str(Path(weights).expanduser().absolute()) if weights else ""
    same = workspace.settings.classifier.model_dump(include={"fit", "image_size"})
    return ClassifierSettings(model=model, weights=path, **same)


def _trial_settings(settings: Settings) -> Settings:
    classifier = settings.classifier.model_copy(
        update={"kind": "frozen", "pseudo_labels": False, "neighbours": False}
    )
    return settings.model_copy(update={"classifier": classifier})


def _subsample(human: HumanLabels, seed: int) -> HumanLabels:
    """At most `MOST_LABELS` labelled images, a random sample."""
    positions = np.sort(np.argsort(sampling_rank(human.image_ids, seed))[:MOST_LABELS])
    arrays: dict[str, Any] = {
        name: value[positions]
        for name in HumanLabels.__dataclass_fields__
        if isinstance(value := getattr(human, name), np.ndarray)
    }
    return replace(human, **arrays)


class _InMemory:
    """Projected features in memory, as a row source."""

    keeps_variance = True

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values

    def gather(self, rows: IntArray) -> NDArray[Any]:
        return self.values[rows]


def _encoded(
    workspace: Workspace, choice: ClassifierSettings, image_ids: IntArray, progress: Progress
) -> tuple[IntArray, NDArray[np.float32], EncoderTrial]:
    """Ids of the images that could be read, their features, and a trial without a verdict."""
    catalogue, image_size = workspace.catalogue, choice.image_size
    if image_size == "auto":
        small_side = small_side_quantile(catalogue, share=POOL_SHARE)
        image_size = automatic_size(input_rule(choice.model, choice.weights), small_side)
    progress.note(f"Loading the encoder {choice.model}.")
    with open_encoder(
        choice.model_copy(update={"layers": "stages"}),
        workspace.settings.runtime,
        image_size=image_size,
        background=workspace.settings.ingest.background,
        cache_folder=workspace.folder("models") / "encoders",
    ) as encoder:
        loader = pixel_loader(workspace.settings, image_size)
        ids: list[int] = []
        parts = []
        begun = time.perf_counter()
        with progress.stage("encode", len(image_ids)) as stage:
            files = files_of(catalogue, image_ids.tolist())
            for chunk in encoder.encode(files, loader.load_file):
                ids += [chunk.items[index].image_id for index in chunk.readable()]
                parts.append(chunk.features[chunk.readable()].astype(np.float32))
                stage.advance(len(chunk.items))
        rate = len(image_ids) / (time.perf_counter() - begun)
        raw = np.concatenate(parts)
        fitted_on = np.random.default_rng(0).permutation(len(raw))[:SAMPLE]
        projection = fit_projection(raw[np.sort(fitted_on)], encoder.groups)
        features = unpack_scaled(pack_scaled(projection.apply(raw)[0]))
    return (
        np.array(ids, np.int64),
        features,
        EncoderTrial(
            model=choice.model,
            image_size=image_size,
            labels=0,
            log_loss=0.0,
            difference=0.0,
            standard_error=0.0,
            coverage=0.0,
            error=None,
            rate=rate,
            pool_seconds=pool_size(catalogue) / rate,
            row_bytes=scaled_dtype(projection.axes).itemsize,
        ),
    )


def _judged(
    heads: FrozenHeads,
    settings: Settings,
    labels: TrainingLabels,
    features: NDArray[np.float32],
    trial: EncoderTrial,
    progress: Progress,
) -> tuple[FloatArray, EncoderTrial]:
    """The log loss of each label that may judge, and the trial with its verdict."""
    rest = np.setdiff1d(np.arange(len(features)), labels.rows)
    slices = [
        PoolSlice(
            rows=rows,
            folds=folds,
            ranks=sampling_rank(rows, 0),
            teachable=np.zeros(len(rows), np.bool_),
            taught=taught,
        )
        for rows, folds, taught in (
            (labels.rows, labels.folds, labels.trains),
            (rest, np.zeros(len(rest), np.int64), np.zeros(len(rest), np.bool_)),
        )
        if len(rows)
    ]
    trained = heads.fit(
        TrainingInputs(
            images=_InMemory(features),
            fingerprint=trial.model,
            labels=labels,
            slices=slices,
            image_count=len(features),
        ),
        None,
        progress,
    )
    promotion = settings.promotion
    scores = [trained.score(part)[promotion.score == "raw"] for part in slices]
    sure = [(p > promotion.promote_above) | (p < promotion.promote_below) for p in scores]
    clipped = np.clip(scores[0], 1e-6, 1 - 1e-6)
    losses = -np.log(np.where(labels.positive, clipped, 1 - clipped))
    wrong = (scores[0] > 0.5) != labels.positive
    return losses, replace(
        trial,
        labels=len(losses),
        log_loss=float(losses.mean()),
        coverage=float(sure[-1].mean()),
        error=float(wrong[sure[0]].mean()) if sure[0].any() else None,
    )
