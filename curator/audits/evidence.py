"""Evidence: what a certificate rests on, as a file that is checked without the workspace.

A zip of plain JSON and CSV: the frame with the SHA-256 of its images, the plan, the salt, the blind
answers with time and name, the certified set, and all audits that were ever opened with
what they spent. `curator/check_certificate.py` reads it, imports nothing of curator, and computes
everything anew. The commitment that is shown when an audit is opened covers frame, order, plan,
salt and promise; the one that is shown when it is certified covers the answers and the set, too.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curator.audits.frame import certified_set_digest
from curator.audits.ledger import LedgerLine, ledger_line, read_ledger
from curator.base.arrays import BoolArray, IntArray
from curator.base.csv_files import csv_cell
from curator.base.files import check_destination, replacing
from curator.base.version import __version__
from curator.base.vocabulary import AuditKind, Label
from curator.catalogue import audit_answers, audits, certificates, frames
from curator.catalogue.audit_answers import AnswerEvent
from curator.catalogue.audits import AuditRecord, NewAudit
from curator.catalogue.certificates import CertificateRecord
from curator.catalogue.engine import Catalogue
from curator.errors import DataError
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace

FORMAT = "curator-evidence-1"
_STAMP = (1980, 1, 1, 0, 0, 0)


def terms_of(audit: NewAudit, classes: ClassesSettings) -> dict[str, Any]:
    """What an audit promises, as its commitment covers it."""
    return {
        "kind": str(audit.kind),
        "scope": str(audit.scope),
        "max_error": audit.max_error,
        "overlooked": audit.overlooked,
        "classes": {"positive": classes.positive, "negative": classes.negative},
    }


def opening_commitment(
    hashes: Sequence[bytes],
    positive: BoolArray,
    plan_digest: str,
    salt: str,
    terms: Mapping[str, Any],
) -> str:
    """SHA-256 over all that is fixed when an audit is opened.

    `hashes` and `positive` are the frame in its order. The digest of the plan covers the ids of
    the images in the catalogue, which say nothing about files.
    """
    rows = zip(hashes, positive.tolist(), strict=True)
    images = hashlib.sha256(b"".join(sha256 + bytes([label]) for sha256, label in rows))
    return _digest(
        {
            "format": "curator-opening-1",
            "images": images.hexdigest(),
            "plan": plan_digest,
            "salt": salt,
            "terms": dict(terms),
        }
    )


def closing_commitment(
    opening: str, events: Sequence[AnswerEvent], image_ids: IntArray, positive: BoolArray
) -> str:
    """SHA-256 over all that was fixed when an audit was opened, its answers and certified set."""
    return _digest(
        {
            "format": "curator-closing-1",
            "opening": opening,
            "outcomes": [event.outcome for event in events],
            "set": certified_set_digest(image_ids, positive),
        }
    )


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def commitment_of(catalogue: Catalogue, record: AuditRecord, certificate: CertificateRecord) -> str:
    """The closing commitment of an audit's certificate; empty if it has no opening one."""
    if not record.commitment:
        return ""
    return closing_commitment(
        record.commitment,
        audit_answers.answer_events(catalogue, record),
        *certificates.certified_labels(catalogue, certificate),
    )


