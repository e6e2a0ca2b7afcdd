"""Taking labels back: an import, a sheet, a session, or what a file lists; nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.audits.audit import begin
from curator.audits.certificate import current_certificates
from curator.audits.certify import certify
from curator.base.files import resource_folder
from curator.base.values import Decision
from curator.base.vocabulary import EventKind, Label, Method, Origin
from curator.catalogue import event_reads
from curator.catalogue.audit_answers import waiting_ids
from curator.catalogue.batches import list_batches
from curator.catalogue.changes import list_changes
from curator.catalogue.engine import Catalogue, Schema
from curator.catalogue.labels import current, history, own_decisions, record_decisions
from curator.catalogue.sources import drop_source, list_sources
from curator.errors import DataError, UsageError
from curator.intake.add import add
from curator.intake.drop import drop
from curator.intake.label import label
from curator.intake.unlabel import undo, unlabel
from curator.maintenance.verify import verify
from curator.report.work import human_work
from curator.review.session import ReviewSession
from curator.workspace import Workspace
from tests.catalogue.builders import add_images, say
from tests.intake.conftest import Save
from tests.support.audited import answer, make_pool, opened
from tests.support.command import curator, run_curator
from tests.support.filled import decide, fill, promote

NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def reviewed_minutes(workspace: Workspace) -> float:
    """Minutes that people spent on all their decisions."""
    return sum(
        row.minutes or 0.0 for row in human_work(event_reads.people_events(workspace.catalogue))
    )


@pytest.fixture
def ids(workspace: Workspace, tmp_path: Path) -> dict[str, int]:
    return fill(workspace, tmp_path, NAMES)


def csv_file(tmp_path: Path, name: str, **labels: str) -> Path:
    file = tmp_path / name
    rows = "".join(f"{image}.jpg,{label}\n" for image, label in labels.items())
    file.write_text(f"path,label\n{rows}")
    return file


def labels_now(workspace: Workspace, ids: dict[str, int]) -> dict[str, str | None]:
    records = current(workspace.catalogue, list(ids.values()))
    return {name[0]: records[image_id].standing for name, image_id in ids.items()}


def newest(workspace: Workspace) -> int:
    return list_batches(workspace.catalogue)[-1].batch_id


def test_an_import_is_a_batch_and_taken_back_as_such(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    promote(workspace, {ids["b.jpg"]: 0.999})
    label(workspace, csv_file(tmp_path, "right.csv", a="good"), actor="anna")
    before = labels_now(workspace, ids)
    wrong = csv_file(tmp_path, "wrong.csv", a="unsure", b="bad", c="bad")
    label(workspace, wrong, actor="ben")
    first, second = list_batches(workspace.catalogue)
    assert (second.kind, second.actor, second.file) == ("import", "ben", str(wrong))
    assert (first.decisions, second.decisions) == (1, 3)
    assert second.labels == {Label.NEGATIVE: 2, Label.UNSURE: 1}

    planned = unlabel(workspace, batch=second.batch_id, dry_run=True, actor="anna")
    assert (planned.decisions, planned.labels) == (3, {"bad": 2, "unsure": 1})
    assert labels_now(workspace, ids)["c"] == "negative"
    report = unlabel(workspace, batch=second.batch_id, actor="anna")
    assert (report.decisions, report.images, report.unlabelled) == (3, 3, 1)
    assert labels_now(workspace, ids) == before
    assert list_batches(workspace.catalogue)[-1].taken_back == 3
    assert unlabel(workspace, batch=second.batch_id, actor="anna").decisions == 0
    kinds = [event.kind for event in history(workspace.catalogue, ids["c.jpg"])]
    assert kinds == [EventKind.ASSERT, EventKind.RETRACT]
    assert verify(workspace).clean


def test_what_an_import_replaced_comes_back(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    image = ids["a.jpg"]
    decision = Decision(
        image_id=image, label=Label.POSITIVE, origin=Origin.REVIEW, method=Method.SINGLE,
        reasons=("sharp",), note="seen",
    )  # fmt: skip
    record_decisions(workspace.catalogue, [decision], actor="anna", session="monday")
    before = labels_now(workspace, ids)
    minutes = reviewed_minutes(workspace)
    label(workspace, csv_file(tmp_path, "w.csv", a="bad", b="bad"), replace=True, actor="ben")
    unlabel(workspace, batch=newest(workspace), actor="ben")
    assert labels_now(workspace, ids) == before
    event = history(workspace.catalogue, image)[-1]
    assert (event.kind, event.method, event.origin) == ("assert", "single", "review")
    assert (event.reasons, event.note) == (("sharp",), "seen")
    assert own_decisions(workspace.catalogue, "ben") == [], "undo in a review leaves it alone"
    assert reviewed_minutes(workspace) == minutes
    assert verify(workspace).clean


def test_a_file_takes_back_what_it_lists_whoever_said_it(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    decide(workspace, [ids["a.jpg"], ids["b.jpg"], ids["c.jpg"]], Label.POSITIVE)
    decide(workspace, [ids["d.jpg"]], Label.NEGATIVE)
    file = tmp_path / "list.csv"
    file.write_text("path,label\na.jpg,good\nb.jpg,bad\nd.jpg,\n")
    report = unlabel(workspace, file=file, actor="anna")
    assert report.decisions == 2
    assert labels_now(workspace, ids) == {"a": None, "b": "positive", "c": "positive", "d": None}
    file.write_text("path,label\na.jpg,goud\nnowhere.jpg,good\n")
    with pytest.raises(DataError, match=r"(?s)line 2: there is no label `goud`.*line 3: .*not in"):
        unlabel(workspace, file=file, actor="anna")
    with pytest.raises(UsageError, match="a CSV file, or --batch"):
        unlabel(workspace, actor="anna")
    with pytest.raises(DataError, match="no batch 3"):
        unlabel(workspace, batch=3, actor="anna")


@pytest.mark.slow
def test_sheets_and_sessions_are_batches(workspace: Workspace, ids: dict[str, int]) -> None:
    promote(workspace, dict.fromkeys(ids.values(), 0.5))
    with ReviewSession(workspace, "borderline", actor="anna") as session:
        session.decide(Label.POSITIVE)
        cards = session.ahead(2)
        session.decide_page([(card, Label.NEGATIVE) for card in cards])
        session.decide(Label.POSITIVE)
    review, sheet = list_batches(workspace.catalogue)
    assert (review.kind, review.decisions) == ("review", 2)
    assert (sheet.kind, sheet.decisions) == ("sheet", 2)
    unlabel(workspace, batch=sheet.batch_id, actor="anna")
    records = current(workspace.catalogue, [card.image_id for card in cards])
    assert all(record.standing is None for record in records.values())
    assert list_batches(workspace.catalogue)[0].taken_back == 0


@pytest.mark.slow
def test_labels_of_a_folder_are_one_batch(workspace: Workspace, pictures: Path, save: Save) -> None:
    for number in range(3):
        save(f"good/{number}.png", number)
        save(f"bad/{number}.png", 10 + number)
    add(workspace, [pictures], subfolders_are_classes=True)
    (batch,) = list_batches(workspace.catalogue)
    assert batch.labels == {Label.POSITIVE: 3, Label.NEGATIVE: 3}
    assert batch.file == f"{pictures / 'good'}, {pictures / 'bad'}"


@pytest.mark.slow
def test_answers_of_an_audit_stay_and_a_certificate_turns_stale(
    workspace: Workspace, tmp_path: Path
) -> None:
    pool = make_pool(workspace, tmp_path / "pool", size=1_200, max_error=0.05)
    seeds = list_batches(workspace.catalogue)[0].batch_id
    opened(pool.workspace, size=120)
    answer(pool.workspace, pool.says)
    answers = list_batches(workspace.catalogue)[-1]
    assert answers.origins == (Origin.AUDIT,)
    assert certify(pool.workspace).certificate is not None
    answers = list_batches(workspace.catalogue)[-1]
    assert answers.locked == answers.decisions
    kept = unlabel(pool.workspace, batch=answers.batch_id, actor="anna")
    assert (kept.decisions, kept.locked) == (0, answers.decisions)
    assert all("salt" in finding.text for finding in verify(pool.workspace).findings)

    (certificate,) = current_certificates(workspace.catalogue)
    promoted = [
        image_id
        for image_id, record in current(workspace.catalogue, list(pool.truth)).items()
        if record.origin is Origin.PROMOTED
    ]
    file = tmp_path / "relabelled.csv"
    names = sorted((tmp_path / "pool").name + f"/{image_id - 1:05d}.png" for image_id in promoted)
    file.write_text(f"path,label\n{names[0]},unsure\n")
    assert certificate.stale is None
    report = label(pool.workspace, file, actor="anna")
    assert report.stale_certificates == 1
    undone = unlabel(pool.workspace, batch=newest(workspace), actor="anna")
    assert undone.certificates == 0
    unlabel(pool.workspace, batch=seeds, actor="anna")
    assert all("salt" in finding.text for finding in verify(pool.workspace).findings)


@pytest.mark.slow
def test_answers_can_be_taken_back_until_a_verdict_uses_them(
    workspace: Workspace, tmp_path: Path
) -> None:
    pool = make_pool(workspace, tmp_path / "pool", size=1_200, max_error=0.05)
    opened(pool.workspace, size=120)
    waiting = waiting_ids(workspace.catalogue, begin(pool.workspace), size=None)
    answer(pool.workspace, pool.says, waiting[:5])
    assert unlabel(pool.workspace, batch=newest(workspace), actor="anna").decisions == 5
    assert waiting_ids(workspace.catalogue, begin(pool.workspace), size=None) == waiting


def test_imports_of_earlier_versions_are_batches_by_person_and_moment(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    schema = Schema(revision="0007", folder=resource_folder("db"))
    with Catalogue.create(path, schema=schema) as old:
        image_ids = add_images(old, 5)
        say(old, image_ids[:3], "positive")
        say(old, image_ids[3:], "negative")
    with Catalogue.open(path) as catalogue:
        batches = list_batches(catalogue)
        assert [(batch.kind, batch.decisions, batch.file) for batch in batches] == [
            ("import", 3, ""),
            ("import", 2, ""),
        ]


def test_the_commands_list_preview_ask_and_say(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    root = workspace.root
    assert "There are no labels" in curator("-w", root, "log").stdout
    file = csv_file(tmp_path, "wrong.csv", a="good", b="bad")
    curator("-w", root, "label", file)
    listed = curator("-w", root, "log").stdout
    assert "wrong.csv" in listed
    (batch,) = curator("-w", root, "log", "--json").json()
    assert (batch["decisions"], batch["labels"]) == (2, {"good": 1, "bad": 1})
    number = str(batch["batch_id"])
    preview = curator("-w", root, "unlabel", "--batch", number, "--dry-run").stdout
    assert "2 decisions about 2 images would be taken back (1 bad, 1 good)." in preview
    refused = run_curator("-w", root, "unlabel", file, expect=2).stderr
    assert "--yes" in refused
    done = curator("-w", root, "unlabel", "--batch", number, "--yes").stdout
    assert "2 images without a label now" in done
    again = curator("-w", root, "unlabel", file, "--yes", "--json").json()
    assert again["decisions"] == 0


def test_an_unlabel_is_undone_by_events_and_later_labels_are_kept(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    decide(workspace, [ids["a.jpg"]], Label.NEGATIVE)
    file = csv_file(tmp_path, "seeds.csv", a="good", b="good", c="bad")
    label(workspace, file, replace=True, actor="anna")
    before = labels_now(workspace, ids)
    report = unlabel(workspace, batch=newest(workspace), actor="ben")
    assert labels_now(workspace, ids) == {"a": "negative", "b": None, "c": None, "d": None}
    (change,) = list_changes(workspace.catalogue)
    assert (change.kind, change.number, change.actor) == ("unlabel", report.number, "ben")
    assert change.labels == {Label.POSITIVE: 2, Label.NEGATIVE: 1}
    assert report.number is not None

    decide(workspace, [ids["c.jpg"]], Label.UNSURE)
    planned = undo(workspace.catalogue, report.number, dry_run=True, actor="ben")
    assert labels_now(workspace, ids)["b"] is None
    undone = undo(workspace.catalogue, report.number, actor="ben")
    assert undone == planned
    assert (undone.decisions, undone.images, undone.unchanged) == (2, 2, 1)
    assert labels_now(workspace, ids) == before | {"c": "unsure"}
    assert undo(workspace.catalogue, report.number, actor="ben").decisions == 0
    assert list_batches(workspace.catalogue)[-1].file == f"unlabel {report.number}, undone"
    # What was recorded again is a batch: taken back, the label before it is current again.
    unlabel(workspace, batch=newest(workspace), actor="ben")
    assert labels_now(workspace, ids)["a"] == "negative"
    with pytest.raises(DataError, match="There is no unlabel 99"):
        undo(workspace.catalogue, 99, actor="ben")
    assert verify(workspace).clean


@pytest.mark.slow
def test_the_log_shows_what_was_taken_back_and_dropped(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    root = workspace.root
    label(workspace, csv_file(tmp_path, "seeds.csv", a="good", b="bad"), actor="anna")
    curator("-w", root, "unlabel", "--batch", "1", "--yes")
    drop(workspace, source="photos", actor="ben")
    kinds = [entry["kind"] for entry in curator("-w", root, "log", "--json").json()]
    assert kinds == ["import", "unlabel", "drop"]
    text = curator("-w", root, "log").stdout
    assert "source photos: 4 images" in text
    number = curator("-w", root, "log", "--json").json()[1]["number"]
    undone = curator("-w", root, "unlabel", "--undo", str(number)).stdout
    assert undone.startswith("2 decisions recorded again (1 bad, 1 good).")
    both = curator("-w", root, "unlabel", "--undo", "1", "--batch", "1", expect=2)
    assert "takes a number and nothing else" in both.stderr


@pytest.mark.parametrize("statement", ["DELETE FROM source_drop", "UPDATE source_drop SET id = 9"])
def test_a_drop_is_recorded_for_good(
    workspace: Workspace, ids: dict[str, int], statement: str
) -> None:
    drop(workspace, source="photos", actor="ben")
    (change,) = list_changes(workspace.catalogue)
    assert (change.source, change.images, change.actor) == ("photos", len(ids), "ben")
    with (
        pytest.raises(sa.exc.IntegrityError, match="append-only"),
        workspace.catalogue.write() as connection,
    ):
        connection.exec_driver_sql(statement)


def test_drops_are_recorded_in_catalogues_of_schema_0010(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    schema = Schema(revision="0010", folder=resource_folder("db"))
    with Catalogue.create(path, schema=schema) as old:
        image_ids = add_images(old, 3)
        say(old, image_ids[0], "positive")
    with Catalogue.open(path) as catalogue:
        assert list_changes(catalogue) == []
        (source,) = list_sources(catalogue)
        drop_source(catalogue, source.source_id, actor="anna")
        (change,) = list_changes(catalogue)
        assert (change.kind, change.images) == ("drop", 3)
