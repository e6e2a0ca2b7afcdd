"""On a server people label while a round is committed, as if they had labelled just after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from curator.base.vocabulary import EventKind, GroupKind, Label, Method, Origin
from curator.catalogue import checks, claims, counts, groups, labels, rounds
from curator.catalogue.backend import Turn
from curator.catalogue.engine import Catalogue
from curator.catalogue.groups import GroupRecord
from curator.catalogue.leases import end_lease, lease, lease_holder
from curator.catalogue.moving import copy_to_file
from curator.errors import BusyError, CuratorError
from curator.settings.sections import SplitsSettings
from tests.catalogue.builders import add_images, new_round, run_round, say, stage, standings
from tests.support.postgres import PostgresServer, new_catalogue


@pytest.fixture
def on_server(server: PostgresServer, empty_database: str, tmp_path: Path) -> Iterator[Catalogue]:
    """An open catalogue without rows on the server."""
    with new_catalogue(server, tmp_path / "catalogue.sqlite", empty_database) as opened:
        yield opened


@contextmanager
def committing(catalogue: Catalogue, token: str) -> Iterator[list[object]]:
    """A block while which a round is committed, but for its end; then what came of it."""
    staged, go_on = threading.Event(), threading.Event()
    outcome: list[object] = []
    with Catalogue.open(catalogue.backend.address) as driver:
        driver.held_leases = catalogue.held_leases
        publish = driver.backend.publish_states

        def wait(*given: object) -> None:
            staged.set()
            assert go_on.wait(120)
            publish(*given)  # type: ignore[arg-type]

        driver.backend.publish_states = wait  # type: ignore[method-assign, assignment]

        def commit() -> None:
            try:
                new = new_round(rounds.head(driver))
                outcome.append(rounds.commit_round(driver, token, new))
            except CuratorError as error:
                outcome.append(error)
            finally:
                staged.set()

        thread = threading.Thread(target=commit)
        thread.start()
        try:
            assert staged.wait(120)
            yield outcome
        finally:
            go_on.set()
            thread.join(120)
    assert outcome


def test_labels_do_not_wait_for_a_commit_and_win_over_it(on_server: Catalogue) -> None:
    ids = add_images(on_server, 6)
    run_round(on_server, promote={1: Label.POSITIVE, 2: Label.POSITIVE})
    taken_back = say(on_server, 6, "negative").last_event_id
    assert taken_back is not None
    promote = {3: Label.POSITIVE, 4: Label.POSITIVE, 5: Label.NEGATIVE}
    token = stage(on_server, promote=promote, revoke=[1, 2])
    with committing(on_server, token) as outcome:
        say(on_server, [1, 3], "negative", origin=Origin.REVIEW, method=Method.SINGLE)
        labels.retract(on_server, [taken_back], actor="anna")
        assert claims.claim(on_server, ids, queue="q", actor="anna", session="s") == ids
        assert not outcome, "the round is not committed yet"
        # Whoever looks sees the labels, and nothing of the round.
        human, promoted = ("negative", "review"), ("positive", "promoted")
        before = {1: human, 2: promoted, 3: human, 4: None, 5: None, 6: None}
        assert standings(on_server, ids) == before
        assert not list(checks.check_catalogue(on_server))
    after = {1: human, 2: None, 3: human, 4: promoted, 5: ("negative", "promoted"), 6: None}
    assert standings(on_server, ids) == after
    assert not list(checks.check_catalogue(on_server))
    kinds = [event.kind for event in labels.history(on_server, 3)]
    assert sorted(kinds) == [EventKind.ASSERT, EventKind.PROMOTE]
    # What comes next starts from the copy that is in use now.
    assert run_round(on_server, revoke=[4]).revoked == 1
    rounds.rollback(on_server, 2, block=False, actor="anna")
    assert standings(on_server, ids) == after
    assert not list(checks.check_catalogue(on_server))


def test_a_round_is_nothing_at_all_if_its_lease_ends_while_it_is_committed(
    on_server: Catalogue,
) -> None:
    ids = add_images(on_server, 3)
    token = stage(on_server, promote=dict.fromkeys(ids, Label.POSITIVE))
    with lease(on_server, "round"), Catalogue.open(on_server.backend.address) as other:
        with committing(on_server, token) as outcome:
            holder = lease_holder(other, "round")
            assert holder is not None and end_lease(other, holder)
            say(other, 1, "negative")
        (error,) = outcome
        assert isinstance(error, BusyError) and "ended the lease" in error.problem
        on_server.held_leases.clear()
    assert rounds.head(on_server) is None
    assert standings(on_server, ids) == {1: ("negative", "seed"), 2: None, 3: None}
    assert run_round(on_server, promote={2: Label.POSITIVE}).promoted_positive == 1
    assert standings(on_server, [1, 2]) == {1: ("negative", "seed"), 2: ("positive", "promoted")}
    assert not list(checks.check_catalogue(on_server))


def test_who_changes_more_than_labels_waits_for_the_commit(on_server: Catalogue) -> None:
    add_images(on_server, 3)
    token = stage(on_server, promote={1: Label.POSITIVE})
    with committing(on_server, token) as outcome:
        seen: list[int | None] = []

        def add() -> None:
            with Catalogue.open(on_server.backend.address) as other, other.write(Turn.ALONE):
                seen.append(rounds.head(other))

        thread = threading.Thread(target=add)
        thread.start()
        # A label in between waits for neither.
        say(on_server, 2, "positive")
        assert not seen and not outcome
    thread.join(120)
    assert seen == [1]


def test_copies_and_backups_are_of_the_states_in_use(on_server: Catalogue, tmp_path: Path) -> None:
    ids = add_images(on_server, 4)
    for image in (1, 2):
        run_round(on_server, promote={image: Label.POSITIVE})
        copy_to_file(on_server.backend, tmp_path / f"{image}.sqlite")
        with Catalogue.open(tmp_path / f"{image}.sqlite") as copy:
            assert standings(copy, ids) == standings(on_server, ids)
            assert counts.counts(copy) == counts.counts(on_server)
            assert not list(checks.check_catalogue(copy))


def _shuffled(rng: np.random.Generator, ids: list[int], most: int) -> list[int]:
    return rng.permutation(ids)[: rng.integers(0, most + 1)].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_any_labels_during_commits_give_what_the_same_give_after_them(
    on_server: Catalogue, file_catalogue: Catalogue, seed: int
) -> None:
    """Labels, retractions, groups and pins beside commits here, behind them in a file."""
    rng = np.random.default_rng(seed)
    both = (on_server, file_catalogue)
    for catalogue in both:
        ids = add_images(catalogue, 24)
        mates = [ids[at : at + 3] for at in range(0, 15, 3)]
        grouping = [
            GroupRecord(
                name=str(some[0]), primary=tuple(some), secondary=(20,), representative_id=some[0]
            )
            for some in mates
        ]
        groups.replace_grouping(catalogue, GroupKind.USER, grouping)
    splits = SplitsSettings(calibration_share=0.3, test_share=0.2)
    said = {catalogue.backend.name: [] for catalogue in both}

    def meanwhile() -> list[Callable[[Catalogue], None]]:
        steps: list[Callable[[Catalogue], None]] = []
        for _ in range(rng.integers(0, 4)):
            some, label = _shuffled(rng, ids, 4), str(rng.choice(["positive", "negative"]))
            origin = Origin(str(rng.choice(["seed", "review", "calibration"])))
            method = Method(str(rng.choice(["import", "single"])))
            at = rng.integers(0, 50)

            def decide(
                catalogue: Catalogue,
                some: list[int] = some,
                label: str = label,
                origin: Origin = origin,
                method: Method = method,
            ) -> None:
                terms = {"origin": origin, "method": method, "splits": splits, "seed": 3}
                report = say(catalogue, some, label, **terms)  # type: ignore[arg-type]
                if report.last_event_id is not None:
                    said[catalogue.backend.name].append((some, report))

            def take_back(catalogue: Catalogue, at: int = at) -> None:
                before = said[catalogue.backend.name]
                if before:
                    some, _ = before[at % len(before)]
                    events = labels.own_decisions(catalogue, "tester", limit=100)
                    mine = [event.event_id for event in events if event.image_id in some]
                    labels.retract(catalogue, mine, actor="tester")

            steps += [decide] if rng.random() < 0.8 else [take_back]
        return steps

    for number in range(1, 7):
        promote = {
            i: Label(str(rng.choice(["positive", "negative"]))) for i in _shuffled(rng, ids, 12)
        }
        revoke = [i for i in _shuffled(rng, ids, 6) if i not in promote]
        steps = meanwhile()
        with committing(on_server, stage(on_server, promote=promote, revoke=revoke)) as outcome:
            for step in steps:
                step(on_server)
        record = run_round(file_catalogue, promote=promote, revoke=revoke)
        for step in steps:
            step(file_catalogue)
        (made,) = outcome
        assert isinstance(made, rounds.RoundRecord)
        for name in ("promoted_positive", "promoted_negative", "revoked", "standing_promoted"):
            assert getattr(made, name) == getattr(record, name)
        assert made.without_human == record.without_human
        if rng.random() < 0.3:
            to = int(rng.integers(0, number + 1))
            for catalogue in both:
                rounds.rollback(catalogue, to, block=bool(to % 2), actor="tester")
        states = []
        for catalogue in both:
            assert not list(checks.check_catalogue(catalogue))
            with catalogue.read() as connection:
                rows = connection.exec_driver_sql(
                    "SELECT image_id, usable, standing, origin, round_id, probability, unit_key,"
                    " split, pinned_split, pinned_key FROM image_state ORDER BY image_id"
                ).all()
            states.append([tuple(row) for row in rows])
        assert states[0] == states[1]
