"""Whether the pool holds kinds of images that no label shows, so that no label measures its error.

Seeds of a few kinds are scored well by heads that have never seen the other kinds. If labels were
drawn from the pool, an image of the pool would lie as far from its nearest label as a label from
the next one. Both are compared class by class, so that seeds with other class shares than the pool
raise no warning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import CLASS_CODES, POSITIVE_CODE, BoolArray, FloatArray
from curator.catalogue.pool import HumanLabels
from curator.rounds.gates import LabelDistances
from curator.rounds.source_shortcut import RoundWarning
from curator.statistics.calibration import SAMPLE_FOR_POOL

FARTHER = 0.7
"""Share of pairs with the image farther than the label, from which on there is a warning."""
FEWEST = 30
"""Labels of a class below which their distances say nothing."""


def unlike_warnings(
    records: NDArray[Any], human: HumanLabels, labels: LabelDistances, distances: FloatArray
) -> tuple[RoundWarning, ...]:
    """A warning if images without a label lie farther from the labels than these from each other.

    None once a random sample of the pool is labelled. `records` are the scores of the pool, and
    `distances`, (images,), those of its images from the nearest label.
    """
    judged = np.isin(human.standing, CLASS_CODES)
    if (judged & human.speaks_for_pool).sum() >= SAMPLE_FOR_POOL:
        return ()
    by_row = np.argsort(human.feature_rows)
    labelled = by_row[np.searchsorted(human.feature_rows[by_row], labels.labelled_rows)]
    free = ~np.isin(records["image_id"], human.image_ids) & np.isfinite(records["raw"])
    share = farther_share(
        distances[free],
        records["raw"][free] > 0.5,
        labels.among,
        human.standing[labelled] == POSITIVE_CODE,
    )
    if share < FARTHER:
        return ()
    return (
        RoundWarning(
            kind="unlike",
            problem=(
                "Images without a label lie farther from the labelled ones than these from each"
                f" other (in {share:.0%} of pairs; about 50% if labels were drawn from the pool):"
                " the labels show only some of the kinds of images in the pool, and the measured"
                " error cannot show what is wrong on the others."
            ),
            cure=(
                "Label about 100 random images of the pool, then run `curator round` again:"
                " `curator review random`."
            ),
            command="curator review random",
            holds=True,
        ),
    )


def farther_share(
    distances: FloatArray, leaning: BoolArray, among: FloatArray, positive: BoolArray
) -> float:
    """The share of pairs in which the image is farther from its nearest label than the label is.

    `distances` and `leaning` are (images,): how far the nearest label is, and whether the image
    leans to the positive class; `among` and `positive` are (labels,). Images are paired with the
    labels of the class that they lean to.
    """
    if not len(distances):
        return 0.0
    pairs = 0.0
    for side in (True, False):
        own, images = np.sort(among[positive == side]), distances[leaning == side]
        # Where nothing can be said, half of the pairs would be farther by chance.
        few = len(own) < FEWEST
        pairs += 0.5 * len(images) if few else np.searchsorted(own, images).sum() / len(own)
    return float(pairs) / len(distances)
