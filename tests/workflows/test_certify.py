"""From an audit to a certificate, on a catalogue whose truth is known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from curator.catalogue import certificates
from curator.core.audit.outlook import Answer
from curator.core.words import Origin
from curator.errors import DataError
from curator.workflows.audit import audit
from curator.workflows.certify import certify
from curator.workflows.export import export
from curator.workflows.label import label
from curator.workflows.status import status
from curator.workflows.verify import verify
from curator.workflows.workspace import Workspace
from tests.workflows.audited import Pool, answer, make_pool


@pytest.fixture
def pool(workspace: Workspace, tmp_path: Path) -> Pool:
    return make_pool(workspace, tmp_path / "photos", max_error=0.03)


@pytest.mark.slow
def test_the_whole_way_to_a_certificate(pool: Pool, tmp_path: Path) -> None:
    workspace = pool.workspace
    opened = audit(workspace, size=300)
    assert (opened.answer, opened.sample, opened.waiting) == (Answer.READY, 300, 300)
    assert answer(workspace, pool.says) == 300
    report = certify(workspace)
    certificate = report.certificate
    assert certificate is not None
    assert certificate.stale is None
    assert certificate.bound <= 0.03
    ids, positive, _ = certificates.promoted_labels(workspace.catalogue)
    certified, labels = certificates.certified_labels(workspace.catalogue, certificate)
    assert np.array_equal(ids, certified)
    assert np.array_equal(positive, labels)
    assert len(ids) == certificate.certified > 1_500
    assert pool.wrong_share(ids, positive) <= 0.03
    told = status(workspace).as_json()["certificate"]
    assert (told["state"], told["sample"], told["max_error"]) == ("valid", 300, 0.03)
    written = export(workspace, tmp_path / "clean.csv")
    assert written.certificate is not None
    sidecar = json.loads((tmp_path / "clean.csv.json").read_text())
    assert sidecar["certificate"]["claim_sha256"] == certificate.claim
    with (tmp_path / "clean.csv").open(newline="") as stream:
        origins = [row["origin"] for row in csv.DictReader(stream)]
    assert origins.count("promoted") == certificate.certified
    assert origins.count("audit") == 300
    assert verify(workspace).clean


def test_labels_for_no_audit_are_refused(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("path,label\nphotos/00099.png,good\n")
    with pytest.raises(DataError, match="no open audit"):
        label(pool.workspace, tmp_path / "answers.csv", origin=Origin.AUDIT, actor="tester")
