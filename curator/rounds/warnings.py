"""Whether a round's labels can be trusted to teach the class and not the source.

Looked at after the pool is scored. Only where sources go with classes is anything more
computed: a small head that tries to tell a class's labelled images from those images of the
pool that the scores put in that class. On a random sample of the pool, errors speak for
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import CurrentLabel, Method, Origin, Split, code_of
from curator.catalogue import pool, queues
from curator.catalogue.features import rows_of
from curator.catalogue.images import image_details
from curator.catalogue.pool import HumanLabels
from curator.catalogue.sources import list_sources
from curator.classifiers.heads.frozen import SAMPLE_FOR_POOL
from curator.classifiers.heads.model import standardize
from curator.classifiers.heads.pseudo_labels import human_weights
from curator.classifiers.heads.solver import fit_heads
from curator.encoding.feature_set import FeatureSet
from curator.rounds.source_shortcut import (
    TOLD_APART,
    RoundWarning,
    Suspicion,
    area_under_curve,
    fails_on_pool,
    go_together,
    suspicions,
)
from curator.statistics.metrics import ErrorEstimate, error_estimate
from curator.storage.scores import read_scores
from curator.workspace import Workspace

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

LOOKED_AT = 1_000
"""Unlabelled images whose sources are looked up, at random."""

_COMPARED = 300
_FEWEST = 30
_DETAILS = 500
_PARTS = 5
_REGULARIZATION = 0.01


def warnings_of(
    workspace: Workspace, features: FeatureSet, score_digest: str
) -> tuple[RoundWarning, ...]:
    """What speaks against trusting scores that are written but not committed."""
    records = read_scores(workspace.folder("scores"), score_digest)
    if records is None:
        return ()
    human = pool.human_labels(workspace.catalogue, features.feature_set_id)
    seeds, sample = _errors(records, human)
    found = []
    if fails_on_pool(seeds, sample):
        found.append(_failing(seeds, sample))
    settled = sample.sample >= SAMPLE_FOR_POOL and not found
    teaching = _teaching(human)
    if not settled and go_together(human.source_ids[teaching], _positive(human)[teaching]):
        ids = _some_of_the_pool(workspace)
        suspected = suspicions(
            human.source_ids[teaching], _positive(human)[teaching], _shares(workspace, ids)
        )
        found += [
            _shortcut(workspace, one, apart)
            for one in suspected
            if (apart := _apart(one, features, records, human, teaching, ids, workspace))
            >= TOLD_APART
        ]
    return tuple(found)


def _positive(human: HumanLabels) -> Flags:
    positive: Flags = human.standing == code_of(CurrentLabel.POSITIVE)
    return positive


def _a_class(human: HumanLabels) -> Flags:
    named = np.isin(
        human.standing, [code_of(CurrentLabel.POSITIVE), code_of(CurrentLabel.NEGATIVE)]
    )
    return named & (human.feature_rows >= 0)


def _teaching(human: HumanLabels) -> Flags:
    origins = [code_of(Origin.SEED), code_of(Origin.REVIEW)]
    return _a_class(human) & np.isin(human.origin, origins)


def _errors(records: NDArray[Any], human: HumanLabels) -> tuple[ErrorEstimate, ErrorEstimate]:
    """Errors on seeds, out of fold, and on a random sample of the pool."""
    claimed = _raw_of(records, human.image_ids)
    wrong = (claimed > 0.5) != _positive(human)
    usable = _a_class(human) & np.isfinite(claimed) & (human.method != code_of(Method.SHEET))
    sampled = (human.origin == code_of(Origin.CALIBRATION)) & (
        human.split == code_of(Split.CALIBRATION)
    )
    seeds = usable & (human.origin == code_of(Origin.SEED))
    return error_estimate(wrong[seeds]), error_estimate(wrong[usable & sampled])


def _raw_of(records: NDArray[Any], image_ids: Ints) -> NDArray[np.float64]:
    """What the heads claim of images, (images,), NaN without a score."""
    if not len(records):
        return np.full(len(image_ids), np.nan)
    place = np.minimum(np.searchsorted(records["image_id"], image_ids), len(records) - 1)
    known = records["image_id"][place] == image_ids
    return np.where(known, records["raw"][place], np.nan)


def _some_of_the_pool(workspace: Workspace) -> Ints:
    drawn = queues.random_without_human(
        workspace.catalogue, size=LOOKED_AT, seed=workspace.settings.runtime.seed
    )
    return np.array(drawn, dtype=np.int64)


def _shares(workspace: Workspace, ids: Ints) -> Mapping[int, float]:
    """The share of these images in each source."""
    numbers = {one.name: one.source_id for one in list_sources(workspace.catalogue)}
    counts: dict[int, float] = {}
    for start in range(0, len(ids), _DETAILS):
        some = ids[start : start + _DETAILS].tolist()
        for image in image_details(workspace.catalogue, some).values():
            if image.locations:
                source = numbers[image.locations[0].source]
                counts[source] = counts.get(source, 0.0) + 1 / len(ids)
    return counts


def _apart(
    suspected: Suspicion,
    features: FeatureSet,
    records: NDArray[Any],
    human: HumanLabels,
    teaching: Flags,
    ids: Ints,
    workspace: Workspace,
) -> float:
    """How well labelled images of a class can be told from the pool's, as an area under a curve.

    The pool's are those that the scores put in the class, or the likeliest if they are few.
    """
    labelled = teaching & (_positive(human) == suspected.positive)
    labelled &= np.isin(human.source_ids, suspected.sources)
    claimed = _raw_of(records, ids)
    for_class = claimed if suspected.positive else 1 - claimed
    likeliest = ids[np.argsort(-np.nan_to_num(for_class), kind="stable")]
    count = int(np.clip((for_class > 0.5).sum(), _FEWEST, _COMPARED))
    rows = rows_of(workspace.catalogue, features.feature_set_id, likeliest[:count])
    rows = rows[(rows >= 0) & (rows < features.rows)]
    ours = human.feature_rows[labelled][:_COMPARED]
    if len(ours) < _FEWEST or len(rows) < _FEWEST:
        return 0.0
    return separability(features.gather(ours), features.gather(rows))


def separability(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """The cross-fitted area under the curve of a head that tells two sets of features apart.

    Raises LearnError if all features are the same.
    """
    x = np.concatenate([one, other]).astype(np.float32)
    first = np.arange(len(x)) < len(one)
    wide = x.astype(np.float64)
    scale = standardize(len(x), wide.sum(axis=0), np.square(wide).sum(axis=0))
    parts = np.arange(len(x)) % _PARTS
    weights = human_weights(first, parts, _PARTS, balanced=True)
    values = scale.apply(x)
    heads = fit_heads(values, first, weights, regularization=_REGULARIZATION)
    margins = heads.margins(values)[np.arange(len(x)), parts].astype(np.float64)
    return area_under_curve(margins, first)


def _shortcut(workspace: Workspace, found: Suspicion, apart: float) -> RoundWarning:
    names = {one.source_id: one.name for one in list_sources(workspace.catalogue)}
    classes = workspace.settings.classes
    name = classes.positive if found.positive else classes.negative
    where = ", ".join(f"`{names[one]}`" for one in found.sources[:3])
    return RoundWarning(
        kind="shortcut",
        problem=(
            f"{found.labels - found.at_home:,} of {found.labels:,} labels `{name}` come from"
            f" {where}, where hardly any unlabelled image lies, and these images can be told from"
            f" those of the pool that the scores call `{name}` (area under the curve"
            f" {apart:.2f}). The classifier may have learned the source instead of the class, and"
            " the measured error cannot show it."
        ),
        cure=(
            "Label about 100 random images of the pool, then run `curator round` again: `curator"
            " review random`, or `curator queue random --size 100 --output pool.csv` and `curator"
            " label pool.csv --origin review`. `curator review calibration` (50 or more) measures"
            " the error there."
        ),
    )


def _failing(seeds: ErrorEstimate, sample: ErrorEstimate) -> RoundWarning:
    return RoundWarning(
        kind="fails-on-pool",
        problem=(
            f"On a random sample of the pool {sample.errors:,} of {sample.sample:,} labels are on"
            f" the wrong side, on the seeds only {seeds.errors:,} of {seeds.sample:,}: the seeds do"
            " not resemble the pool."
        ),
        cure=(
            "Label about 100 random images of the pool to learn from, then run `curator round`"
            " again: `curator review random`."
        ),
    )
