"""Seeds that lie, on real photographs: they are found, and hardly raise the error.

Upper-body garments against the rest of Fashion-MNIST, 200 labels of which 20 are turned over.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.classifiers.heads.frozen import FrozenHeads
from curator.settings.sections import ClassifierSettings, Settings
from curator.simulation.policies import KnownScores, draw_labels
from curator.simulation.replay import KnownPool, SimulationRun
from tests.classifiers.conftest import GARMENTS
from tests.classifiers.heads.test_crossfit import Kept, nearest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DRAWS, LABELS, SHOWN = 5, 200, 40


def error(scores: KnownScores) -> float:
    return float(((scores.probability > 0.5) != scores.truth).mean())


def test_flipped_seeds_are_shown_first_and_hardly_raise_the_error(
    garments: tuple[NDArray[np.float16], NDArray[np.bool_]],
) -> None:
    features, truth = garments
    images, around = np.arange(GARMENTS), nearest(features)
    pool = KnownPool(rows=images, unit_keys=images, truth=truth)
    usual = Settings()
    believing = Settings(classifier=ClassifierSettings(regularization=1.0, doubt=False))
    played, credulous = (
        SimulationRun(pool, Kept(features), FrozenHeads(settings), neighbours=around)
        for settings in (usual, believing)
    )
    found, clean, lying, believed = [], [], [], []
    for draw in range(DRAWS):
        places, said = draw_labels(truth, LABELS, 0.1, np.random.default_rng([draw, 1]))
        flipped = said != truth[places]
        (honest,) = played.rounds(places, truth[places], rounds=1, seed=draw)
        (scores,) = played.rounds(places, said, rounds=1, seed=draw)
        (naive,) = credulous.rounds(places, said, rounds=1, seed=draw)
        given = np.where(said, scores.label_probability, 1 - scores.label_probability)
        found.append(flipped[np.argsort(given)[:SHOWN]].sum() / flipped.sum())
        clean.append(error(honest))
        lying.append(error(scores))
        believed.append(error(naive))
    assert np.mean(found) > 0.8
    assert np.mean(lying) - np.mean(clean) < 0.02
    assert np.mean(lying) < np.mean(believed)
