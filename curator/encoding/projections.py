"""Fitting the projection of a pool, reading it back, and saying when a new fit would pay.

The sample is the first 2,000 images by SHA-256: random, and the same whatever the order of
adding. A projection stays with its feature set, so that features of images that come later
lie in the same space; `curator encode --refit` makes another set with another projection.
Raw numbers are not kept: they take 14 times the room of the features, and encoding is done
again only on demand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curator.base.progress import Progress
from curator.base.values import ImageFile
from curator.catalogue import features as catalogued
from curator.catalogue.engine import Catalogue
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.files import quarantine_images
from curator.catalogue.pool import pool_size
from curator.classifiers.encoders.encoder import Encoder
from curator.classifiers.encoders.pipeline import EncodedChunk
from curator.classifiers.encoders.projection import PoolProjection, fit_projection
from curator.encoding.alternate_files import check_pool, check_sources, with_alternate_files
from curator.encoding.encoder_choice import IMPORTED, is_projected, pixel_loader, read_projection
from curator.encoding.stored_rows import files_of
from curator.runtime.runtime import Runtime
from curator.settings.sections import ClassifierSettings, Settings

SAMPLE = 2_000
"""Images that a projection is fitted on; 500 cost .02 of the oracle coverage, 250 cost .06."""
ENOUGH = 500
"""A projection that was fitted on fewer is worth fitting again once the pool has doubled."""
JUDGED_FROM = 200
"""Later images from which on their mean says whether the projection suits them."""
UNLIKE = 1.5
"""Later images are unlike those before if a projection loses this many times as much of them."""


def fit_on_pool(
    catalogue: Catalogue,
    settings: Settings,
    encoder: Encoder,
    runtime: Runtime,
    progress: Progress,
) -> tuple[PoolProjection, list[EncodedChunk[ImageFile]]]:
    """A projection for the pool, and the sample that it was fitted on, encoded by it.

    Raises DataError if there is no image that can be read.
    """
    loader = pixel_loader(settings, encoder.identity.image_size)
    while True:
        check_pool(catalogue)
        by_content = catalogued.images_by_content(catalogue, SAMPLE)
        sample = np.sort(by_content).tolist()
        chunks = []
        with progress.stage("survey", len(sample)) as stage:
            files = files_of(catalogue, sample)
            for chunk in encoder.encode(files, loader.load_file, runtime):
                problems = [(chunk.items[i].path, problem) for i, problem in chunk.problems.items()]
                check_sources(catalogue, problems)
                chunks.append(with_alternate_files(catalogue, encoder, loader, chunk))
                stage.advance(len(chunk.items))
        if any(len(chunk.readable()) for chunk in chunks):
            break
        for chunk in chunks:
            quarantine_images(
                catalogue,
                {
                    chunk.items[i].image_id: (problem.reason, problem.detail)
                    for i, problem in chunk.problems.items()
                },
            )
    raw = np.concatenate([chunk.features[chunk.readable()] for chunk in chunks])
    ids = [chunk.items[i].image_id for chunk in chunks for i in chunk.readable()]
    # The order of ids is that of adding, and would change which images are held out.
    rank = {image_id: position for position, image_id in enumerate(by_content.tolist())}
    order = np.argsort([rank[image_id] for image_id in ids])
    projection = fit_projection(raw[order], encoder.groups)
    with_projection = encoder.projected(projection)
    return projection, [_finished(chunk, with_projection) for chunk in chunks]


def _finished(chunk: EncodedChunk[ImageFile], encoder: Encoder) -> EncodedChunk[ImageFile]:
    features, captured = encoder.finish(chunk.features.astype(np.float32))
    features[list(chunk.problems)] = 0
    return replace(chunk, features=features, captured=captured)


def record_captured(
    catalogue: Catalogue, record: FeatureSetRecord, chunks: Sequence[EncodedChunk[ImageFile]]
) -> None:
    """Add what the projection captures of images that it was not fitted on."""
    shares = [chunk.captured[chunk.readable()] for chunk in chunks]
    images = sum(len(share) for share in shares)
    if images:
        total = float(sum(share.sum() for share in shares))
        catalogued.add_captured(catalogue, record.feature_set_id, images, total)


def refit_advice(
    catalogue: Catalogue, classifier: ClassifierSettings, record: FeatureSetRecord
) -> str:
    """Why other features would serve the pool better, and how to get them; empty if not."""
    if record.name.startswith(IMPORTED):
        return ""
    remedy = "`curator encode --refit` encodes the pool again"
    if not is_projected(record):
        if classifier.layers == "final":
            return ""
        return (
            "These features are those of the last layer alone, as earlier versions computed them;"
            f" they stay in use. {remedy} with all stages, from which the same labels cover more"
            " images (docs/benchmarks.md)."
        )
    projection, images = read_projection(catalogue, record), pool_size(catalogue)
    assert projection is not None
    if projection.fitted_on < ENOUGH and images >= 2 * projection.fitted_on:
        return (
            f"The projection of the features was fitted on {projection.fitted_on:,} images, and the"
            f" pool has {images:,} now. {remedy} with a better one."
        )
    added, captured = catalogued.captured_of_added(catalogue, record.feature_set_id)
    if added >= JUDGED_FROM and 1 - captured > UNLIKE * (1 - projection.captured):
        return (
            f"The features hold {captured:.0%} of what the encoder sees in the {added:,} images"
            f" that came after their fit, and {projection.captured:.0%} of those before. {remedy}"
            " with a projection that suits both."
        )
    return ""
