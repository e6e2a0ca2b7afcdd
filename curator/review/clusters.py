"""Pages of images that look alike, for the first labels: one page, one decision with exceptions.

The features of a pool are clustered by spherical k-means (Dhillon and Modha, 2001). A page holds
images of one cluster, the most typical first, and the pages of a first turn go through all
clusters, the largest first, before any cluster comes again: so a few pages show both classes of
most pools.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.review.selection import Ids, spread, unit_length

PAGE = 24
"""Images of a page."""
CLUSTERS = 40
CLUSTERED = 8_192
"""Most images that are clustered; a random sample beyond that."""

_MOST_TURNS = 20


def cluster_pages(ids: Ids, features: NDArray[np.floating], seed: int) -> list[Ids]:
    """Pages of the images `ids`, (n,), with these features, (n, d), each of one cluster."""
    if not len(ids):
        return []
    rows = unit_length(features)
    number = max(1, min(CLUSTERS, len(ids) // PAGE))
    seeds = spread(np.arange(len(ids)), features, features[:0], number, seed).ids
    centres, labels = rows[seeds], np.full(len(ids), -1)
    for _ in range(_MOST_TURNS):
        before, labels = labels, np.argmax(rows @ centres.T, axis=1)
        if np.array_equal(labels, before):
            break
        members = labels[:, None] == np.arange(number)
        filled = members.any(axis=0)  # a cluster that lost all its images keeps its centre
        centres[filled] = unit_length(members.T.astype(np.float32) @ rows)[filled]
    similarity = (rows * centres[labels]).sum(axis=1)
    order = np.lexsort((ids, -similarity))
    clusters = [ids[order[labels[order] == label]] for label in np.unique(labels)]
    clusters.sort(key=lambda cluster: (-len(cluster), int(cluster.min())))
    turns = range(0, len(clusters[0]), PAGE)
    pages = (cluster[start : start + PAGE] for start in turns for cluster in clusters)
    return [page for page in pages if len(page)]
