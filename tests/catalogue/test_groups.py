"""Groups: units never span splits or folds, and what bridges splits is withheld."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.base.vocabulary import GroupKind, Label, Origin, Split
from curator.catalogue import checks, groups, labels, rounds
from curator.catalogue.engine import Catalogue
from curator.catalogue.groups import GroupRecord
from curator.catalogue.units import split_of, unit_keys
from curator.errors import DataError
from curator.settings.sections import SplitsSettings
from curator.statistics.folds import share_rank
from tests.catalogue.builders import add_images, decision, new_round, say, sha, stage

pytestmark = pytest.mark.slow

PERCEPTUAL, USER = GroupKind.PERCEPTUAL, GroupKind.USER


def _group(name: str, *primary: int, near: tuple[int, ...] = ()) -> GroupRecord:
    return GroupRecord(name=name, primary=primary, secondary=near, representative_id=primary[0])


def _units(catalogue: Catalogue) -> dict[int, int]:
    with catalogue.read() as connection:
        rows = connection.exec_driver_sql("SELECT image_id, unit_key FROM image_state")
        return dict(rows.all())


def _splits(catalogue: Catalogue, *image_ids: int) -> list[Split | None]:
    found = labels.current(catalogue, image_ids)
    return [found[image].split for image in image_ids]


def _own(image_id: int) -> int:
    digest = sha(b"content %d" % (image_id - 1))
    return int.from_bytes(digest[:8], "big", signed=True)


def _smallest(*image_ids: int) -> int:
    return min(map(_own, image_ids), key=lambda key: key % (1 << 64))


def test_units_are_what_groups_connect(catalogue: Catalogue) -> None:
    add_images(catalogue, 8)
    assert _units(catalogue) == {i: _own(i) for i in range(1, 9)}
    report = groups.replace_grouping(
        catalogue, PERCEPTUAL, [_group("a", 1, 2), _group("b", 4, 5, near=(1,))]
    )
    assert (report.changed, report.grouping.groups, report.grouping.members) == (True, 2, 5)
    groups.replace_grouping(catalogue, USER, [_group("film", 2, 3), _group("other", 7, 8)])
    units = _units(catalogue)
    assert units[1] == units[2] == units[3] == _smallest(1, 2, 3)
    assert units[4] == units[5] == _smallest(4, 5)
    assert units[6] == _own(6)
    assert units[7] == units[8] == _smallest(7, 8)
    assert groups.unit_mates(catalogue, 1) == [2, 3]
    mates = groups.groups_of(catalogue, [1, 6])
    assert [(mate.name, mate.primary) for mate in mates[1]] == [("a", True), ("b", False)]
    assert 6 not in mates


def test_the_same_grouping_again_changes_nothing(catalogue: Catalogue) -> None:
    add_images(catalogue, 4)
    some = [_group("a", 1, 2), _group("b", 3, 4)]
    first = groups.replace_grouping(catalogue, PERCEPTUAL, some)
    again = groups.replace_grouping(catalogue, PERCEPTUAL, some)
    assert not again.changed
    assert again.grouping == first.grouping
    assert groups.current_grouping(catalogue, USER) is None


def test_old_memberships_stay_only_where_a_round_ran_under_them(catalogue: Catalogue) -> None:
    add_images(catalogue, 6)

    def members() -> list[int]:
        with catalogue.read() as connection:
            query = "SELECT DISTINCT grouping_id FROM membership ORDER BY 1"
            return list(connection.exec_driver_sql(query).scalars())

    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 2)])
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 2, 3)])
    assert members() == [2]
    rounds.commit_round(catalogue, stage(catalogue), new_round(None))
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 4)])
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 5)])
    assert members() == [2, 4]
    current = groups.current_grouping(catalogue, PERCEPTUAL)
    assert current is not None and current.version == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([_group("a", 1, 2), _group("b", 2, 3)], "contradict"),
        ([_group("a", 1, 2), _group("a", 3, 4)], "contradict"),
        ([_group("a", 1, 99)], "contradict"),
        ([GroupRecord(name="a", primary=())], "no members"),
        ([GroupRecord(name="a", primary=(1,), secondary=(2,))], "not its own"),
    ],
)
def test_groups_that_contradict_each_other_change_nothing(
    catalogue: Catalogue, wrong: list[GroupRecord], message: str
) -> None:
    add_images(catalogue, 4)
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("kept", 3, 4)])
    before = _units(catalogue)
    with pytest.raises(DataError, match=message):
        groups.replace_grouping(catalogue, PERCEPTUAL, wrong)
    assert _units(catalogue) == before
    assert not list(checks.check_catalogue(catalogue))


def test_the_first_human_label_pins_the_whole_unit(catalogue: Catalogue) -> None:
    add_images(catalogue, 6)
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 2, 3)])
    say(catalogue, 2, "positive", origin=Origin.CALIBRATION)
    assert _splits(catalogue, 1, 2, 3, 4) == [Split.CALIBRATION] * 3 + [None]
    say(catalogue, 1, "positive", origin=Origin.SEED)
    assert _splits(catalogue, 1) == [Split.CALIBRATION]
    key = _units(catalogue)[1]
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 2, 3, 4, 5)])
    assert _splits(catalogue, 4, 5) == [Split.CALIBRATION] * 2
    units = _units(catalogue)
    assert {units[image] for image in range(1, 6)} == {key}, "a pinned key does not change"
    decision = max(
        event.event_id for image in range(1, 6) for event in labels.history(catalogue, image)
    )
    labels.retract(catalogue, [decision], actor="tester")
    assert _splits(catalogue, 1) == [Split.CALIBRATION]
    assert not list(checks.check_catalogue(catalogue))


def test_one_call_pins_a_unit_by_its_first_decision(catalogue: Catalogue) -> None:
    add_images(catalogue, 4)
    groups.replace_grouping(catalogue, USER, [_group("film", 1, 2, 3)])
    labels.record_decisions(
        catalogue,
        [
            decision(3, "positive", origin=Origin.AUDIT),
            decision(1, "positive", origin=Origin.SEED),
            decision(4, "negative", origin=Origin.SEED),
        ],
        actor="anna",
    )
    assert _splits(catalogue, 1, 2, 3, 4) == [Split.TEST] * 3 + [Split.TRAIN]


def test_an_image_near_two_splits_is_withheld(catalogue: Catalogue) -> None:
    add_images(catalogue, 8)
    groups.replace_grouping(
        catalogue, PERCEPTUAL, [_group("a", 1, 2, near=(5,)), _group("b", 3, 4, near=(5,))]
    )
    say(catalogue, 1, "positive", origin=Origin.SEED)
    assert _splits(catalogue, 5) == [Split.TRAIN]
    say(catalogue, 3, "positive", origin=Origin.AUDIT)
    assert _splits(catalogue, 5) == [Split.WITHHELD]
    assert _splits(catalogue, 1, 2, 3, 4).count(Split.WITHHELD) == 0
    report = groups.withheld(catalogue)
    assert (report.images, report.labelled, report.units) == (1, 0, 0)
    say(catalogue, 5, "positive")
    assert _splits(catalogue, 5) == [Split.WITHHELD]
    assert groups.withheld(catalogue).labelled == 1
    assert not list(checks.check_catalogue(catalogue))


def test_a_unit_that_comes_to_span_splits_keeps_pins_and_withholds_its_training_labels(
    catalogue: Catalogue,
) -> None:
    add_images(catalogue, 6)
    say(catalogue, 1, "positive", origin=Origin.SEED)
    say(catalogue, 2, "positive", origin=Origin.CALIBRATION)
    report = groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 2, 3)])
    assert report.withheld == 2
    assert _splits(catalogue, 1, 2, 3) == [Split.WITHHELD, Split.CALIBRATION, Split.WITHHELD]
    assert groups.withheld(catalogue).units == 1
    assert _units(catalogue)[3] == _own(1), "the first human label names the unit"
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 2, 3)])
    assert _splits(catalogue, 1, 2, 3) == [Split.TRAIN, Split.CALIBRATION, Split.CALIBRATION]
    assert not list(checks.check_catalogue(catalogue))


def test_a_unit_that_is_taken_apart_lets_its_images_go(catalogue: Catalogue) -> None:
    add_images(catalogue, 8)
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 2, 3, 4, 5)])
    say(catalogue, 2, "positive", origin=Origin.SEED)
    say(catalogue, 3, "negative", origin=Origin.SEED)
    say(catalogue, 4, "positive", origin=Origin.CALIBRATION)
    assert _splits(catalogue, 1, 2, 3, 4, 5) == [Split.TRAIN] * 5
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("b", 1, 5)])
    assert {image: _units(catalogue)[image] for image in (2, 3, 4)} == {
        i: _own(i) for i in (2, 3, 4)
    }
    assert _splits(catalogue, 1, 2, 3, 4, 5) == [
        None,
        Split.TRAIN,
        Split.TRAIN,
        Split.CALIBRATION,
        None,
    ]
    assert not list(checks.check_catalogue(catalogue))


def test_what_has_taught_never_measures_whatever_the_groups(catalogue: Catalogue) -> None:
    add_images(catalogue, 4)
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 2, 3)])
    say(catalogue, 1, "positive", origin=Origin.SEED)
    say(catalogue, 2, "positive", origin=Origin.CALIBRATION)
    say(catalogue, 2, "positive", origin=Origin.REVIEW)
    groups.replace_grouping(catalogue, PERCEPTUAL, [])
    assert _splits(catalogue, 2) == [Split.TRAIN], "its review taught: it may not calibrate now"
    say(catalogue, 3, "negative", origin=Origin.CALIBRATION)
    groups.replace_grouping(catalogue, USER, [_group("film", 1, 3)])
    assert _splits(catalogue, 1, 3) == [Split.WITHHELD, Split.CALIBRATION]
    assert not list(checks.check_catalogue(catalogue))


def test_a_seed_that_was_bound_to_calibration_trains_once_it_is_free(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 40)
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", *ids)])
    say(catalogue, 1, "positive", origin=Origin.CALIBRATION)
    say(catalogue, ids[1:], "positive", origin=Origin.SEED)
    assert set(_splits(catalogue, *ids)) == {Split.CALIBRATION}
    shares = SplitsSettings(test_share=0.5)
    groups.replace_grouping(catalogue, PERCEPTUAL, [], splits=shares, seed=1)
    assert _splits(catalogue, 1) == [Split.CALIBRATION], "it bound the others: its pin is its own"
    drawn = _splits(catalogue, *ids[1:])
    assert set(drawn) == {Split.TRAIN, Split.TEST}
    below = share_rank(np.array([_own(i) for i in ids[1:]]), 1) < 0.5
    assert [split is Split.TEST for split in drawn] == below.tolist()
    assert not list(checks.check_catalogue(catalogue))


def test_shares_set_whole_units_aside_by_chance_that_repeats(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 300)
    some = [_group(f"g{i}", *ids[3 * i : 3 * i + 3]) for i in range(100)]
    groups.replace_grouping(catalogue, USER, some)
    splits = SplitsSettings(calibration_share=0.2, test_share=0.3)
    say(catalogue, ids, "positive", splits=splits, seed=5)
    splits = _splits(catalogue, *ids)
    assert all(len(set(splits[3 * i : 3 * i + 3])) == 1 for i in range(100))
    units = _units(catalogue)
    rank = share_rank(np.array([units[i] for i in ids]), 5)
    expected = np.where(rank < 0.2, "calibration", np.where(rank < 0.5, "test", "train"))
    assert [str(split) for split in splits] == expected.tolist()
    assert {str(split) for split in splits} == {"train", "calibration", "test"}


def test_blind_labels_are_not_shared_out(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 20)
    splits = SplitsSettings(calibration_share=0.5, test_share=0.5)
    say(catalogue, ids, "positive", origin=Origin.AUDIT, splits=splits)
    assert set(_splits(catalogue, *ids)) == {Split.TEST}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), unique=True, min_size=1),
    st.dictionaries(st.integers(0, 12), st.tuples(st.integers(1, 50), st.integers(0, 14))),
)
def test_unit_keys_equal_a_plain_search(
    pairs: list[tuple[int, int]], pinned: dict[int, tuple[int, int]]
) -> None:
    """Against a flood fill, with keys that are negative as signed numbers, too.

    `pinned` maps an image to when it was pinned and whose key it got, members of its unit or not.
    """
    own = {image: (image * 0x9E3779B97F4A7C15 + 1) % (1 << 64) for image in range(15)}
    signed = {image: key - (1 << 64) if key >> 63 else key for image, key in own.items()}
    moment = {image: 100 * when + image for image, (when, _) in pinned.items()}
    images, numbers = (np.array(values, dtype=np.int64) for values in zip(*pairs, strict=True))
    members, keys = unit_keys(
        images,
        numbers,
        np.array([signed[i] for i, _ in pairs]),
        np.array([signed[pinned[i][1]] if i in pinned else 0 for i, _ in pairs]),
        np.array([moment.get(i, 0) for i, _ in pairs]),
    )
    for image, key in zip(members.tolist(), keys.tolist(), strict=True):
        unit, edge = {image}, {image}
        while edge:
            held = {group for member, group in pairs if member in edge}
            edge = {member for member, group in pairs if group in held} - unit
            unit |= edge
        labelled = sorted(unit & pinned.keys(), key=moment.__getitem__)
        inside = [member for member in labelled if pinned[member][1] in unit]
        if inside:
            assert key == signed[pinned[inside[0]][1]]
        elif labelled:
            assert key == signed[labelled[0]]
        else:
            assert key == signed[min(unit, key=own.__getitem__)]
        assert key in {signed[member] for member in unit}, "two units may share a key"


def test_the_rule_for_splits() -> None:
    train, calibration, test = Split.TRAIN, Split.CALIBRATION, Split.TEST
    assert split_of(None, set(), set()) is None
    assert split_of(None, {train}, set()) is train
    assert split_of(None, set(), {test}) is test
    assert split_of(None, {train}, {test}) is Split.WITHHELD
    assert split_of(None, {train, test}, set()) is Split.WITHHELD
    assert split_of(train, {train}, set()) is train
    assert split_of(train, {train, calibration}, set()) is Split.WITHHELD
    assert split_of(calibration, {train, calibration}, set()) is calibration
    assert split_of(calibration, {calibration}, {train}) is Split.WITHHELD
    assert split_of(test, {test}, {test}) is test


def test_a_label_on_a_pseudo_labelled_mate_keeps_the_split(catalogue: Catalogue) -> None:
    add_images(catalogue, 3)
    groups.replace_grouping(catalogue, PERCEPTUAL, [_group("a", 1, 2)])
    say(catalogue, 1, "positive", origin=Origin.CALIBRATION)
    token = stage(catalogue, promote={2: Label.POSITIVE, 3: Label.POSITIVE})
    rounds.commit_round(catalogue, token, new_round(None))
    assert _splits(catalogue, 2, 3) == [Split.CALIBRATION, None]
