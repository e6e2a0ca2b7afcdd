"""Which labels teach, which judge, and what a head may teach itself with: never both."""

from __future__ import annotations

import numpy as np
import pytest

from curator.base.vocabulary import NO_CODE, CurrentLabel, Method, Origin, Split, code_of
from curator.catalogue.pool import HumanLabels, PoolChunk
from curator.classifiers.heads.frozen import check_folds
from curator.classifiers.heads.pseudo_labels import human_weights
from curator.errors import DataError
from curator.rounds.labels import check_labels, pool_slice, training_labels
from curator.rounds.promotion import PoolLabel, pool_labels
from curator.settings.sections import ClassesSettings
from curator.statistics.folds import fold_of

FOLDS, SEED = 5, 0


def chunk(
    standing: CurrentLabel | None,
    origin: Origin | None,
    split: Split | None,
    *,
    blocked: bool = False,
) -> PoolChunk:
    return PoolChunk(
        image_ids=np.array([7]),
        feature_rows=np.array([3]),
        standing=np.array([code_of(standing)], dtype=np.int8),
        origin=np.array([code_of(origin)], dtype=np.int8),
        # No human label has the origin of a promotion.
        first_origin=np.array(
            [NO_CODE if origin is Origin.PROMOTED else code_of(origin)], dtype=np.int8
        ),
        unit_keys=np.array([123]),
        split=np.array([code_of(split)], dtype=np.int8),
        blocked=np.array([blocked]),
    )


@pytest.mark.parametrize(
    ("found", "teachable", "taught", "code"),
    [
        (chunk(None, None, None), True, False, PoolLabel.NOTHING),
        (chunk(None, None, Split.TRAIN), True, False, PoolLabel.NOTHING),
        (chunk(None, None, Split.CALIBRATION), False, False, PoolLabel.NOTHING),
        (chunk(None, None, Split.TEST), False, False, PoolLabel.NOTHING),
        (chunk(None, None, Split.WITHHELD), False, False, PoolLabel.NOTHING),
        (chunk(None, None, None, blocked=True), False, False, PoolLabel.UNTOUCHABLE),
        (
            chunk(CurrentLabel.POSITIVE, Origin.PROMOTED, None),
            True,
            False,
            PoolLabel.PROMOTED_POSITIVE,
        ),
        (
            chunk(CurrentLabel.NEGATIVE, Origin.PROMOTED, Split.CALIBRATION),
            False,
            False,
            PoolLabel.PROMOTED_NEGATIVE,
        ),
        (
            chunk(CurrentLabel.POSITIVE, Origin.SEED, Split.TRAIN),
            False,
            True,
            PoolLabel.UNTOUCHABLE,
        ),
        (
            chunk(CurrentLabel.NEGATIVE, Origin.REVIEW, Split.TRAIN),
            False,
            True,
            PoolLabel.UNTOUCHABLE,
        ),
        (
            chunk(CurrentLabel.POSITIVE, Origin.SEED, Split.WITHHELD),
            False,
            False,
            PoolLabel.UNTOUCHABLE,
        ),
        (
            chunk(CurrentLabel.POSITIVE, Origin.REVIEW, Split.TEST),
            False,
            False,
            PoolLabel.UNTOUCHABLE,
        ),
        (
            chunk(CurrentLabel.POSITIVE, Origin.CALIBRATION, Split.CALIBRATION),
            False,
            True,
            PoolLabel.UNTOUCHABLE,
        ),
        (
            chunk(CurrentLabel.POSITIVE, Origin.CALIBRATION, Split.TRAIN),
            False,
            False,
            PoolLabel.UNTOUCHABLE,
        ),
        (
            chunk(CurrentLabel.NEGATIVE, Origin.AUDIT, Split.TEST),
            False,
            False,
            PoolLabel.UNTOUCHABLE,
        ),
        (
            chunk(CurrentLabel.UNSURE, Origin.REVIEW, Split.TRAIN),
            False,
            False,
            PoolLabel.UNTOUCHABLE,
        ),
        (
            chunk(CurrentLabel.CONFLICT, Origin.SEED, Split.TRAIN),
            False,
            False,
            PoolLabel.UNTOUCHABLE,
        ),
    ],
)
def test_what_a_round_may_do_with_an_image(
    found: PoolChunk, teachable: bool, taught: bool, code: PoolLabel
) -> None:
    part = pool_slice(found, FOLDS, SEED)
    assert (part.teachable[0], part.taught[0]) == (teachable, taught)
    assert pool_labels(found)[0] == code


