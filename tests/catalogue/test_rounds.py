"""Rounds: committed at once, undone by a pointer, and never above a person's label."""

from __future__ import annotations

import numpy as np
import pytest

from curator.base.vocabulary import Label, Method, Quarantine
from curator.catalogue import checks, counts, files, labels, pool, rounds
from curator.catalogue.engine import Catalogue
from curator.catalogue.rounds import RoundStatus
from curator.errors import BusyError, CatalogueError, DataError
from tests.catalogue.builders import add_images, new_round, run_round, say, stage, standings

POSITIVE, NEGATIVE = Label.POSITIVE, Label.NEGATIVE


def test_a_round_promotes_and_revokes(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 10)
    say(catalogue, ids[:2], "positive")
    first = run_round(catalogue, promote={3: POSITIVE, 4: NEGATIVE, 5: NEGATIVE})
    assert (first.round_id, first.parent_id, first.status) == (1, None, RoundStatus.CURRENT)
    assert (first.promoted_positive, first.promoted_negative, first.revoked) == (1, 2, 0)
    assert (first.standing_promoted, first.without_human) == (3, 8)
    assert first.coverage == 3 / 8
    second = run_round(catalogue, promote={6: POSITIVE}, revoke=[4])
    assert (second.parent_id, second.revoked, second.standing_promoted) == (1, 1, 3)
    assert standings(catalogue, ids[2:6]) == {
        3: ("positive", "promoted"),
        4: None,
        5: ("negative", "promoted"),
        6: ("positive", "promoted"),
    }
    (event,) = labels.history(catalogue, 6)
    assert (event.round, event.probability, event.method) == (2, 0.995, Method.ROUND)
    assert rounds.lineage(catalogue) == [1, 2]
    assert not list(checks.check_catalogue(catalogue))


def test_a_label_that_arrives_before_the_commit_wins(catalogue: Catalogue) -> None:
    add_images(catalogue, 4)
    run_round(catalogue, promote={1: POSITIVE})
    token = stage(catalogue, promote={2: POSITIVE, 3: POSITIVE}, revoke=[1])
    say(catalogue, [1, 2], "negative", method=Method.SINGLE)
    done = rounds.commit_round(catalogue, token, new_round(1))
    assert (done.promoted_positive, done.revoked) == (1, 0)
    assert standings(catalogue, [1, 2, 3]) == {
        1: ("negative", "seed"),
        2: ("negative", "seed"),
        3: ("positive", "promoted"),
    }
    (event,) = labels.history(catalogue, 2)
    assert event.method is Method.SINGLE, "the round left no trace on it"


def test_what_makes_no_sense_any_more_is_dropped(catalogue: Catalogue) -> None:
    add_images(catalogue, 6)
    run_round(catalogue, promote={1: POSITIVE, 2: POSITIVE})
    files.quarantine_images(catalogue, {3: (Quarantine.CORRUPT, "")})
    done = run_round(
        catalogue,
        promote={1: POSITIVE, 2: NEGATIVE, 3: POSITIVE, 4: NEGATIVE},
        revoke=[5],
    )
    assert (done.promoted_positive, done.promoted_negative, done.revoked) == (0, 2, 0)
    assert done.standing_promoted == 3
    assert standings(catalogue, [1, 2, 3, 4, 5]) == {
        1: ("positive", "promoted"),
        2: ("negative", "promoted"),
        3: None,
        4: ("negative", "promoted"),
        5: None,
    }
    assert not list(checks.check_catalogue(catalogue))


def test_rolling_back_gives_exactly_what_stood_then(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 8)
    run_round(catalogue, promote={1: POSITIVE, 2: POSITIVE, 3: NEGATIVE})
    after_first = standings(catalogue, ids)
    run_round(catalogue, promote={4: POSITIVE, 2: NEGATIVE}, revoke=[1])
    after_second = standings(catalogue, ids)
    run_round(catalogue, promote={1: NEGATIVE, 5: POSITIVE}, revoke=[3])

    result = rounds.rollback(catalogue, 1, block=False, actor="anna")
    assert (result.from_id, result.to_id, result.undone) == (3, 1, (2, 3))
    assert (result.changed, result.blocked) == (5, 0)
    assert standings(catalogue, ids) == after_first
    statuses = [record.status for record in rounds.list_rounds(catalogue)]
    assert statuses == [RoundStatus.CURRENT, RoundStatus.ROLLED_BACK, RoundStatus.ROLLED_BACK]
    assert [event.undone for event in labels.history(catalogue, 1)] == [False, True, True]

    assert rounds.rollback(catalogue, 2, block=False, actor="anna").redone == (2,)
    assert standings(catalogue, ids) == after_second
    say(catalogue, 2, "unsure", method=Method.SINGLE)
    rounds.rollback(catalogue, 0, block=False, actor="anna")
    assert standings(catalogue, ids) == {**dict.fromkeys(ids), 2: ("unsure", "seed")}
    assert rounds.head(catalogue) is None
    assert not list(checks.check_catalogue(catalogue))


