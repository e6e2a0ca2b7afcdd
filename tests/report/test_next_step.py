"""The next step that `status` names, and what it takes to undo a certificate."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from curator.audits.audit import abandon, audit, begin
from curator.audits.certify import certify
from curator.base.vocabulary import AuditScope
from curator.errors import DataError
from curator.export.export import ExportReport, export
from curator.export.filters import ExportRequest, Filters
from curator.report.sentences import missing_certificate_sentence
from curator.report.status import status
from curator.workspace import Workspace
from tests.support.audited import Pool, answer, make_pool, with_settings
from tests.support.command import run_curator

pytestmark = pytest.mark.slow

SALT = "aa" * 32


@pytest.fixture
def pool(workspace: Workspace, tmp_path: Path) -> Pool:
    """2,000 scored images of which nearly all are right, under the certified policy."""
    return make_pool(
        workspace, tmp_path / "photos", size=2_000, error=0.0, hard=0.02, max_error=0.05
    )


def certified(pool: Pool, workspace: Workspace, **asked: object) -> AuditScope:
    """Plan, open, answer with the truth and certify; what the certificate is about."""
    audit(workspace, anyway=True, **asked)  # type: ignore[arg-type]
    begin(workspace, salt=SALT)
    for _ in range(5):
        answer(workspace, pool.says)
        try:
            report = certify(workspace)
        except DataError:
            continue  # the next stratum is asked
        assert report.certificate is not None
        return report.certificate.scope
    raise AssertionError("the audit asked for more than five times")


def exported(workspace: Workspace, name: str, **filters: object) -> ExportReport:
    request = ExportRequest(
        destination=workspace.root / name,
        filters=Filters(**filters),  # type: ignore[arg-type]
    )
    return export(workspace, request)


def kept(workspace: Workspace, **classes: object) -> Workspace:
    """The workspace with these settings, in its file as well."""
    from curator.settings.file import write_settings

    write_settings(
        workspace.root,
        {f"classes.{key}": str(value) for key, value in classes.items()}
        | {"promotion.policy": "certified", "promotion.max_error": "0.05"},
    )
    return with_settings(workspace, classes=classes)


def test_one_class_is_audited_certified_and_exported_by_default(pool: Pool) -> None:
    workspace = kept(pool.workspace, deliver="positive")
    assert "curator audit" in status(workspace).advice()
    whole_risk = audit(workspace, dry_run=True).promise.risk
    assert whole_risk == pytest.approx(1 - workspace.settings.promotion.confidence)
    assert certified(pool, workspace) is AuditScope.POSITIVE
    present = status(workspace)
    assert "curator export clean.csv" in present.advice() and "--label" not in present.advice()
    report = exported(workspace, "clean.csv")
    assert set(report.labels) == {"good"}
    assert report.certificate["state"] == "valid" and report.certificate["class"] == "good"
    assert report.certificate_note == ""
    with (workspace.root / "clean.csv").open(newline="") as stream:
        promoted = [row for row in csv.DictReader(stream) if row["origin"] == "promoted"]
    assert len(promoted) == report.certificate["certified"]
    # Asked for by name it is the same; the other class has no certificate.
    assert exported(workspace, "named.csv", labels=["good"]).certificate is not None
    assert exported(workspace, "bad.csv", labels=["bad"], provisional=True).certificate is None


def test_a_certificate_of_both_classes_does_not_carry_over_to_one(pool: Pool) -> None:
    workspace = kept(pool.workspace, deliver="both")
    assert certified(pool, workspace) is AuditScope.ALL
    assert exported(workspace, "both.csv").certificate["state"] == "valid"
    report = exported(workspace, "good.csv", labels=["good"])
    assert report.certificate is None
    assert "both classes together" in report.certificate_note
    assert "`curator audit --class good`" in report.certificate_note
    alone = kept(workspace, deliver="positive")
    assert status(alone).certificate is None and status(alone).is_provisional


def test_a_certificate_of_one_class_holds_for_it_where_both_are_delivered(pool: Pool) -> None:
    workspace = kept(pool.workspace, deliver="both")
    certified(pool, workspace, class_name="good")
    report = exported(workspace, "good.csv", labels=["good"])
    assert report.certificate["state"] == "valid" and report.certificate_note == ""
    assert status(workspace).advice().endswith("curator export clean.csv --label good")


def test_each_class_is_audited_at_half_of_the_risk_until_both_have_a_certificate(
    pool: Pool,
) -> None:
    workspace = kept(pool.workspace, deliver="each")
    planned = audit(workspace, dry_run=True)
    assert planned.promise.risk == pytest.approx(0.025)
    assert "labels promoted to `good`, and no others" in planned.text
    assert certified(pool, workspace) is AuditScope.POSITIVE
    present = status(workspace)
    assert present.advice() == "Audit the labels promoted to `bad`: curator audit"
    assert present.is_provisional and present.payable is None
    # What the first one came to changes nothing of what the second may spend.
    assert audit(workspace, dry_run=True).promise.risk == pytest.approx(0.025)
    assert certified(pool, workspace) is AuditScope.NEGATIVE
    present = status(workspace)
    assert (
        present.advice()
        == "The certificate is valid. Export what it covers: curator export clean.csv"
    )
    assert not present.is_provisional
    report = exported(workspace, "clean.csv")
    both = [report.certificate, *report.certificate["beside"]]
    assert {(one["class"], one["state"], round(one["risk"], 9)) for one in both} == {
        ("good", "valid", 0.025), ("bad", "valid", 0.025)
    }  # fmt: skip
    with (workspace.root / "clean.csv").open(newline="") as stream:
        promoted = [row for row in csv.DictReader(stream) if row["origin"] == "promoted"]
    for one in both:
        of_class = [row for row in promoted if row["label"] == one["class"]]
        assert len(of_class) == one["certified"]
        truth = {f"{number:05d}.png": good for number, good in enumerate(pool.truth.values())}
        wrong = sum(truth[Path(row["path"]).name] != (row["label"] == "good") for row in of_class)
        assert wrong <= one["wrong"] <= 0.05 * one["certified"]


def test_a_class_whose_half_is_spent_is_named_and_the_other_comes_first(pool: Pool) -> None:
    workspace = kept(pool.workspace, deliver="each")
    audit(workspace, anyway=True)
    begin(workspace, salt=SALT)
    abandon(workspace)
    assert status(workspace).payable is None
    assert certified(pool, workspace) is AuditScope.NEGATIVE
    present = status(workspace)
    assert present.payable == pytest.approx(0.9)
    assert present.advice().endswith("curator export clean.csv --label bad")
    with pytest.raises(DataError, match="the whole risk") as refused:
        audit(workspace, class_name="good")
    assert "promotion.confidence to 0.9 or lower" in refused.value.advice
    humbler = with_settings(workspace, promotion={"confidence": 0.9})
    assert audit(humbler, dry_run=True).promise.risk == pytest.approx(0.025)


def test_no_audit_is_proposed_whose_risk_is_spent(pool: Pool) -> None:
    workspace = kept(pool.workspace, deliver="each")
    assert "`curator audit`" in missing_certificate_sentence(status(workspace))
    for _ in range(2):
        audit(workspace, anyway=True)
        begin(workspace, salt=SALT)
        abandon(workspace)
    present = status(workspace)
    assert present.advice().endswith("curator config promotion.confidence=0.9")
    sentence = missing_certificate_sentence(present)
    assert "spent the whole risk" in sentence and "curator audit" not in sentence


def test_after_a_certificate_the_next_step_is_export_and_a_round_asks(
    workspace: Workspace, tmp_path: Path
) -> None:
    pool = make_pool(
        workspace, tmp_path / "photos", size=1_500, error=0.0, hard=0.4, max_error=0.05
    )
    workspace = kept(pool.workspace, deliver="both")
    audit(workspace, anyway=True)
    begin(workspace, salt=SALT)
    assert status(workspace).advice().startswith("Go on with the audit")
    root = workspace.root
    lost = run_curator("-w", root, "audit", "--abandon", expect=3)
    assert "spent a risk of 0.05" in lost.stderr and "--abandon --yes" in lost.stderr
    assert status(workspace).audit is not None
    certified(pool, workspace)
    present = status(workspace)
    assert present.counts.unlabelled
    assert "curator export" in present.advice() and "round" not in present.advice()
    refused = run_curator("-w", root, "round", expect=3)
    assert "would void what is certified: at most" in refused.stderr
    assert "--yes" in refused.stderr
    assert status(workspace).advice() == present.advice()