def human(*rows: tuple[CurrentLabel, Origin, Method, Split], feature_row: int = 0) -> HumanLabels:
    columns = list(zip(*rows, strict=True))
    codes = [np.array([code_of(word) for word in column], dtype=np.int8) for column in columns]
    count = len(rows)
    return HumanLabels(
        image_ids=np.arange(count),
        feature_rows=np.full(count, feature_row),
        unit_keys=np.arange(count) * 1_000,
        source_ids=np.ones(count, dtype=np.int64),
        standing=codes[0],
        first_origin=codes[1],
        first_method=codes[2],
        split=codes[3],
        sampled=codes[1] == code_of(Origin.CALIBRATION),
        confirmed=np.zeros(count, dtype=np.bool_),
        unanswered=0,
    )


def test_no_label_both_teaches_and_judges_a_head() -> None:
    rows = [
        (standing, origin, method, split)
        for standing in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
        for origin in (Origin.SEED, Origin.REVIEW, Origin.CALIBRATION, Origin.AUDIT)
        for method in (Method.SINGLE, Method.SHEET, Method.BLIND, Method.IMPORT)
        for split in Split
    ]
    labels = training_labels(human(*rows), FOLDS, SEED)
    trains = labels.trains
    weights = human_weights(labels.positive[trains], labels.folds[trains], FOLDS, balanced=False)
    assert (weights[np.arange(trains.sum()), labels.folds[trains]] == 0).all()
    for index, (_, origin, method, split) in enumerate(rows):
        drawn = origin is Origin.CALIBRATION and split is Split.CALIBRATION
        teaches = (split is Split.TRAIN and origin in (Origin.SEED, Origin.REVIEW)) or drawn
        assert labels.trains[index] == teaches
        assert labels.calibrates[index] == (teaches and method is not Method.SHEET)
        assert labels.representative[index] == (teaches and origin is Origin.SEED)
        assert labels.sampled[index] == (drawn and method is not Method.SHEET)
        aside = split is Split.CALIBRATION and method is not Method.SHEET
        assert labels.set_aside[index] == aside


def test_unsure_conflicts_and_images_without_features_are_no_labels() -> None:
    seed = (Origin.SEED, Method.SINGLE, Split.TRAIN)
    found = human(
        (CurrentLabel.UNSURE, *seed), (CurrentLabel.CONFLICT, *seed), (CurrentLabel.POSITIVE, *seed)
    )
    assert len(training_labels(found, FOLDS, SEED).rows) == 1
    without = human((CurrentLabel.POSITIVE, *seed), feature_row=-1)
    assert len(training_labels(without, FOLDS, SEED).rows) == 0


def test_a_class_within_one_fold_is_too_few_whatever_the_count() -> None:
    keys = np.arange(10_000)
    same = keys[fold_of(keys, FOLDS, SEED) == 0][:30]
    seed = (Origin.SEED, Method.SINGLE, Split.TRAIN)
    found = human(*[(CurrentLabel.POSITIVE, *seed)] * 30, *[(CurrentLabel.NEGATIVE, *seed)] * 30)
    found.unit_keys[:30] = same
    labels = training_labels(found, FOLDS, SEED)
    with pytest.raises(DataError, match=r"labels of good \(30\): all are in one fold"):
        check_folds(labels, FOLDS, ClassesSettings())
    found.unit_keys[:30] = same[0]
    with pytest.raises(DataError, match="All 30 images labelled good are in one group") as error:
        check_folds(training_labels(found, FOLDS, SEED), FOLDS, ClassesSettings())
    assert "group --by" in error.value.advice
    few = training_labels(
        human((CurrentLabel.POSITIVE, *seed), *[(CurrentLabel.NEGATIVE, *seed)] * 30), FOLDS, SEED
    )
    with pytest.raises(DataError, match=r"Too few labels of good \(1\)"):
        check_folds(few, FOLDS, ClassesSettings())


def test_a_class_without_labels_is_named_with_what_to_do() -> None:
    seed = (Origin.SEED, Method.SINGLE, Split.TRAIN)
    found = human(*[(CurrentLabel.POSITIVE, *seed)] * 30)
    labels = training_labels(found, FOLDS, SEED)
    with pytest.raises(DataError, match="No image that may be trained on is labelled bad") as said:
        check_labels(labels, found, 100, ClassesSettings())
    assert "--label bad" in said.value.advice
    withheld = human(
        *[(CurrentLabel.POSITIVE, *seed)] * 3,
        (CurrentLabel.NEGATIVE, Origin.SEED, Method.SINGLE, Split.WITHHELD),
        (CurrentLabel.CONFLICT, Origin.SEED, Method.SINGLE, Split.TRAIN),
    )
    labels = training_labels(withheld, FOLDS, SEED)
    with pytest.raises(
        DataError, match=r"Withheld.* 1 labelled image\. Labelled both .* 1 image\."
    ) as said:
        check_labels(labels, withheld, 100, ClassesSettings())
    assert "curator review conflict" in said.value.advice
