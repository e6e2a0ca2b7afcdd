"""Two other guarantees for machine labels, for `benchmarks.certificates` to compare with.

- *PAC labels* (Candès, Ilyas and Zrnic, 2025, arXiv:2506.10908): the machine labels what is
  surer than a threshold, people label all the rest, and at most `max_error` of the *whole pool* is
  wrong, with a chance of 1 - `risk`. The bound for every threshold is the exact hypergeometric one.
- *conformal labelling* (Huang et al., 2025, arXiv:2510.14581): the machine labels a part of which
  `max_error` is wrong *on average* over draws (false discovery rate); a single draw may have any
  share. Conformal p-values and the procedure of Benjamini and Hochberg.
"""

from __future__ import annotations

import numpy as np

from curator.audits.test import most_wrong
from curator.base.arrays import BoolArray, FloatArray, IntArray


def pac_labels(wrong: BoolArray, sample: IntArray, max_error: float, risk: float) -> int:
    """How many of the surest labels may be used so that at most `max_error` of the pool is wrong.

    `wrong` is (images,), the surest first; `sample` are the positions whose labels are known.
    Thresholds are tried from the strictest on; the first that is not proved ends it, so that no
    correction for their number is needed.
    """
    images, sampled_wrong = len(wrong), np.zeros(len(wrong), dtype=np.int64)
    sampled_wrong[sample] = wrong[sample]
    errors = np.cumsum(sampled_wrong)
    allowed = int(max_error * images)
    # The bound depends on the errors of the sample alone, and these rise with the threshold.
    proved = [
        most_wrong(images, len(sample), count, risk) <= allowed
        for count in range(int(errors[-1]) + 1)
    ]
    highest = proved.index(False) - 1 if False in proved else len(proved) - 1
    return int((errors <= highest).sum()) if highest >= 0 else 0


def conformal_labels(
    confidence: FloatArray, wrong: BoolArray, sample: IntArray, max_error: float
) -> BoolArray:
    """Which images, (images,), conformal labelling takes at a false discovery rate."""
    calibration = np.sort(confidence[sample][wrong[sample]])
    above = len(calibration) - np.searchsorted(calibration, confidence, side="left")
    p_values = (1 + above) / (len(sample) + 1)
    unseen = np.ones(len(wrong), dtype=np.bool_)
    unseen[sample] = False
    ordered = np.sort(p_values[unseen])
    ranks = np.arange(1, len(ordered) + 1)
    passing = np.flatnonzero(ordered <= max_error * ranks / len(ordered))
    limit = ordered[passing[-1]] if len(passing) else -1.0
    taken: BoolArray = unseen & (p_values <= limit)
    return taken
