"""Labels: recorded whole or not at all, never lost, taken back by another event."""

from __future__ import annotations

import pytest

from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin, Split, code_of
from curator.catalogue import batches, checks, event_reads, labels, pool
from curator.catalogue.engine import Catalogue
from curator.errors import DataError
from curator.report.work import human_work
from tests.catalogue.builders import add_images, decision, run_round, say, standings


def test_decisions_are_recorded_in_order_with_reasons_and_notes(catalogue: Catalogue) -> None:
    image, other = add_images(catalogue, 2)
    given = [
        decision(image, "negative", reasons=("profile", "zwei Köpfe"), note="left \udc80 ear"),
        decision(other, "positive", origin=Origin.REVIEW, method=Method.SHEET, probability=0.25),
    ]
    report = labels.record_decisions(catalogue, given, actor="anna", session="s1")
    assert (report.recorded, report.unchanged, report.conflicts) == (2, 0, 0)
    (event,) = labels.history(catalogue, image)
    assert (event.kind, event.label, event.origin) == (
        EventKind.ASSERT,
        Label.NEGATIVE,
        Origin.SEED,
    )
    assert event.reasons == ("profile", "zwei Köpfe")
    assert event.note == "left \\udc80 ear"
    assert (event.actor, event.session) == ("anna", "s1")
    (event,) = labels.history(catalogue, other)
    assert (event.method, event.probability) == (Method.SHEET, 0.25)


def test_all_decisions_or_none(catalogue: Catalogue) -> None:
    image, other = add_images(catalogue, 2)
    with pytest.raises(DataError, match="No image has the number 77, 78"):
        labels.record_decisions(
            catalogue,
            [decision(image, "positive"), decision(77, "negative"), decision(78, "negative")],
            actor="anna",
        )

    def interrupted():
        yield decision(image, "positive")
        yield decision(other, "positive")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labels.record_decisions(catalogue, interrupted(), actor="anna")
    with pytest.raises(DataError, match="origin of a promotion"):
        labels.record_decisions(
            catalogue, [decision(image, "positive", origin=Origin.PROMOTED)], actor="anna"
        )
    assert standings(catalogue, [image, other]) == {image: None, other: None}
    assert labels.history(catalogue, image) == []


def test_importing_the_same_again_records_nothing(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 5)
    assert say(catalogue, ids[:3], "positive").recorded == 3
    again = say(catalogue, ids, "positive")
    assert (again.recorded, again.unchanged) == (2, 3)
    doubled = say(catalogue, [ids[0], ids[0]], "positive")
    assert (doubled.recorded, doubled.last_event_id) == (0, None)
    assert say(catalogue, ids[:1], "positive", origin=Origin.REVIEW).recorded == 1
    assert say(catalogue, ids[:1], "positive", method=Method.SINGLE).recorded == 1
    assert say(catalogue, ids[:1], "positive", method=Method.SINGLE).recorded == 1


def test_the_same_bytes_imported_as_both_classes_are_a_conflict(catalogue: Catalogue) -> None:
    (image,) = add_images(catalogue, 1)
    both = [decision(image, "positive"), decision(image, "negative")]
    report = labels.record_decisions(catalogue, both, actor="anna")
    assert (report.recorded, report.conflicts) == (2, 1)
    again = labels.record_decisions(catalogue, both, actor="anna")
    assert (again.recorded, again.unchanged, again.conflicts) == (0, 2, 1)
    assert standings(catalogue, [image])[image] == ("conflict", "seed")

    say(catalogue, image, "negative", origin=Origin.REVIEW, method=Method.SINGLE)
    assert standings(catalogue, [image])[image] == ("negative", "review")
    say(catalogue, image, "positive")
    assert standings(catalogue, [image])[image] == ("positive", "seed"), "nothing contradicts it"
    assert not list(checks.check_catalogue(catalogue))


