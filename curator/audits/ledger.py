"""The ledger: what audits spent, in a file beside the catalogue that is only appended to.

A catalogue that is restored from a copy forgets the audits that were opened since, and would
spend their risk again. `.curator/audits.ledger` has a line for each audit that was opened: it is
written before the first image is shown, reaches the disk, and ends with a digest of itself and the
line before it. What earlier audits spent is the union of catalogue and ledger.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from curator.audits.draw import commitment
from curator.audits.plan import Spending, stored_digest
from curator.base.files import sync_folder
from curator.base.text import count
from curator.base.vocabulary import AuditScope
from curator.catalogue import audits
from curator.catalogue.audits import AuditRecord
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


def spending(workspace: Workspace) -> list[Spending]:
    """What all audits spent that the catalogue or the ledger knows of.

    Raises DataError if the ledger is damaged: nobody knows what it would have said.
    """
    lines: dict[str, LedgerLine] = {}
    for line in (*read_ledger(workspace), *map(ledger_line, _audits(workspace))):
        # Where the two differ one was altered; what was spent is never less than either says.
        other = lines.get(line.commitment)
        lines[line.commitment] = max(line, other or line, key=lambda entry: entry.risk)
    return [Spending(scope=line.scope, risk=line.risk) for line in lines.values()]


def record_audits(workspace: Workspace) -> None:
    """Append the audits of the catalogue that the ledger does not have.

    Call it before an image of an audit is handed out. Raises DataError if the ledger is damaged,
    and StorageError if it cannot be written.
    """
    lines = [ledger_line(record) for record in _audits(workspace)]
    with _opened(workspace) as descriptor:
        stored, end, digest = _parsed(_content(descriptor), _path(workspace))
        commitments = {line.commitment for line in stored}
        missing = [line for line in lines if line.commitment not in commitments]
        if not missing:
            return
        os.ftruncate(descriptor, end)  # a line that was cut off when a process was killed
        os.lseek(descriptor, end, os.SEEK_SET)
        content = b""
        for line in missing:
            text, digest = _written(line, digest)
            content += text
        # A full disk may take a part of it without an error.
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    sync_folder(workspace.root / STATE_FOLDER)


def read_ledger(workspace: Workspace) -> list[LedgerLine]:
    """All lines. Raises DataError if one is damaged, missing or was altered."""
    path = _path(workspace)
    if not os.path.lexists(path):
        return []
    with _opened(workspace) as descriptor:
        return _parsed(_content(descriptor), path)[0]


def ledger_problems(workspace: Workspace) -> Iterator[str]:
    """Where ledger and catalogue do not agree."""
    try:
        lines = {line.commitment: line for line in read_ledger(workspace)}
    except (DataError, StorageError) as error:
        yield f"{error.problem} {error.advice}"
        return
    records = {ledger_line(record).commitment: record for record in _audits(workspace)}
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
                f"Audit {records[name].audit_id} spent {line.risk:.4g} of the confidence by {NAME},"
                f" and {records[name].risk:.4g} by the catalogue. The larger counts; restore the"
                " catalogue from a backup."
            )
        if name not in records:
            yield (
                f"{NAME} has an audit of {line.opened_at} that the catalogue does not know; it was"
                f" probably restored from a copy. The {line.risk:.4g} of the confidence that the"
                " audit took stays spent."
            )


def _audits(workspace: Workspace) -> Sequence[AuditRecord]:
    return audits.list_audits(workspace.catalogue)


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


def _written(line: LedgerLine, before: str) -> tuple[bytes, str]:
    """A line as it is stored, and its digest."""
    fields = {
        "commitment": line.commitment,
        "scope": str(line.scope),
        "risk": line.risk,
        "opened_at": line.opened_at,
    }
    digest = hashlib.sha256(f"{before} {json.dumps(fields)}".encode()).hexdigest()
    return f"{json.dumps(fields | {'digest': digest})}\n".encode(), digest


def _parsed(content: bytes, path: Path) -> tuple[list[LedgerLine], int, str]:
    """The whole lines, where they end, and the digest of the last one."""
    whole = content[: content.rfind(b"\n") + 1]
    lines, digest = [], _FIRST
    for number, text in enumerate(whole.splitlines(keepends=True), start=1):
        try:
            fields = json.loads(text)
            line = LedgerLine(
                commitment=str(fields["commitment"]),
                scope=AuditScope(fields["scope"]),
                risk=float(fields["risk"]),
                opened_at=str(fields["opened_at"]),
            )
            written, digest = _written(line, digest)
            if written != text:
                raise ValueError("not the line that was written after the one before it")
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}: line {number} of {count(len(whole.splitlines()), 'line')} is damaged or"
                " was altered, so nobody knows what earlier audits spent.",
                "Restore the file from a backup. Without one move it away: then only audits that"
                " the catalogue knows count, and what others took has to be subtracted from the"
                " confidence by you.",
            ) from error
        lines.append(line)
    return lines, len(whole), digest
