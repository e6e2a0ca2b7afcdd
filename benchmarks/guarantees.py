"""Three guarantees for the same scores and the same number of random labels.

    python -m benchmarks.guarantees [--repetitions 20] [--images 10000] [--task NAME...]

One round of curator gives scores for the pool; then `--audit` images are labelled at random:

- *certificate*: curator's audit. At most `max_error` of the certified unseen labels are wrong,
  with 95% confidence.
- *PAC labels* (Candès, Ilyas and Zrnic, 2025, arXiv:2506.10908): the machine labels what is
  surer than a threshold, people label all the rest, and at most `max_error` of the *whole pool* is
  wrong, with 95% confidence. The bound for every threshold is the exact hypergeometric one.
- *conformal labelling* (Huang et al., 2025, arXiv:2510.14581): the machine labels a part of which
  `max_error` is wrong *on average* over draws (false discovery rate); a single draw may have any
  share. Conformal p-values and the procedure of Benjamini and Hochberg.

A promise is broken in a repetition where the share it speaks of exceeds `max_error`; for conformal
labelling that is no fault, and shows what an average promises for one dataset.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.pools import FOLDER, NAMES, parts, rehearsal, tasks
from benchmarks.report import machine
from curator.audits.test import most_wrong
from curator.base.arrays import BoolArray
from curator.classifiers.devices import use_threads
from curator.settings.sections import AuditSettings, PromotionSettings
from curator.simulation.policies import draw_labels, play_audit, ready_audit

RISK = 0.05
PROMISES = ((0.03, 200, 600), (0.01, 300, 1_200))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    """What one method made of one draw; shares are of the images without a seed label.

    `wrong_share` is that of the labels which the promise is about.
    """

    task: str
    promise: float
    method: str
    people: int
    machine_share: float
    wrong_share: float

    @property
    def broken(self) -> bool:
        """Whether more is wrong than promised."""
        return self.wrong_share > self.promise


def pac_labels(wrong: BoolArray, sample: np.ndarray, max_error: float) -> int:
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
        most_wrong(images, len(sample), count, RISK) <= allowed
        for count in range(int(errors[-1]) + 1)
    ]
    highest = proved.index(False) - 1 if False in proved else len(proved) - 1
    return int((errors <= highest).sum()) if highest >= 0 else 0


def conformal_labels(
    confidence: np.ndarray, wrong: BoolArray, sample: np.ndarray, max_error: float
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


def labellings(name: str, repetitions: int, images: int, folder: Path) -> Iterator[Labelling]:
    """All methods on one task, one repetition after the other."""
    (task,) = tasks(folder, [name])
    pools = parts(task, images, 0)
    runs = [rehearsal(pool) for pool in pools]
    for repetition in range(repetitions):
        pool, run = pools[repetition % len(pools)], runs[repetition % len(pools)]
        for max_error, seeds, audited in PROMISES:
            size = min(audited, (len(pool.truth) - seeds) // 3)
            generator = np.random.default_rng([repetition, 1])
            positions, said = draw_labels(pool.truth, seeds, 0.0, generator)
            (scores,) = run.rounds(positions, said, rounds=1, seed=repetition)
            promotion = PromotionSettings(max_error=max_error)
            ready = ready_audit(scores, promotion, AuditSettings(), sample=size, seed=repetition)
            frame, pool_size = ready.frame, ready.images
            wrong = frame.positive != ready.truth
            sample = generator.choice(len(frame), size, replace=False)
            audit = play_audit(ready, slips=0.0, seed=repetition)
            promoted = audit.positive + audit.negative
            yield Labelling(
                task=name,
                promise=max_error,
                method="certificate",
                people=audit.decisions,
                machine_share=promoted / pool_size,
                wrong_share=(audit.wrong_positive + audit.wrong_negative) / max(promoted, 1),
            )
            size_taken = pac_labels(wrong, sample, max_error)
            unseen = np.ones(len(frame), dtype=np.bool_)
            unseen[sample] = False
            by_machine = unseen & (np.arange(len(frame)) < size_taken)
            yield Labelling(
                task=name,
                promise=max_error,
                method="PAC labels",
                people=seeds + pool_size - int(by_machine.sum()),
                machine_share=float(by_machine.sum()) / pool_size,
                wrong_share=float((wrong & by_machine).sum()) / len(frame),
            )
            taken = conformal_labels(1 - frame.estimated_error, wrong, sample, max_error)
            yield Labelling(
                task=name,
                promise=max_error,
                method="conformal labelling",
                people=seeds + size,
                machine_share=float(taken.sum()) / pool_size,
                wrong_share=float((wrong & taken).sum()) / max(int(taken.sum()), 1),
            )
        print(f"{name}: {repetition + 1} of {repetitions}", file=sys.stderr, flush=True)


def show(rows: Sequence[Labelling]) -> None:
    """A line for every task, promise and method, on stderr."""
    table = Table(
        "task", "promise", "method", "by people", "by machine", "wrong", "worst", "broken", "n"
    )  # fmt: skip
    for key in dict.fromkeys((row.task, row.promise, row.method) for row in rows):
        group = [row for row in rows if (row.task, row.promise, row.method) == key]
        table.add_row(
            key[0],
            f"{key[1]:.0%}",
            key[2],
            f"{np.mean([row.people for row in group]):,.0f}",
            f"{np.mean([row.machine_share for row in group]):.1%}",
            f"{np.mean([row.wrong_share for row in group]):.2%}",
            f"{max(row.wrong_share for row in group):.2%}",
            f"{sum(row.broken for row in group)}",
            str(len(group)),
        )
    Console(stderr=True, width=120).print(table)


def main() -> None:
    """Measure, print a table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--images", type=int, default=10_000, help="in each pool")
    parser.add_argument("--task", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the features")
    arguments = parser.parse_args()
    use_threads(1)
    rows: list[Labelling] = []
    for name in arguments.task:
        rows += labellings(name, arguments.repetitions, arguments.images, arguments.folder)
    show(rows)
    content = {"benchmark": "guarantees", "machine": machine(), "arguments": vars(arguments)}
    json.dump(
        content | {"rows": [asdict(row) | {"broken": row.broken} for row in rows]},
        sys.stdout,
        indent=2,
        default=str,
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