def test_unsure_is_a_decision_and_no_contradiction(catalogue: Catalogue) -> None:
    (image,) = add_images(catalogue, 1)
    say(catalogue, image, "positive")
    say(catalogue, image, "unsure")
    assert standings(catalogue, [image])[image] == ("unsure", "seed")
    assert say(catalogue, image, "positive").recorded == 1
    assert standings(catalogue, [image])[image] == ("positive", "seed")
    say(catalogue, image, "negative")
    assert standings(catalogue, [image])[image] == ("conflict", "seed")


def test_replacing_settles_instead_of_contradicting(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 3)
    say(catalogue, ids[:2], "positive")
    report = say(catalogue, ids, "negative", replace=True)
    assert (report.recorded, report.retracted, report.conflicts) == (3, 2, 0)
    assert standings(catalogue, ids) == dict.fromkeys(ids, ("negative", "seed"))
    same = say(catalogue, ids, "negative", replace=True)
    assert (same.recorded, same.retracted) == (0, 0)
    kinds = [(event.kind, event.retracted) for event in labels.history(catalogue, ids[0])]
    assert kinds == [
        (EventKind.ASSERT, True),
        (EventKind.RETRACT, False),
        (EventKind.ASSERT, False),
    ]


def test_taking_back_brings_back_what_stood_before(catalogue: Catalogue) -> None:
    (image,) = add_images(catalogue, 1)
    run_round(catalogue, promote={image: Label.POSITIVE})
    first = say(catalogue, image, "negative", method=Method.SINGLE).last_event_id
    second = say(catalogue, image, "unsure", method=Method.SINGLE).last_event_id
    assert first is not None and second is not None
    assert labels.retract(catalogue, [second], actor="anna") == 1
    assert labels.retract(catalogue, [second], actor="anna") == 0
    assert standings(catalogue, [image])[image] == ("negative", "seed")
    assert labels.retract(catalogue, [first, second], actor="anna") == 1
    assert standings(catalogue, [image])[image] == ("positive", "promoted")
    for wrong in (1, 4, 999):
        with pytest.raises(DataError, match=f"Event {wrong} is not a decision"):
            labels.retract(catalogue, [wrong], actor="anna")


def test_the_last_decisions_of_a_person_reach_across_sessions(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 3)

    def decide(image: int, actor: str, session: str) -> int:
        report = say(
            catalogue, image, "positive", method=Method.SINGLE, actor=actor, session=session
        )
        assert report.last_event_id is not None
        return report.last_event_id

    decide(ids[0], "anna", "monday")
    decide(ids[1], "ben", "monday")
    newest = decide(ids[2], "anna", "tuesday")
    decisions = labels.own_decisions(catalogue, "anna", limit=5)
    assert [each.image_id for each in decisions] == [ids[2], ids[0]]
    labels.retract(catalogue, [newest], actor="anna")
    decisions = labels.own_decisions(catalogue, "anna")
    assert [each.image_id for each in decisions] == [ids[0]]


def test_human_labels_come_as_arrays_in_order(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 6)
    say(catalogue, ids[4], "positive", origin=Origin.REVIEW, method=Method.SHEET)
    say(catalogue, ids[1], "negative")
    say(catalogue, ids[2], "unsure", origin=Origin.CALIBRATION, method=Method.BLIND)
    run_round(catalogue, promote={ids[5]: Label.POSITIVE})
    human = pool.human_labels(catalogue, None)
    assert human.image_ids.tolist() == [ids[1], ids[2], ids[4]]
    assert human.standing.tolist() == [
        code_of(word)
        for word in (CurrentLabel.NEGATIVE, CurrentLabel.UNSURE, CurrentLabel.POSITIVE)
    ]
    assert human.first_method.tolist() == [
        code_of(word) for word in (Method.IMPORT, Method.BLIND, Method.SHEET)
    ]
    assert human.split.tolist() == [
        code_of(word) for word in (Split.TRAIN, Split.CALIBRATION, Split.TRAIN)
    ]
    assert human.source_ids.tolist() == [1, 1, 1]


