"""One training of the default classifier on some of the labels, measured on the rest.

It is the round's own training on features that are stored, without pseudo-labels and without
neighbours in the pool, whose graph is not made anew for each of many trainings: a round does at
least as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from curator.base.arrays import BoolArray, IntArray
from curator.base.progress import SILENT, Progress
from curator.catalogue.features import rows_of
from curator.catalogue.pool import read_pool
from curator.classifiers.heads.frozen import FrozenHeads
from curator.classifiers.protocol import PoolSlice, TrainingInputs, TrainingLabels
from curator.encoding.encode import ready_features
from curator.rounds.labels import pool_slice
from curator.statistics.folds import fold_of, sampling_rank
from curator.tuning.trials import Trial, TrialSample
from curator.workspace import Workspace

POOL_SAMPLE = 4_000
"""Images without a human label on which coverage is measured."""


def head_trials(
    workspace: Workspace, progress: Progress
) -> Callable[[TrialSample, TrialSample, int], Trial]:
    """Train on the first sample, measure on the second, with a seed.

    Coverage is the share of a random sample of the images without a human label whose probability
    is beyond the thresholds. Raises what encoding raises; a trial raises DataError if its labels
    cannot train the heads.
    """
    settings = workspace.settings.model_copy(
        update={
            "classifier": workspace.settings.classifier.model_copy(update={"pseudo_labels": False})
        }
    )
    features = ready_features(workspace, progress)
    pool = read_pool(workspace.catalogue, features.feature_set_id)
    parts = [pool_slice(chunk, settings.classifier.folds, 0) for chunk in pool.chunks]
    free = np.concatenate([part.rows[part.teachable] for part in parts])
    drawn = np.sort(free[np.argsort(sampling_rank(free, settings.runtime.seed))[:POOL_SAMPLE]])
    heads = FrozenHeads(settings)
    promotion = settings.promotion

    def trial(train: TrialSample, validation: TrialSample, seed: int) -> Trial:
        started = time.monotonic()
        # An image without features has no row.
        train_rows, validation_rows = (
            rows_of(workspace.catalogue, features.feature_set_id, sample.image_ids)
            for sample in (train, validation)
        )
        train = train.where(train_rows >= 0)
        validation = validation.where(validation_rows >= 0)
        train_rows, validation_rows = (rows[rows >= 0] for rows in (train_rows, validation_rows))
        part = _slice(np.concatenate([train_rows, validation_rows, drawn]), len(train_rows))
        labels = _labels(train, train_rows, heads.folds, seed)
        part.folds[: len(train_rows)] = labels.folds
        inputs = TrainingInputs(
            images=features,
            fingerprint="",  # no model file is written
            labels=labels,
            slices=[part],
            image_count=len(part.rows),
        )
        trained = heads.fit(inputs, None, SILENT)
        probability, _ = trained.score(part)
        judged = probability[len(train_rows) : len(train_rows) + len(validation_rows)]
        judged = judged.clip(1e-6, 1 - 1e-6)
        of_pool = probability[len(train_rows) + len(validation_rows) :]
        sure = (of_pool > promotion.promote_above) | (of_pool < promotion.promote_below)
        return Trial(
            error=float(((judged > 0.5) != validation.positive).mean()),
            loss=float(-np.log(np.where(validation.positive, judged, 1 - judged)).mean()),
            train_error=None,
            coverage=float(sure.mean()) if len(sure) else None,
            seconds=time.monotonic() - started,
        )

    return trial


def _slice(rows: IntArray, labels: int) -> PoolSlice:
    """Images of which the first are trained on."""
    taught: BoolArray = np.arange(len(rows)) < labels
    return PoolSlice(
        rows=rows,
        folds=np.zeros(len(rows), dtype=np.int64),
        ranks=np.zeros(len(rows)),
        teachable=np.zeros(len(rows), dtype=np.bool_),
        taught=taught,
    )


def _labels(sample: TrialSample, rows: IntArray, folds: int, seed: int) -> TrainingLabels:
    every_label = np.ones(len(rows), dtype=np.bool_)
    return TrainingLabels(
        rows=rows,
        units=sample.units,
        folds=fold_of(sample.units, folds, seed),
        positive=sample.positive,
        confirmed=~every_label,
        trains=every_label,
        calibrates=every_label,
        representative=every_label,
        sampled=~every_label,
        set_aside=~every_label,
    )