def test_numbers_are_never_used_again(catalogue: Catalogue) -> None:
    add_images(catalogue, 3)
    run_round(catalogue, promote={1: POSITIVE})
    run_round(catalogue, promote={2: POSITIVE})
    rounds.rollback(catalogue, 1, block=False, actor="anna")
    third = run_round(catalogue, promote={3: POSITIVE})
    assert (third.round_id, third.parent_id) == (3, 1)
    assert rounds.lineage(catalogue) == [1, 3]
    assert standings(catalogue, [1, 2, 3])[2] is None


def test_blocked_images_wait_for_a_person(catalogue: Catalogue) -> None:
    add_images(catalogue, 5)
    run_round(catalogue, promote={1: POSITIVE})
    run_round(catalogue, promote={2: POSITIVE, 3: POSITIVE, 4: POSITIVE}, revoke=[1])
    say(catalogue, 3, "positive", method=Method.SINGLE)
    result = rounds.rollback(catalogue, 1, block=True, actor="anna")
    assert result.blocked == counts.counts(catalogue).blocked == 2
    chunk = next(pool.pool_chunks(catalogue, None))
    assert chunk.image_ids[chunk.blocked].tolist() == [2, 4]

    done = run_round(catalogue, promote={2: POSITIVE, 4: POSITIVE, 5: POSITIVE})
    assert done.promoted_positive == 1
    event = say(catalogue, 2, "unsure", method=Method.SINGLE).last_event_id
    assert event is not None
    labels.retract(catalogue, [event], actor="anna")
    done = run_round(catalogue, promote={2: POSITIVE, 4: POSITIVE})
    assert standings(catalogue, [2, 4]) == {2: ("positive", "promoted"), 4: None}


def test_a_round_whose_start_is_gone_keeps_nothing(catalogue: Catalogue) -> None:
    add_images(catalogue, 3)
    run_round(catalogue, promote={1: POSITIVE})
    token = stage(catalogue, promote={2: POSITIVE})
    rounds.rollback(catalogue, 0, block=False, actor="anna")
    with pytest.raises(BusyError, match="committed or rolled back a round"):
        rounds.commit_round(catalogue, token, new_round(1))
    rounds.clean_scores(catalogue)
    with pytest.raises(CatalogueError, match="cleaned it away"):
        rounds.commit_round(catalogue, token, new_round(None))
    assert standings(catalogue, [1, 2]) == {1: None, 2: None}
    with pytest.raises(DataError, match="There is no round 9"):
        rounds.rollback(catalogue, 9, block=False, actor="anna")
    with pytest.raises(DataError, match="There is no round 9"):
        rounds.get_round(catalogue, 9)


def test_scores_change_with_the_head_and_leftovers_are_cleaned(catalogue: Catalogue) -> None:
    ids = np.array(add_images(catalogue, 4))
    assert not pool.has_scores(catalogue)
    run_round(catalogue, scores={1: 0.1, 2: 0.9})
    run_round(catalogue, scores={1: 0.2, 3: 0.5})
    assert pool.current_scores(catalogue, ids)[[0, 2]].tolist() == [0.2, 0.5]
    assert np.isnan(pool.current_scores(catalogue, ids)[[1, 3]]).all()
    abandoned = stage(catalogue, scores={1: 0.7}, promote={1: POSITIVE})
    assert rounds.clean_scores(catalogue) == 2
    rounds.discard_staging(catalogue, abandoned)
    assert pool.current_scores(catalogue, ids)[0] == 0.2

    token = stage(catalogue, scores={1: 0.1, 2: 0.9})
    result = rounds.rollback(catalogue, 1, block=False, actor="anna", token=token)
    assert result.scores_restored
    assert pool.current_scores(catalogue, ids)[1] == 0.9
    assert not list(checks.check_catalogue(catalogue))
    rounds.rollback(catalogue, 0, block=False, actor="anna")
    assert not pool.has_scores(catalogue)
    assert rounds.clean_scores(catalogue) == 2


def test_a_round_keeps_what_it_was_told(catalogue: Catalogue) -> None:
    add_images(catalogue, 1)
    new = new_round(None, model_digest="ab" * 32, score_digest="cd" * 32)
    done = rounds.commit_round(catalogue, stage(catalogue), new)
    assert rounds.get_round(catalogue, 1) == done
    assert (done.model_digest, done.score_digest) == ("ab" * 32, "cd" * 32)
    assert done.started_at == new.started_at
    assert done.seconds >= 0
    assert done.coverage == 0.0
