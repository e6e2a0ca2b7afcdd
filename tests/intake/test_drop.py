"""Dropping a source: what goes, what stays, and that it comes back as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from curator.audits.certificate import current_certificates, stale_sentence
from curator.audits.certify import certify
from curator.base.vocabulary import Label, Origin
from curator.catalogue.counts import counts
from curator.catalogue.labels import history
from curator.catalogue.leases import lease
from curator.catalogue.sources import list_sources
from curator.errors import BusyError, DataError
from curator.intake.add import add
from curator.intake.drop import drop
from curator.maintenance.verify import verify
from curator.report.history import history as report_history
from curator.workspace import Workspace
from tests.intake.conftest import Save
from tests.support.audited import answer, make_pool, opened
from tests.support.command import curator, run_curator
from tests.support.exported import export
from tests.support.filled import decide, fill, promote


@pytest.fixture
def ids(workspace: Workspace, tmp_path: Path) -> dict[str, int]:
    """Four images in `a` (labelled, promoted, plain, and one that lies in `b` too)."""
    names = ["labelled.jpg", "promoted.jpg", "plain.jpg", "shared.jpg"]
    ids = fill(workspace, tmp_path / "a", names, source="a")
    fill(workspace, tmp_path / "b", ["shared.jpg", "other.jpg"], source="b")
    decide(workspace, [ids["labelled.jpg"], ids["shared.jpg"]], Label.POSITIVE)
    promote(workspace, {ids["promoted.jpg"]: 0.995, ids["plain.jpg"]: 0.5})
    return ids


def test_images_that_lie_nowhere_else_leave_the_pool(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    before = counts(workspace.catalogue)
    planned = drop(workspace, source="a", actor="anna", dry_run=True)
    assert counts(workspace.catalogue) == before
    report = drop(workspace, source="a", actor="anna")
    for found in (planned, report):
        assert (found.files, found.images, found.labelled, found.promoted) == (4, 3, 1, 1)
    now = counts(workspace.catalogue)
    assert (now.usable, now.gone, now.promoted) == (2, 3, 0)
    assert now.labels == {"positive": {Origin.SEED: 1}}
    assert [source.name for source in list_sources(workspace.catalogue)] == ["b"]
    exported = export(workspace, tmp_path / "m.csv")
    assert (exported.rows, exported.images) == (1, 1)
    assert verify(workspace).clean


def test_labels_and_history_stay_and_come_back_with_the_files(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    export(workspace, tmp_path / "before.csv")
    events = {name: history(workspace.catalogue, image_id) for name, image_id in ids.items()}
    drop(workspace, source="a", actor="anna")
    for name, image_id in ids.items():
        assert history(workspace.catalogue, image_id) == events[name]
    digest = hashlib.sha256(b"labelled.jpg").hexdigest()
    assert report_history(workspace.catalogue, digest).image.image_id == ids["labelled.jpg"]
    names = list(ids)
    assert fill(workspace, tmp_path / "a", names, source="a") == ids
    export(workspace, tmp_path / "after.csv")
    assert (tmp_path / "before.csv").read_bytes() == (tmp_path / "after.csv").read_bytes()
    assert verify(workspace).clean


def test_files_that_come_back_are_not_called_duplicates(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("1.png", 1)
    save("2.png", 2)
    add(workspace, [pictures])
    drop(workspace, source="pictures", actor="anna")
    report = add(workspace, [pictures])
    assert (report.added, report.known, report.duplicates) == (0, 2, 0)


def test_nothing_is_dropped_while_an_audit_is_open_and_a_certificate_turns_stale(
    workspace: Workspace, tmp_path: Path
) -> None:
    pool = make_pool(workspace, tmp_path / "pool", size=1_200, max_error=0.05)
    fill(workspace, tmp_path / "more", ["more.jpg"], source="more")
    opened(pool.workspace, size=120)
    with pytest.raises(DataError, match="dropping a source"):
        drop(pool.workspace, source="photos", actor="anna")
    answer(pool.workspace, pool.says)
    assert certify(pool.workspace).certificate is not None
    assert drop(pool.workspace, source="more", actor="anna", dry_run=True).stale_certificates == 0
    (certificate,) = current_certificates(workspace.catalogue)
    assert certificate.stale is None
    assert drop(pool.workspace, source="photos", actor="anna", dry_run=True).stale_certificates == 1
    assert drop(pool.workspace, source="photos", actor="anna").stale_certificates == 1
    (certificate,) = current_certificates(workspace.catalogue)
    assert "not in the pool" in stale_sentence(certificate)
    assert verify(pool.workspace).clean


def test_an_add_or_a_round_keeps_it_waiting(workspace: Workspace, ids: dict[str, int]) -> None:
    for name in ("add", "round"):
        with lease(workspace.catalogue, name), pytest.raises(BusyError):
            drop(workspace, source="a", actor="anna")


def test_the_command_previews_asks_and_says(workspace: Workspace, ids: dict[str, int]) -> None:
    root = workspace.root
    preview = curator("-w", root, "drop", "a", "--dry-run").stdout
    assert "would be dropped" in preview
    assert "3 images of it in no other source: 1 labelled by people, 1 promoted" in preview
    refused = run_curator("-w", root, "drop", "a", expect=2).stderr
    assert "\ncurator: No answer was given" in refused and "--yes" in refused
    assert "Known are `a`, `b`" in curator("-w", root, "drop", "c", "--yes", expect=3).stderr
    assert len(list_sources(workspace.catalogue)) == 2
    report = curator("-w", root, "drop", "a", "--yes", "--json").json()
    assert (report["files"], report["images"], report["dry_run"]) == (4, 3, False)
    assert "before-drop" in curator("-w", root, "backup", "--list").stdout
    assert report["root"].endswith("/a")
    assert "5 (2 files, 3 images without a file)" in curator("-w", root, "status").stdout
