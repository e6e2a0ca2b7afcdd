"""Which images must stay together: connected components over groups, and their keys.

A unit never spans two folds or splits, so its key must not change when the grouping is
computed again: the first human label of a member pins it, and before that the smallest
hash among the members decides.
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import Split


def unit_keys(
    images: NDArray[np.int64],
    groups: NDArray[np.int64],
    own_keys: NDArray[np.int64],
    pinned_keys: NDArray[np.int64],
    pinned_by: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The unit key of every image that is in a group: (image ids ascending, keys).

    One entry per primary membership, all arrays (m,) int64: image id, group id, the
    image's own key (first 64 bits of its hash, signed), its pinned key, and the event that
    pinned it (0 if it is not pinned). The key of the earliest pin wins; without one, the
    smallest own key when read as unsigned.
    """
    members, first, image_index = np.unique(images, return_index=True, return_inverse=True)
    if not len(members):
        return members, members.copy()
    component = _components(image_index, groups, len(members))
    own, pins, by = own_keys[first], pinned_keys[first], pinned_by[first]
    order = np.lexsort((own.view(np.uint64), by, by == 0, component))
    leaders = order[np.unique(component[order], return_index=True)[1]]
    key_of_component = np.where(by[leaders] > 0, pins[leaders], own[leaders])
    return members, key_of_component[component]


def _components(
    image_index: NDArray[np.int64], groups: NDArray[np.int64], image_count: int
) -> NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, group_index = np.unique(groups, return_inverse=True)
    nodes = image_count + len(names)
    edges = (np.ones(len(image_index), dtype=np.int8), (image_index, group_index + image_count))
    graph = coo_array(edges, shape=(nodes, nodes))
    _, labels = connected_components(graph, directed=False)
    return np.unique(labels[:image_count], return_inverse=True)[1].astype(np.int64)


def split_of(pinned: Split | None, own: Set[Split], near: Set[Split]) -> Split | None:
    """What the labels of an image may be used for.

    `pinned`: its own pin. `own`: the splits that members of its unit are pinned to.
    `near`: those of other units whose representative it lies near, too. Between two
    splits an image is withheld; in a unit that spans splits, the training side is.
    """
    linked = own | near
    if pinned is None:
        if len(linked) > 1:
            return Split.WITHHELD
        return next(iter(linked), None)
    if near - {pinned} or (pinned is Split.TRAIN and own - {pinned}):
        return Split.WITHHELD
    return pinned
