"""Groups and rounds: what is tied together, what is contradicted, and advice that works."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from curator.base.vocabulary import CurrentLabel, GroupKind, Method, Origin, code_of
from curator.catalogue import pool as pools
from curator.catalogue import rounds
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.catalogue.images import image_details
from curator.intake.near_duplicates import _inputs, regroup
from curator.rounds.score_quality import PastRound
from curator.rounds.teacher import same_folds, withheld_digest
from curator.settings.sections import ClassifierSettings
from tests.rounds.pool import Pool
from tests.support.command import curator

pytestmark = pytest.mark.slow


def near(pool: Pool, *groups: tuple[int, ...]) -> None:
    """Let these be the groups of near-duplicates, as if `add` had found them."""
    workspace = pool.opened
    records = [
        GroupRecord(name=str(number), primary=ids, representative_id=ids[0])
        for number, ids in enumerate(groups)
    ]
    inputs = _inputs(workspace.catalogue, workspace.settings.duplicates)
    replace_grouping(workspace.catalogue, GroupKind.PERCEPTUAL, records, details={"inputs": inputs})


def ids_of(pool: Pool, positive: bool, count: int) -> list[int]:
    return (np.flatnonzero(pool.truth == positive)[:count] + 1).tolist()


def test_advice_about_near_duplicates_in_one_group_works(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=200)
    pool.label(range(60))
    positive = [i for i in ids_of(pool, True, 200) if i <= 60]
    near(pool, tuple(positive))
    refused = curator("-w", pool.api.root, "round", expect=3)
    assert f"All {len(positive)} images labelled good are grouped together" in refused.stderr
    assert "curator config duplicates.enabled=false" in refused.stderr
    assert "curator group" not in refused.stderr, "no group of the user's is there"
    changed = curator("-w", pool.api.root, "config", "duplicates.enabled=false")
    assert "0 images are near-duplicates" in changed.stdout
    curator("-w", pool.api.root, "round")


def test_advice_about_groups_of_the_user_works(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=200)
    pool.label(range(60))
    groups = tmp_path / "groups.csv"

    def group(name_of: dict[int, str]) -> None:
        with groups.open("w", newline="", encoding="utf-8") as stream:
            rows = ((f"pictures/{i:05d}.png", name) for i, name in name_of.items())
            csv.writer(stream).writerows([("path", "group"), *rows])
        curator("-w", pool.api.root, "group", groups)

    good = [index for index in range(60) if pool.truth[index]]
    group(dict.fromkeys(good, "all"))
    refused = curator("-w", pool.api.root, "round", expect=3)
    assert "smaller groups of your own: `curator group`" in refused.stderr
    assert "duplicates.enabled" not in refused.stderr
    group({index: f"person {index % 20}" for index in range(200)})
    report = curator("-w", pool.api.root, "round", "--json").json()
    assert report, "groups that mix classes train"


def test_near_duplicates_labelled_both_ways_are_a_conflict_and_block_nothing(
    tmp_path: Path,
) -> None:
    pool = Pool(tmp_path, size=200)
    pool.label(range(60))
    good, bad = ids_of(pool, True, 3), ids_of(pool, False, 3)
    near(pool, (good[0], bad[0]), (good[1], good[2]), (bad[1], bad[2]))
    queue = curator("-w", pool.api.root, "queue", "conflict", "--json").json()
    assert len(queue) == 2
    human = pools.human_labels(pool.opened.catalogue, None)
    conflicts = human.image_ids[human.standing == code_of(CurrentLabel.CONFLICT)]
    assert conflicts.tolist() == sorted([good[0], bad[0]])
    told = curator("-w", pool.api.root, "status").stdout
    assert "2 labelled images whose near-duplicates have the other label" in told
    assert "curator review conflict" in told
    outcome = curator("-w", pool.api.root, "round")
    assert "labelled both ways: 2 images" in outcome.stderr
    pool.label([int(bad[0]) - 1], origin=Origin.REVIEW, lie=True)
    assert curator("-w", pool.api.root, "queue", "conflict", "--json").json() == []


def test_near_duplicates_that_a_person_confirms_as_different_are_no_conflict(
    tmp_path: Path,
) -> None:
    pool = Pool(tmp_path, size=200)
    pool.label(range(60))
    good, bad = ids_of(pool, True, 1)[0], ids_of(pool, False, 1)[0]
    near(pool, (good, bad))
    pool.label([bad - 1], origin=Origin.REVIEW)
    queue = curator("-w", pool.api.root, "queue", "conflict", "--json").json()
    assert [each["sha256"] for each in queue] == [sha256_of(pool, good)]
    assert curator("-w", pool.api.root, "status", "--json").json()["contradicted"] == 1
    pool.label([good - 1], origin=Origin.REVIEW, method=Method.SHEET)
    assert len(curator("-w", pool.api.root, "queue", "conflict", "--json").json()) == 1
    pool.label([good - 1], origin=Origin.REVIEW)
    assert curator("-w", pool.api.root, "queue", "conflict", "--json").json() == []
    told = curator("-w", pool.api.root, "status").stdout
    assert "curator review conflict" not in told
    assert "Conflicts" not in told
    human = pools.human_labels(pool.opened.catalogue, None)
    assert code_of(CurrentLabel.CONFLICT) not in human.standing
    assert "labelled both ways" not in curator("-w", pool.api.root, "round").stderr


FOLDS = ClassifierSettings().folds


def sha256_of(pool: Pool, image_id: int) -> str:
    return image_details(pool.opened.catalogue, [image_id])[image_id].sha256.hex()


def test_a_changed_group_does_not_let_what_taught_teach_what_measures(tmp_path: Path) -> None:
    """A label comes to lie in the group of a calibration image; the last model was taught it."""
    pool = Pool(tmp_path, size=200)
    pool.label(range(60))
    pool.label(range(60, 64), origin=Origin.CALIBRATION)
    curator("-w", pool.api.root, "round")
    workspace = pool.opened
    head = rounds.head(workspace.catalogue)
    assert head is not None
    record = rounds.get_round(workspace.catalogue, head)
    last = PastRound(
        record=record,
        model_path=workspace.model_path(record.model_digest),
        scores=workspace.scores(record.score_digest),
    )
    human = pools.human_labels(workspace.catalogue, record.feature_set_id)
    assert withheld_digest(human) == ""
    assert same_folds(last, human, FOLDS, 0)
    near(pool, (1, 61))
    regrouped = pools.human_labels(workspace.catalogue, record.feature_set_id)
    # As if their folds were the same by chance: what is withheld now taught the last model.
    regrouped.unit_keys[:] = human.unit_keys
    assert withheld_digest(regrouped) != ""
    assert not same_folds(last, regrouped, FOLDS, 0)
    assert regroup(workspace).groups == 1