def test_no_labels_are_empty_arrays(catalogue: Catalogue) -> None:
    assert pool.human_labels(catalogue, None).image_ids.tolist() == []
    assert list(pool.pool_chunks(catalogue, None)) == []


def test_decisions_that_were_taken_back_are_not_counted(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 5)
    say(catalogue, ids, "positive")
    last = say(catalogue, ids[0], "negative", method=Method.SINGLE).last_event_id
    assert last is not None
    assert event_reads.count_decisions(catalogue) == 6
    labels.retract(catalogue, [last, 1, 2], actor="anna")
    assert event_reads.count_decisions(catalogue) == 3
    work = human_work(event_reads.people_events(catalogue))
    assert sum(row.decisions for row in work) == 3
    assert sum(row.taken_back for row in work) == 3


def test_new_labels_are_those_that_stand_and_came_after_and_answer_no_audit(
    catalogue: Catalogue,
) -> None:
    ids = add_images(catalogue, 6)
    say(catalogue, ids[:2], "positive")
    (event,) = labels.history(catalogue, ids[1])
    assert event_reads.count_new_labels(catalogue, event.made_at) == 0
    last = say(catalogue, ids[2:5], "negative", method=Method.SINGLE).last_event_id
    assert last is not None
    say(catalogue, ids[5], "positive", origin=Origin.AUDIT)
    again = say(catalogue, ids[2:3], "negative", method=Method.SINGLE).last_event_id
    assert again is not None
    assert event_reads.count_new_labels(catalogue, event.made_at) == 3, "images, not events"
    labels.retract(catalogue, [again], actor="anna")
    assert event_reads.count_new_labels(catalogue, event.made_at) == 3
    labels.retract(catalogue, [1, last], actor="anna")
    assert event_reads.count_new_labels(catalogue, event.made_at) == 2


def test_batches_and_changes_are_listed_on_both(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 5)
    say(catalogue, ids[:3], "positive", file="seeds.csv")
    say(catalogue, ids[:2], "negative", method=Method.SHEET, actor="anna", session="s1")
    last = say(catalogue, ids[3], "positive", method=Method.SINGLE, session="s2").last_event_id
    assert last is not None
    labels.retract(catalogue, [last], actor="anna", session="s3")
    listed = batches.list_batches(catalogue)
    assert [(batch.kind, batch.file, batch.decisions, batch.taken_back) for batch in listed] == [
        ("import", "seeds.csv", 3, 0),
        ("sheet", "", 2, 0),
        ("review", "", 1, 1),
    ]
    of_first = batches.decisions_of_batch(catalogue, listed[0].batch_id)
    assert [decision.image_id for decision in of_first] == ids[:3]
    about = batches.decisions_about(catalogue, ids)
    assert [decision.batch_id for decision in about] == [1, 1, 1, 4, 4]


def test_a_decision_that_is_sent_again_counts_once(catalogue: Catalogue) -> None:
    (image,) = add_images(catalogue, 1)

    def send(label: str, session: str = "s1", after: int | None = None) -> int | None:
        given = [decision(image, label, origin=Origin.REVIEW, method=Method.SINGLE)]
        return labels.record_decisions(
            catalogue, given, actor="anna", session=session, unless_after=after
        ).last_event_id

    assert send("positive") == 1
    assert send("positive", after=0) == 1, "recorded before"
    assert send("positive", session="s2", after=0) == 2, "somebody else's"
    assert send("negative", after=1) == 3, "another decision"
    assert send("positive", after=3) == 4, "the same again, later"
    labels.retract(catalogue, [4], actor="anna", session="s1")
    assert send("positive", after=3) == 6, "what was taken back is no answer"
    assert len(labels.history(catalogue, image)) == 6
