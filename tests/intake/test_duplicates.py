"""Duplicates: listed with their bytes, thinned by rules, dropped in a review, and taken back."""

from __future__ import annotations

import csv
import io
import shutil
from importlib import resources
from pathlib import Path

import pytest
import sqlalchemy as sa
from PIL import Image, ImageFilter

from curator.audits.certificate import current_certificates
from curator.audits.certify import certify
from curator.base.files import resource_folder
from curator.base.vocabulary import GroupKind, Label
from curator.catalogue.counts import counts
from curator.catalogue.duplicates import DuplicateFile, near_duplicate_ids, near_duplicates
from curator.catalogue.engine import Catalogue, Schema
from curator.catalogue.exclusions import exclude, restore
from curator.catalogue.groups import GroupRecord, current_grouping, replace_grouping
from curator.catalogue.images import find_by_paths
from curator.errors import DataError, UsageError
from curator.intake.add import add
from curator.intake.duplicates import duplicates, thin, undo_drop
from curator.maintenance.verify import verify
from curator.review.queues import queue
from curator.review.session import ReviewSession
from curator.workspace import Workspace, create_workspace
from tests.support.audited import answer, make_pool, opened
from tests.support.command import curator
from tests.support.filled import decide

CELLS = sorted((Path(str(resources.files("elpv_dataset"))) / "data" / "images").glob("*.png"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three solar cells; two copies of each of the first two, and of one a second file."""
    folder = tmp_path_factory.mktemp("cells")
    for number, path in enumerate(CELLS[300:1500:400]):
        with Image.open(path) as picture:
            cell = picture.convert("L")
        cell.save(folder / f"{number}-whole.png")
        if number < 2:
            cell.resize((200, 200), Image.Resampling.LANCZOS).save(folder / f"{number}-small.png")
            soft = cell.filter(ImageFilter.GaussianBlur(0.7)).resize((320, 320))
            soft.save(folder / f"{number}-soft.jpg", quality=90)
    shutil.copy(folder / "0-whole.png", folder / "0-again.png")
    return folder


@pytest.fixture
def added(tmp_path: Path, cells: Path) -> Workspace:
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    report = add(workspace, [cells])
    assert (report.added, report.near_duplicate_groups, report.near_duplicate_images) == (7, 2, 6)
    return workspace


def id_of(workspace: Workspace, cells: Path, name: str) -> int:
    path = bytes(cells / name)
    return find_by_paths(workspace.catalogue, [path])[path]


def usable_names(workspace: Workspace, tmp_path: Path) -> set[str]:
    """Names of the files that an export of everything has."""
    destination = tmp_path / f"all-{counts(workspace.catalogue).usable}.csv"
    command = ("export", destination, "--include-unlabelled", "--force")
    curator("-q", "-w", workspace.root, *command)
    return {Path(row["path"]).name for row in csv.DictReader(io.StringIO(destination.read_text()))}


def test_groups_are_listed_with_their_bytes(added: Workspace, cells: Path, tmp_path: Path) -> None:
    groups = duplicates(added.catalogue)
    (exact,) = (group for group in groups if group.kind == "exact")
    assert [Path(file.path.decode()).name for file in exact.files] == ["0-again.png", "0-whole.png"]
    assert exact.spare_bytes == (cells / "0-whole.png").stat().st_size
    near = {Path(group.files[0].path.decode()).name for group in groups if group.kind == "near"}
    assert near == {"0-soft.jpg", "1-soft.jpg"}  # the largest first
    rows = list(csv.DictReader(io.StringIO(curator_csv(added, tmp_path))))
    assert {row["kind"]: row["group"] for row in rows}.keys() == {"exact", "near"}
    assert len(rows) == 8
    for row in rows:
        assert Path(row["path"]).stat().st_size == int(row["bytes"])
    said = curator("-w", added.root, "duplicates")
    assert "2 files are exact duplicates, in 1 group" in said.stdout
    assert "6 files are near-duplicates, in 2 groups" in said.stdout
    assert "curator duplicates --thin largest --dry-run" in said.stderr
    listed = curator("-w", added.root, "duplicates", "--json").json()
    assert [group["spare_bytes"] for group in listed] == [group.spare_bytes for group in groups]
    labels = tmp_path / "labels.csv"
    labels.write_text(f"path,label\n{rows[0]['path']},positive\n")
    curator("-w", added.root, "config", "classes.positive=clear")
    curator("-w", added.root, "label", labels)
    (tmp_path / "duplicates.csv").unlink()
    again = csv.DictReader(io.StringIO(curator_csv(added, tmp_path)))
    assert {row["label"] for row in again} == {"", "clear"}


def curator_csv(workspace: Workspace, folder: Path) -> str:
    destination = folder / "duplicates.csv"
    curator("-w", workspace.root, "duplicates", "--output", destination)
    assert (
        "exists"
        in curator("-w", workspace.root, "duplicates", "--output", destination, expect=3).stderr
    )
    return destination.read_text()


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("largest", {"0-soft.jpg", "1-soft.jpg"}),
        ("sharpest", None),
        ("first", {"0-whole.png", "1-small.png"}),
    ],
)
def test_one_of_each_group_stays(
    added: Workspace, tmp_path: Path, rule: str, kept: set[str] | None
) -> None:
    before = usable_names(added, tmp_path)
    planned = thin(added.catalogue, rule, actor="anna", dry_run=True)
    assert usable_names(added, tmp_path) == before
    report = thin(added.catalogue, rule, actor="anna")
    assert (planned.groups, planned.dropped, planned.bytes) == (2, 4, report.bytes)
    left = usable_names(added, tmp_path)
    if kept is None:
        files = {
            Path(file.path.decode()).name: file.sharpness or 0.0
            for group in duplicates_of_before(added)
            for file in group
        }
        for number in "01":
            own = {name: value for name, value in files.items() if name.startswith(number)}
            assert max(own, key=lambda name: own[name]) in left
    else:
        assert kept <= left
    assert counts(added.catalogue).usable == 3
    assert near_duplicate_ids(added.catalogue) == {}
    assert verify(added).clean
    assert thin(added.catalogue, rule, actor="anna").dropped == 0
    assert undo_drop(added.catalogue, actor="anna") == 4
    assert usable_names(added, tmp_path) == before
    assert undo_drop(added.catalogue, actor="anna") == 0
    assert verify(added).clean


def duplicates_of_before(workspace: Workspace) -> list[list[DuplicateFile]]:
    """The groups as they were before the newest drop."""
    restored = undo_drop(workspace.catalogue, actor="ben")
    assert restored
    groups = near_duplicates(workspace.catalogue)
    thin(workspace.catalogue, "sharpest", actor="ben")
    return groups


def test_an_image_that_a_person_labelled_is_never_thinned(added: Workspace, cells: Path) -> None:
    small, soft = (id_of(added, cells, f"0-{name}") for name in ("small.png", "soft.jpg"))
    decide(added, [small, soft], Label.POSITIVE)
    report = thin(added.catalogue, "largest", actor="anna")
    assert (report.dropped, report.labelled) == (3, 1)
    assert counts(added.catalogue).labels["positive"] == {"seed": 2}


def test_groups_stay_when_images_are_dropped_and_added_again(
    added: Workspace, cells: Path, tmp_path: Path
) -> None:
    """A drop that is taken back must not leave copies in two folds."""
    grouping = current_grouping(added.catalogue, GroupKind.PERCEPTUAL)
    groups = near_duplicate_ids(added.catalogue)
    thin(added.catalogue, "first", actor="anna")
    report = add(added, [cells], rehash=True)  # neither brings them back nor groups anew
    assert counts(added.catalogue).usable == 3
    assert counts(added.catalogue).gone == 0
    assert current_grouping(added.catalogue, GroupKind.PERCEPTUAL) == grouping
    undo_drop(added.catalogue, actor="anna")
    assert near_duplicate_ids(added.catalogue) == groups
    assert report.added == 0


def test_a_review_keeps_one_or_all_and_undo_takes_it_back(added: Workspace, cells: Path) -> None:
    with ReviewSession(added, "duplicates", actor="anna") as session:
        card = session.current()
        assert card is not None
        assert card.why == "1 of 3 near-duplicates"
        assert session.keep_only() == 2
        assert counts(added.catalogue).usable == 5
        following = session.current()
        assert following is not None
        assert following.unit_key != card.unit_key
        assert session.keep_all() == 3
        assert session.current() is None
        session.undo()
        undone = session.undo()
        assert undone is not None
        assert undone.dropped
        assert counts(added.catalogue).usable == 7
        again = session.current()
        assert again is not None
        assert again.image_id == card.image_id
        assert session.summary().dropped == 0
    decide(added, [id_of(added, cells, "2-whole.png")], Label.POSITIVE)
    with ReviewSession(added, "random", actor="anna") as session:
        session.current()
        with pytest.raises(UsageError, match="no near-duplicates"):
            session.keep_only()


def test_dropping_ends_a_certificate_and_an_open_audit_refuses_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    pool = make_pool(workspace, tmp_path, error=0.0)
    audited = opened(pool.workspace)
    ids = sorted(pool.scores)[:2]
    refused = pytest.raises(DataError, match="is open")
    with refused:
        exclude(workspace.catalogue, {ids[0]: ids[1]}, actor="anna")
    with pytest.raises(DataError, match="is open"):
        thin(workspace.catalogue, "first", actor="anna")
    answer(pool.workspace, pool.says)
    certify(pool.workspace)
    (certificate,) = current_certificates(workspace.catalogue)
    assert certificate.stale is None
    promoted = [row.image_id for row in queue(workspace, "promoted", size=2)]
    groups = [GroupRecord(name="pair", primary=tuple(promoted))]
    replace_grouping(workspace.catalogue, GroupKind.PERCEPTUAL, groups)
    planned = thin(workspace.catalogue, "first", actor="anna", dry_run=True)
    report = thin(workspace.catalogue, "first", actor="anna")
    assert planned.stale_certificates == report.stale_certificates == 1
    (certificate,) = current_certificates(workspace.catalogue)
    assert certificate.stale is not None
    undo_drop(workspace.catalogue, actor="anna")
    (certificate,) = current_certificates(workspace.catalogue)
    assert certificate.stale is None
    assert audited is not None


def test_what_was_dropped_is_an_event_and_cannot_be_changed(added: Workspace) -> None:
    thin(added.catalogue, "first", actor="anna")
    for statement in ("DELETE FROM exclusion", "UPDATE exclusion SET actor = 'ben'"):
        with pytest.raises(sa.exc.IntegrityError), added.catalogue.write() as connection:
            connection.exec_driver_sql(statement)
    with added.catalogue.write() as connection:
        connection.exec_driver_sql("UPDATE image_state SET usable = 1")
    assert not verify(added).clean


def test_an_image_may_not_be_kept_and_dropped(added: Workspace) -> None:
    first, second, *_ = next(iter(near_duplicate_ids(added.catalogue).values()))
    with pytest.raises(DataError, match="cannot be used"):
        exclude(added.catalogue, {first: second, second: first}, actor="anna")
    step, dropped = exclude(added.catalogue, {first: second}, actor="anna")
    assert dropped == [first]
    with pytest.raises(DataError, match="cannot be used"):
        exclude(added.catalogue, {second: first}, actor="anna")
    assert restore(added.catalogue, step, actor="anna") == [first]


@pytest.mark.slow
def test_the_command_asks_says_and_undoes(added: Workspace, tmp_path: Path) -> None:
    root = added.root
    assert "no rule `best`" in curator("-w", root, "duplicates", "--thin", "best", expect=2).stderr
    planned = curator("-w", root, "duplicates", "--thin", "largest", "--dry-run").stdout
    assert "4 near-duplicates of 2 groups would be dropped" in planned
    done = curator("-w", root, "duplicates", "--thin", "largest", "--yes").stdout
    assert "4 near-duplicates of 2 groups were dropped" in done
    assert "curator duplicates --undo" in done
    assert "4 near-duplicates" in curator("-w", root, "status").stdout
    assert curator("-w", root, "status", "--json").json()["dropped"] == 4
    assert "4 images came back" in curator("-w", root, "duplicates", "--undo").stdout
    assert "Nothing was dropped" in curator("-w", root, "duplicates", "--undo").stdout
    curator("-w", root, "duplicates", "--undo", "--thin", "first", expect=2)


def test_exclusions_come_to_catalogues_of_schema_0009(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    schema = Schema(revision="0009", folder=resource_folder("db"))
    with Catalogue.create(path, schema=schema) as old, old.write() as connection:
        for table, rows in (
            ("source VALUES", "(1, 's', x'2f73', '', '', 0)"),
            (
                "image (id, sha256, size, width, height, detail, added_at) VALUES",
                f"(1, x'{1:064x}', 5, 4, 3, '', 0), (2, x'{2:064x}', 5, 4, 3, '', 0)",
            ),
            ("image_state (image_id, usable, unit_key) VALUES", "(1, 1, 1), (2, 1, 2)"),
            (
                "location (source_id, path, size, mtime_ns, state, image_id, detail, seen_at)"
                " VALUES",
                "(1, x'61', 5, 0, 'present', 1, '', 0), (1, x'62', 5, 0, 'present', 2, '', 0)",
            ),
        ):
            connection.exec_driver_sql(f"INSERT INTO {table} {rows}")
    with Catalogue.open(path) as catalogue:
        assert counts(catalogue).usable == 2
        exclude(catalogue, {1: 2}, actor="anna")
        assert (counts(catalogue).usable, counts(catalogue).dropped) == (1, 1)
