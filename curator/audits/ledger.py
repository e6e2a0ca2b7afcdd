"""The ledger: what audits spent, in a file beside the catalogue that is only appended to.

A catalogue that is restored from a copy forgets the audits that were opened since, and would
spend their risk again. `.curator/audits.ledger` has a line for each audit that was opened: it is
written before the first image is shown, reaches the disk, and ends with a digest of itself and the
line before it. What earlier audits spent is the union of catalogue and ledger.

A copy of the catalogue that is put back in the middle of an audit forgets which answers a verdict
has used, and would let them be given again. So the ledger also has a line for each part of an
audit whose answers are locked, written before the catalogue locks them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from curator.audits.draw import commitment
from curator.audits.plan import Spending, stored_digest
from curator.base.files import sync_folder
from curator.base.text import count
from curator.base.vocabulary import AuditScope
from curator.catalogue import audit_answers, audits
from curator.catalogue.audit_answers import AuditAnswers
from curator.catalogue.audits import AuditRecord
from curator.catalogue.engine import Catalogue
from curator.errors import DataError, StorageError
from curator.workspace import STATE_FOLDER, Workspace

NAME = "audits.ledger"
_FIRST = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """An audit that was opened: which one, about what, what it spent, and when."""

    commitment: str
    scope: AuditScope
    risk: float
    opened_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPart:
    """A part of an audit whose answers were used: which one, with a digest of the answers.

    Without a `stratum` the whole audit was asked at once.
    """

    commitment: str
    stratum: int | None
    answers: str


def spending(workspace: Workspace) -> list[Spending]:
    """What all audits spent that the catalogue or the ledger knows of.

    Raises DataError if the ledger is damaged: nobody knows what it would have said.
    """
    lines: dict[str, LedgerLine] = {}
    for line in (*read_ledger(workspace), *map(ledger_line, _audits(workspace.catalogue))):
        # Where the two differ one was altered; what was spent is never less than either says.
        other = lines.get(line.commitment)
        lines[line.commitment] = max(line, other or line, key=lambda entry: entry.risk)
    return [Spending(scope=line.scope, risk=line.risk) for line in lines.values()]


def record_audits(workspace: Workspace) -> None:
    """Append the audits of the catalogue that the ledger does not have.

    Call it before an image of an audit is handed out. Raises DataError if the ledger is damaged,
    and StorageError if it cannot be written.
    """
    lines = [ledger_line(record) for record in _audits(workspace.catalogue)]
    with _opened(workspace) as descriptor:
        stored, end, digest = _parsed(_content(descriptor), _path(workspace))
        commitments = {line.commitment for line in stored if isinstance(line, LedgerLine)}
        missing = [line for line in lines if line.commitment not in commitments]
        _append(descriptor, end, digest, missing)
    sync_folder(workspace.root / STATE_FOLDER)


def record_lock(workspace: Workspace, record: AuditRecord, answers: AuditAnswers) -> None:
    """Append that the answers to what `record` asks now are used.

    Raises DataError if they were used before, and were others: a verdict is known for those.
    """
    part = locked_part(record, answers)
    with _opened(workspace) as descriptor:
        stored, end, digest = _parsed(_content(descriptor), _path(workspace))
        if part in stored:
            return
        same = (part.commitment, part.stratum)
        if any(same == (p.commitment, p.stratum) for p in stored if isinstance(p, LockedPart)):
            raise DataError(
                f"Answers of audit {record.audit_id} are not those that were used before by"
                f" {NAME}: the catalogue was probably restored from a copy made in mid-audit.",
                "Nothing was tested. Give these answers as they were, restore a newer catalogue, or"
                " abandon the audit with `curator audit --abandon`.",
            )
        _append(descriptor, end, digest, [part])


def locked_part(record: AuditRecord, answers: AuditAnswers) -> LockedPart:
    """The line of the answers to what `record` asks now; no label is no confirmation."""
    labels = [
        str(label) if label else None
        for label, stratum in zip(answers.labels, answers.strata.tolist(), strict=True)
        if record.asking in (None, stratum)
    ]
    return LockedPart(
        commitment=ledger_line(record).commitment,
        stratum=record.asking,
        answers=hashlib.sha256(json.dumps(labels).encode()).hexdigest(),
    )


def read_ledger(workspace: Workspace) -> list[LedgerLine]:
    """The audits that were opened. Raises DataError if a line is damaged, missing or altered."""
    return [line for line in _all_lines(workspace) if isinstance(line, LedgerLine)]


def _all_lines(workspace: Workspace) -> list[LedgerLine | LockedPart]:
    path = _path(workspace)
    if not os.path.lexists(path):
        return []
    with _opened(workspace) as descriptor:
        return _parsed(_content(descriptor), path)[0]


def _append(
    descriptor: int, end: int, digest: str, lines: Sequence[LedgerLine | LockedPart]
) -> None:
    if not lines:
        return
    os.ftruncate(descriptor, end)  # a line that was cut off when a process was killed
    os.lseek(descriptor, end, os.SEEK_SET)
    content = b""
    for line in lines:
        text, digest = _written(line, digest)
        content += text
    # A full disk may take a part of it without an error.
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)


def ledger_problems(workspace: Workspace) -> Iterator[str]:
    """Where ledger and catalogue do not agree."""
    try:
        stored = _all_lines(workspace)
    except (DataError, StorageError) as error:
        yield f"{error.problem} {error.advice}"
        return
    lines = {line.commitment: line for line in stored if isinstance(line, LedgerLine)}
    records = {ledger_line(record).commitment: record for record in _audits(workspace.catalogue)}
    for name, record in records.items():
        # Those of before there was a ledger are written into it when the next one is opened.
        if record.salt is not None and name not in lines:
            yield (
                f"Audit {record.audit_id} is not in {NAME}. `curator audit` writes it there when it"
                " is taken up or the next one is opened."
            )
    for name, line in lines.items():
        if name in records and records[name].risk != line.risk:
            yield (
                f"Audit {records[name].audit_id} spent a risk of {line.risk:.4g} by {NAME}, and of"
                f" {records[name].risk:.4g} by the catalogue. The larger counts; restore the"
                " catalogue from a backup."
            )
        if name not in records:
            yield (
                f"{NAME} has an audit of {line.opened_at} that the catalogue does not know; it was"
                f" probably restored from a copy. The risk of {line.risk:.4g} that the audit spent"
                " stays spent."
            )
    for part in stored:
        if isinstance(part, LockedPart) and part.commitment in records:
            record = replace(records[part.commitment], asking=part.stratum)
            answers = audit_answers.answers_of(workspace.catalogue, record)
            in_part = answers.strata == part.stratum
            locked = answers.locked[in_part if part.stratum is not None else slice(None)]
            if not locked.all() or locked_part(record, answers) != part:
                yield (
                    f"Audit {record.audit_id} has used answers by {NAME} that are open or others in"
                    " the catalogue; it was probably restored from a copy. They can only be given"
                    " as they were."
                )


def _audits(catalogue: Catalogue) -> Sequence[AuditRecord]:
    return audits.list_audits(catalogue)


def ledger_line(record: AuditRecord) -> LedgerLine:
    """The line of an audit that the catalogue knows."""
    salt = record.salt or f"{record.seed} {record.attempt}"
    return LedgerLine(
        # What was shown when it was opened; audits of older versions have no such digest.
        commitment=record.commitment or commitment(stored_digest(record.plan), salt),
        scope=record.scope,
        risk=record.risk,
        opened_at=record.opened_at.isoformat(timespec="seconds"),
    )


def _path(workspace: Workspace) -> Path:
    return workspace.root / STATE_FOLDER / NAME


@contextmanager
def _opened(workspace: Workspace) -> Iterator[int]:
    """The file, locked; made if it does not exist. A link in its place is not followed."""
    path = _path(workspace)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            descriptor = os.open(path, flags, 0o666)
        except PermissionError:  # to look is enough for `verify` and `--dry-run`
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(
            f"{path}, the ledger of audits, cannot be used: {error.strerror or error}.",
            "It has to be a plain file that you may write to. Make room, or move away what is in"
            " its place, and run it again.",
        ) from error


def _content(descriptor: int) -> bytes:
    blocks = []
    while block := os.read(descriptor, 1 << 16):
        blocks.append(block)
    return b"".join(blocks)


def _written(line: LedgerLine | LockedPart, before: str) -> tuple[bytes, str]:
    """A line as it is stored, and its digest."""
    fields = asdict(line)
    digest = hashlib.sha256(f"{before} {json.dumps(fields)}".encode()).hexdigest()
    return f"{json.dumps(fields | {'digest': digest})}\n".encode(), digest


def _line(fields: Mapping[str, Any]) -> LedgerLine | LockedPart:
    commitment = str(fields["commitment"])
    if "answers" in fields:
        stratum = None if fields["stratum"] is None else int(fields["stratum"])
        return LockedPart(commitment=commitment, stratum=stratum, answers=str(fields["answers"]))
    return LedgerLine(
        commitment=commitment,
        scope=AuditScope(fields["scope"]),
        risk=float(fields["risk"]),
        opened_at=str(fields["opened_at"]),
    )


def _parsed(content: bytes, path: Path) -> tuple[list[LedgerLine | LockedPart], int, str]:
    """The whole lines, where they end, and the digest of the last one."""
    whole = content[: content.rfind(b"\n") + 1]
    lines: list[LedgerLine | LockedPart] = []
    digest = _FIRST
    for number, text in enumerate(whole.splitlines(keepends=True), start=1):
        try:
            fields = json.loads(text)
            line = _line(fields)
            written, digest = _written(line, digest)
            if written != text:
                raise ValueError("not the line that was written after the one before it")
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}: line {number} of {count(len(whole.splitlines()), 'line')} is damaged or"
                " was altered, so nobody knows what earlier audits spent.",
                "Restore the file from a backup. Without one move it away: then only audits that"
                " the catalogue knows count, and you have to add up the risk of the others"
                " yourself.",
            ) from error
        lines.append(line)
    return lines, len(whole), digest
