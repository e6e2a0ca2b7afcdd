"""A million images are answered and changed through indexes: the query plans say so."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from curator.base.vocabulary import GroupKind, Label, LocationState, Method, Quarantine
from curator.catalogue import (
    claims,
    counts,
    features,
    files,
    groups,
    images,
    labels,
    manifest,
    pool,
    queues,
    rounds,
)
from curator.catalogue.engine import Catalogue
from curator.catalogue.groups import GroupRecord
from curator.catalogue.queues import QueueFilter
from curator.errors import DataError
from curator.settings.sections import SplitsSettings
from tests.catalogue.builders import ROOT, inspected, run_round, say, scored, unread

POSITIVE, NEGATIVE = Label.POSITIVE, Label.NEGATIVE

_BIG = ("image", "image_state", "location", "label_event", "score", "membership", "feature_row")

_PARTIAL = ("ix_image_state_promoted", "ix_image_state_withheld", "ix_image_state_pinned")
"""Indexes that hold only the rows that are asked for."""


@pytest.fixture
def catalogue(file_catalogue: Catalogue) -> Catalogue:
    """A catalogue in a file, which these tests are about."""
    return file_catalogue


@contextmanager
def _plans(catalogue: Catalogue) -> Iterator[list[str]]:
    """The query plan of every statement inside the block."""
    plans: list[str] = []

    def explain(
        connection: sa.Connection, cursor: Any, statement: str, parameters: Any, _: Any, many: bool
    ) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            raw = connection.connection.dbapi_connection
            assert raw is not None
            one = parameters[0] if many and parameters else parameters
            rows = raw.execute(f"EXPLAIN QUERY PLAN {statement}", one)
            steps = [row[3] for row in rows]
            # For a new parent row SQLite prepares a walk over its children, which it skips
            # unless the transaction has broken a reference before.
            if statement.lstrip().startswith(("INSERT INTO label_event", "INSERT INTO round")):
                steps = [step for step in steps if step != "SCAN image_state"]
            plans.extend(steps)

    sa.event.listen(catalogue.engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        sa.event.remove(catalogue.engine, "before_cursor_execute", explain)


@pytest.mark.parametrize(
    "ask",
    [
        counts.counts,
        counts.source_counts,
        groups.withheld,
        lambda c: queues.borderline(c, size=50),
        lambda c: queues.borderline(c, size=5, leave_out=QueueFilter(session="s", queue="q")),
        lambda c: queues.unfamiliar(c, size=50),
        lambda c: _among_many(lambda: queues.borderline(c, size=50)),
        lambda c: _among_many(lambda: queues.unfamiliar(c, size=50)),
        lambda c: queues.promoted(c, size=50),
        lambda c: queues.random_without_human(c, size=50, seed=1),
        lambda c: queues.conflicts(c, size=50),
        lambda c: queues.quarantined(c, size=50),
        lambda c: labels.history(c, 1),
        lambda c: labels.current(c, [1, 2]),
        lambda c: labels.own_decisions(c, "tester"),
        lambda c: images.image_details(c, [1]),
        lambda c: images.find_by_paths(c, [ROOT + b"/00001.png"]),
        lambda c: images.find_named_image(c, (ROOT + b"/00001.png").decode()),
        lambda c: list(files.walk_locations(c, 1)),
        lambda c: groups.groups_of(c, [1]),
        lambda c: groups.unit_mates(c, 1),
        lambda c: list(pool.pool_chunks(c, 1, size=5)),
        lambda c: pool.human_labels(c, 1),
        lambda c: pool.human_labels(c, None),
        lambda c: list(pool.pool_chunks(c, None)),
        lambda c: pool.current_scores(c, np.arange(5)),
        lambda c: queues.score_histogram(c),
        lambda c: list(manifest.manifest_columns(c, with_files=True)),
        lambda c: list(features.images_without_features(c, 1)),
        lambda c: say(c, 9, "positive", method=Method.SINGLE),
        lambda c: say(c, [2, 9, 10], "negative", splits=SplitsSettings(test_share=0.5)),
        lambda c: say(c, [7, 9], "negative", replace=True),
        lambda c: labels.retract(c, [labels.history(c, 7)[-1].event_id], actor="tester"),
        lambda c: run_round(c, promote={9: POSITIVE, 10: NEGATIVE}, revoke=[1]),
        lambda c: rounds.rollback(c, 1, block=True, actor="anna"),
        lambda c: files.record_files(c, 1, [inspected(b"00003.png", b"new"), unread(b"z")]),
        lambda c: files.mark_locations(c, [1, 2], LocationState.MISSING),
        lambda c: files.quarantine_images(c, {1: (Quarantine.CORRUPT, "")}),
        lambda c: claims.claim(c, [1, 2], queue="q", actor="a", session="s"),
    ],
)
@pytest.mark.parametrize("with_scores", [True, False])
def test_indexes_answer(
    filled: dict[bool, Path],
    tmp_path: Path,
    ask: Callable[[Catalogue], object],
    with_scores: bool,
) -> None:
    shutil.copyfile(filled[with_scores], tmp_path / "catalogue.sqlite")
    with (
        Catalogue.open(tmp_path / "catalogue.sqlite") as catalogue,
        _plans(catalogue) as plans,
        contextlib.suppress(DataError),
    ):
        ask(catalogue)
    assert plans
    assert not [plan for plan in plans if _walks_a_big_table(plan)], plans


@pytest.fixture(scope="module")
def filled(empty_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Two catalogues with a bit of everything, one with current scores and one without."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copyfile(empty_file, folder / "work.sqlite")
    with Catalogue.open(folder / "work.sqlite") as catalogue:
        scored(catalogue)
        features.feature_set(catalogue, fingerprint="f", name="tiny", dimension=3)
        near = GroupRecord(name="a", primary=(1, 2), secondary=(3,), representative_id=1)
        groups.replace_grouping(catalogue, GroupKind.PERCEPTUAL, [near])
        say(catalogue, 7, "positive", method=Method.SINGLE)
        catalogue.backup(folder / "scored.sqlite")
        rounds.rollback(catalogue, 0, block=False, actor="anna")
        catalogue.backup(folder / "unscored.sqlite")
    return {True: folder / "scored.sqlite", False: folder / "unscored.sqlite"}


def _among_many(ask: Callable[[], object]) -> None:
    """Ask as if there were more unlabelled images than are worth sorting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "FEW", 0)
        ask()


def _walks_a_big_table(plan: str) -> bool:
    """Whether a step of a plan reads every row of a table that can have a million."""
    walk = re.match(r"SCAN (\w+)(?: USING (COVERING )?INDEX (\w+))?(.*)", plan)
    if walk is None or walk[1].removesuffix("_1") not in _BIG:
        return False
    return "LEFT-JOIN" in walk[4] or not (walk[2] or walk[3] in _PARTIAL)


def test_the_next_borderline_images_are_not_sorted(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "FEW", 0)
    scored(catalogue)
    for ask in (queues.borderline, queues.promoted, queues.unfamiliar):
        with _plans(catalogue) as plans:
            ask(catalogue, size=50)
        assert not [plan for plan in plans if "TEMP B-TREE" in plan], plans