def write_evidence(
    workspace: Workspace,
    destination: Path,
    issued: Sequence[CertificateRecord],
    *,
    force: bool = False,
) -> None:
    """Write the evidence of these certificates.

    Raises DataError if one of them cannot be checked by others, StorageError if the file exists
    (without `force`) or cannot be written.
    """
    check_destination(destination, force=force)
    catalogue = workspace.catalogue
    records = {record.audit_id: record for record in audits.list_audits(catalogue)}
    audited = [(records[certificate.audit_id], certificate) for certificate in issued]
    facts = {
        "format": FORMAT,
        "curator": __version__,
        "numpy": np.__version__,
        "certificates": [_facts(catalogue, record, certificate) for record, certificate in audited],
        "audits": _opened_audits(records.values(), read_ledger(workspace)),
    }
    with (
        replacing(destination) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        _write(archive, "evidence.json", [text])
        for record, certificate in audited:
            folder = f"audit-{record.audit_id}"
            _write(archive, f"{folder}/frame.csv", _frame_lines(catalogue, certificate))
            _write(archive, f"{folder}/answers.csv", _answer_lines(catalogue, record))


def _write(archive: zipfile.ZipFile, name: str, lines: Iterable[str]) -> None:
    entry = zipfile.ZipInfo(name, _STAMP)  # no time: the same evidence has the same bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    with archive.open(entry, "w", force_zip64=True) as stream:
        for line in lines:
            stream.write(line.encode())


def _facts(
    catalogue: Catalogue, record: AuditRecord, certificate: CertificateRecord
) -> dict[str, Any]:
    if record.salt is None or not record.commitment or record.closed_at is None:
        raise DataError(
            f"Audit {record.audit_id} was opened by an older version of curator, without a"
            " commitment, so nobody else could check its certificate.",
            "Export without --evidence, or audit again with `curator audit`.",
        )
    if certificate.kind is AuditKind.MISSED:
        raise DataError(
            f"Certificate {certificate.certificate_id} is about images that lean to a class, not"
            " about labels of a manifest.",
            "Export without --evidence.",
        )
    return {
        "audit": record.audit_id,
        "terms": dict(record.terms),
        "plan": dict(record.plan),
        "salt": record.salt,
        "salt_source": str(certificate.draw_source),
        "opened_at": record.opened_at.isoformat(),
        "closed_at": record.closed_at.isoformat(),
        "opening_commitment": record.commitment,
        "closing_commitment": commitment_of(catalogue, record, certificate),
        "frame": f"audit-{record.audit_id}/frame.csv",
        "answers": f"audit-{record.audit_id}/answers.csv",
        "certified": {
            "images": certificate.certified,
            "prefix": certificate.place_limit,
            "wrong": certificate.wrong,
            "bound": certificate.bound,
            "confidence": certificate.confidence,
            "sample": certificate.sample,
            "errors": certificate.errors,
            "sha256": certificate.claim,
        },
    }


def _opened_audits(
    catalogued: Iterable[AuditRecord], ledger: Sequence[LedgerLine]
) -> list[dict[str, Any]]:
    """All audits that the ledger or the catalogue knows of, in the order of their opening."""
    records = {ledger_line(record).commitment: record for record in catalogued}
    lines = {line.commitment: line for line in ledger}
    lines |= {name: ledger_line(record) for name, record in records.items() if name not in lines}
    return [
        {
            "commitment": name,
            "scope": str(line.scope),
            "risk": line.risk,
            "opened_at": line.opened_at,
            "state": str(records[name].state) if name in records else "unknown",
        }
        for name, line in lines.items()
    ]


def _frame_lines(catalogue: Catalogue, certificate: CertificateRecord) -> Iterable[str]:
    rows = frames.frame_rows(catalogue, certificate.frame_id)
    hashes = frames.frame_hashes(catalogue, certificate.frame_id)
    certified, _ = certificates.certified_labels(catalogue, certificate)
    states = np.where(np.isin(rows.image_ids, certified), "certified", "")
    # Unseen images of the set that passed which had left the frame when it was tested.
    states[np.isin(rows.image_ids, np.array(certificate.left, dtype=np.int64))] = "left"
    yield "image,sha256,label,state\n"
    for image_id, sha256, positive, state in zip(
        rows.image_ids.tolist(), hashes, rows.positive.tolist(), states.tolist(), strict=True
    ):
        label = Label.POSITIVE if positive else Label.NEGATIVE
        yield f"{image_id},{sha256.hex()},{label},{state}\n"


def _answer_lines(catalogue: Catalogue, record: AuditRecord) -> Iterable[str]:
    yield "image,stratum,outcome,answered_at,actor,method\n"
    for event in audit_answers.answer_events(catalogue, record):
        made_at = event.made_at.isoformat() if event.made_at else ""
        cells = (
            event.image_id,
            event.stratum,
            event.outcome,
            made_at,
            csv_cell(event.actor),
            event.method or "",
        )
        yield ",".join(map(str, cells)) + "\n"
