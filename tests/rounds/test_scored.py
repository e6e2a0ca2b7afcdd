"""The catalogue's scores are those of the head round, also after a kill in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curator.api import open_workspace
from curator.catalogue import rounds as catalogued
from curator.catalogue.leases import lease
from curator.catalogue.pool import current_scores
from curator.catalogue.rounds import scores_behind
from curator.rounds import run as rounds_workflow
from curator.rounds.run import run_rounds
from tests.rounds.pool import Pool

pytestmark = pytest.mark.slow


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    made = Pool(tmp_path, size=300, distance=5.0)
    made.label(range(60))
    return made


def test_after_rounds_the_scores_are_those_of_the_last(pool: Pool) -> None:
    list(run_rounds(pool.opened, rounds=2))
    assert scores_behind(pool.opened.catalogue) is None
    second = current_scores(pool.opened.catalogue, pool.image_ids())
    pool.api.rollback(to=1)
    first = current_scores(pool.opened.catalogue, pool.image_ids())
    assert np.isfinite(first).all()
    assert not np.allclose(first, second)


def test_a_kill_before_the_scores_are_loaded_is_mended_by_the_next_command(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(run_rounds(pool.opened))
    before = current_scores(pool.opened.catalogue, pool.image_ids())
    with monkeypatch.context() as killed:
        killed.setattr(rounds_workflow, "refresh_scores", lambda *given: None)
        list(run_rounds(pool.opened))
    assert scores_behind(pool.opened.catalogue) is not None
    assert (current_scores(pool.opened.catalogue, pool.image_ids()) == before).all()
    with lease(pool.opened.catalogue, "round"):
        open_workspace(pool.api.root)
        assert scores_behind(pool.opened.catalogue) is not None, "a living round does it itself"
    open_workspace(pool.api.root)
    assert scores_behind(pool.opened.catalogue) is None
    assert not np.allclose(current_scores(pool.opened.catalogue, pool.image_ids()), before)


def test_scores_of_a_round_that_is_no_longer_the_head_are_not_used(pool: Pool) -> None:
    list(run_rounds(pool.opened, rounds=2))
    before = current_scores(pool.opened.catalogue, pool.image_ids())
    token = catalogued.begin_staging(pool.opened.catalogue)
    assert catalogued.use_scores(pool.opened.catalogue, 1, token) is False
    assert (current_scores(pool.opened.catalogue, pool.image_ids()) == before).all()
