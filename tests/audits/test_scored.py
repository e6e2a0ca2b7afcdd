"""From scores to a frame: the likelier label, the surest first, and what people contradict."""

from __future__ import annotations

import numpy as np
import pytest

from curator.audits.forecast import forecast_errors
from curator.audits.outlook import Advice, look_ahead, prepare
from curator.audits.promise import Promise
from curator.audits.scored import frame_of_scores, label_evidence


def test_images_get_their_likelier_label_and_the_surest_come_first() -> None:
    probability = np.array([0.6, 0.999, 0.02, 0.3])
    frame = frame_of_scores(np.array([7, 5, 9, 3]), probability, seed=0)
    assert frame.image_ids.tolist() == [5, 9, 3, 7]
    assert frame.positive.tolist() == [True, False, False, True]
    assert np.allclose(frame.estimated_error, [0.001, 0.02, 0.3, 0.4])


def test_balanced_a_rare_class_is_not_behind_the_common_one() -> None:
    probability = np.concatenate([np.linspace(0.6, 0.9, 10), np.linspace(0.001, 0.05, 90)])
    plain = frame_of_scores(np.arange(100), probability, seed=0)
    balanced = frame_of_scores(np.arange(100), probability, seed=0, balanced=True)
    assert not plain.positive[:50].any()
    assert balanced.positive[:50].sum() == 5
    # Within each class the surest still come first.
    assert (np.diff(balanced.estimated_error[balanced.positive]) >= 0).all()


def test_labels_that_heads_contradict_are_wrong_labels_of_the_heads() -> None:
    judged = label_evidence(np.array([0.9, 0.2, 0.7]), np.array([True, True, False]))
    assert judged.wrong.tolist() == [False, True, True]
    assert np.allclose(judged.estimated_error, [0.1, 0.2, 0.3])
    assert judged.weight.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.slow
def test_preparing_an_audit_is_the_first_half_of_looking_ahead() -> None:
    probability = np.linspace(0.0001, 0.02, 4_000)
    probability[::2] = 1 - probability[::2]
    frame = frame_of_scores(np.arange(4_000), probability, seed=0)
    promise = Promise(max_error=0.05, risk=0.05)
    for sample in (None, 20, 200):
        forecast = forecast_errors(frame)
        prepared = prepare(frame, forecast, promise, sample=sample, seed=3)
        outlook = look_ahead(frame, forecast, promise, sample=sample, seed=3)
        assert prepared.worthwhile == (outlook.answer is Advice.READY)
        assert prepared.expectation == outlook.expectation
        assert (prepared.plan and prepared.plan.digest) == (outlook.plan and outlook.plan.digest)
    assert not prepare(frame, forecast, promise, sample=20, seed=3).worthwhile
