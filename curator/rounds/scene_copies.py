"""Whether copies of one scene lie in several folds, so that the measured error is too small.

Frames of one video or pictures of one person resemble each other more than the pool resembles
them. If no group says that they belong together, a head is trained on one frame and judged on the
next. So the error is measured a second time, with folds made of clusters of similar labelled
images, and both are compared on the same labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, IntArray
from curator.classifiers.protocol import RowSource, TrainingLabels
from curator.rounds.neighbour_graph import PoolGraph
from curator.rounds.source_shortcut import RoundWarning, cross_fitted_margins
from curator.settings.sections import ClassifierSettings
from curator.statistics.metrics import error_estimate

LABELS_PER_CLUSTER = 15
"""Mean size of a cluster: about that of a scene."""
COMPARED = 2_000
"""Labels that are compared at most; the clustering takes memory with their square."""
FEWEST = 60
"""Labels below which clusters say nothing."""
FOLDS = 10
"""Folds that are compared, at most: more would need more clusters, and these would cut scenes."""

_REGULARIZATION = 0.1


def copies_warnings(
    labels: TrainingLabels, features: RowSource, graph: PoolGraph, settings: ClassifierSettings
) -> tuple[RoundWarning, ...]:
    """A warning if errors in folds of similar images are beyond those in the usual folds.

    Both are those of heads on their own, without pseudo-labels and neighbours, and their 95%
    intervals must lie apart. None where labels are too few, or a head would see one class only.
    """
    counted = np.flatnonzero(labels.trains & (labels.representative | labels.sampled))
    # Rows follow the order in which images were added, so a prefix would be one source.
    counted = np.random.default_rng(0).permutation(counted)[:COMPARED]
    positive, nodes = labels.positive[counted], graph.neighbours.positions(labels.rows[counted])
    if len(counted) < FEWEST or (nodes < 0).any():
        return ()
    x = features.gather(labels.rows[counted])
    fold_count = min(settings.folds, FOLDS)
    clusters = fold_of_cluster(graph.vectors[nodes].astype(np.float64), fold_count)
    balanced, estimates = settings.class_weight == "balanced", []
    for folds in (labels.folds[counted] % fold_count, clusters):
        for fold in range(fold_count):
            rest = positive[folds != fold]
            if rest.all() or not rest.any():
                return ()
        margins = cross_fitted_margins(
            x,
            positive,
            folds,
            balanced=balanced,
            regularization=_REGULARIZATION,
            keeps_variance=getattr(features, "keeps_variance", False),
        )
        estimates.append(error_estimate((margins > 0) != positive))
    usual, clustered = estimates
    if clustered.low <= usual.high:
        return ()
    return (
        RoundWarning(
            kind="copies",
            problem=(
                f"With similar images kept in one fold, heads are wrong on {clustered.errors:,} of"
                f" {clustered.sample:,} labels, with the usual folds on {usual.errors:,}: copies of"
                " one scene (frames of a video, pictures of one person) may lie in several folds,"
                " and the measured error is then too small."
            ),
            cure=(
                "Say which images belong together, by a file or a part of their names: `curator"
                " group FILE.csv` or `curator group --by REGEX`; then run `curator round` again."
            ),
            command="curator group",
        ),
    )


def fold_of_cluster(vectors: NDArray[np.floating], folds: int) -> IntArray:
    """The fold of each label, (labels,), whole clusters of similar labels in one fold.

    Clusters are Ward's (1963, Journal of the American Statistical Association 58); the largest
    goes first, each into the fold that has the fewest labels so far.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    count = max(3 * folds, len(vectors) // LABELS_PER_CLUSTER)
    cluster = fcluster(linkage(vectors, "ward"), count, "maxclust")
    numbers, sizes = np.unique(cluster, return_counts=True)
    fold_sizes = np.zeros(folds, dtype=np.int64)
    fold_of_label: IntArray = np.empty(len(vectors), dtype=np.int64)
    for index in np.argsort(-sizes, kind="stable"):
        fold = int(fold_sizes.argmin())
        members: BoolArray = cluster == numbers[index]
        fold_of_label[members] = fold
        fold_sizes[fold] += sizes[index]
    return fold_of_label
