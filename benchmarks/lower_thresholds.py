"""What lower thresholds keep and cost while labels arrive between rounds.

    python -m benchmarks.lower_thresholds [--images 8000] [--repetitions 3]

Six tasks on photographs of clothes. Labels grow from 150 to 300 at random in four steps; after each
step the pool is scored, promoted and revoked. The last state is compared with the truth.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.pools import FOLDER, Task, clothes, projected_task, rehearsal
from curator.rounds.promotion import PoolLabel, RoundAction, decide, labels_after
from curator.settings.sections import PromotionSettings
from tests.support import fashion

LOWER = ((0.9, 0.2), (0.95, 0.1), (0.97, 0.06), (0.98, 0.04), (0.99, 0.03))
LABELS = (150, 200, 250, 300)
FEWEST_IMAGES = 2_500
"""Two of ten classes are then 500 images, so that some are left without a label."""
TASKS = {
    "upper-body garments": (("t-shirt", "pullover", "coat", "shirt"), ()),
    "footwear": (("sandal", "sneaker", "ankle-boot"), ()),
    "dress": (("dress",), ()),
    "bag": (("bag",), ()),
    "shirt vs. T-shirt": (("shirt",), ("t-shirt",)),
    "coat vs. pullover": (("coat",), ("pullover",)),
}
"""Positive classes, and the negative ones; without these, all others."""


def main() -> None:
    """Measure and print a line for each task and each pair of lower thresholds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8_000)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    if options.images < FEWEST_IMAGES:
        parser.error(f"--images {options.images}: {FEWEST_IMAGES} or more are needed")
    raw, labels = clothes(FOLDER)
    sample = np.sort(np.random.default_rng(0).permutation(len(labels))[: options.images])
    raw, labels = np.asarray(raw[sample]), labels[sample]
    for name, (positive, negative) in TASKS.items():
        truth = np.isin(labels, [fashion.CLASSES.index(each) for each in positive])
        others = np.isin(labels, [fashion.CLASSES.index(each) for each in negative])
        rows = np.flatnonzero(truth | others) if negative else np.arange(len(labels))
        task = projected_task(name, raw, rows, truth)
        outcomes = np.stack([play(task, draw) for draw in range(options.repetitions)])
        for lower, outcome in zip(LOWER, outcomes.transpose(1, 0, 2), strict=True):
            coverage, changed = outcome[:, 0].mean(), outcome[:, 5].mean()
            promoted, wrong, below, wrong_below = outcome[:, 1:5].sum(axis=0)
            print(
                f"{name:20} {lower} n={len(outcome)} coverage {coverage:.3f} wrong {wrong:.0f} of"
                f" {promoted:.0f}, below the upper threshold {below / max(promoted, 1):.3f} with"
                f" {wrong_below:.0f} wrong, changed a round {changed:.4f}",
                flush=True,
            )


def play(task: Task, draw: int) -> np.ndarray:
    """Coverage, promoted, wrong, below the upper threshold, wrong there, and changes a round.

    A row for each pair of lower thresholds, (pairs, 6).
    """
    run, count = rehearsal(task), len(task.truth)
    order = np.random.default_rng(draw).permutation(count)
    codes = np.zeros((len(LOWER), count), dtype=np.int8)
    changed = np.zeros(len(LOWER))
    for size in LABELS:
        labelled = np.sort(order[:size])
        scores = run.rounds(labelled, task.truth[labelled], rounds=2, seed=draw)[-1]
        free = np.setdiff1d(np.arange(count), labelled)
        for index, (below, above) in enumerate(LOWER):
            thresholds = PromotionSettings(revoke_below=below, revoke_above=above)
            actions = decide(scores.probability, codes[index, free], thresholds)
            codes[index, free] = labels_after(codes[index, free], actions)
            if size > LABELS[0]:
                changed[index] += (actions != RoundAction.KEEP).mean() / (len(LABELS) - 1)
    upper, rows = PromotionSettings(), []
    for index in range(len(LOWER)):
        positive = codes[index, free] == PoolLabel.PROMOTED_POSITIVE
        negative = codes[index, free] == PoolLabel.PROMOTED_NEGATIVE
        wrong = np.where(scores.truth, negative, positive)
        below = (positive & ~(scores.probability > upper.promote_above)) | (
            negative & ~(scores.probability < upper.promote_below)
        )
        promoted = positive | negative
        rows.append(
            (promoted.mean(), promoted.sum(), wrong.sum(), below.sum(), (wrong & below).sum(),
             changed[index])
        )  # fmt: skip
    return np.array(rows)


if __name__ == "__main__":
    main()
