"""`curator verify`: the catalogue against its own promises, its files, and the sources.

Labels are derived again from their events, audits from their frames, seeds and answers;
digests of model and score files, features, pixels and previews are computed again, and with
`files` every source image is read and hashed anew. Nothing is repaired and nothing is written:
the report says what does not hold, and what to do.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from curator.audits.answers import outcomes_of
from curator.audits.certificate import certificate_doubts
from curator.audits.draw import AuditDraw, drawn_again
from curator.audits.evidence import opening_commitment
from curator.audits.frame import Frame, certified_set_digest
from curator.audits.ledger import ledger_problems
from curator.audits.plan import AuditPlan, Design
from curator.audits.test import close_audit
from curator.base.progress import SILENT, Progress, Stage
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditState, LocationState
from curator.catalogue import (
    audit_answers,
    audits,
    certificates,
    counts,
    features,
    files,
    frames,
    images,
    rounds,
    sources,
)
from curator.catalogue.audit_answers import AuditAnswers
from curator.catalogue.audits import AuditRecord
from curator.catalogue.certificates import CertificateRecord, DrawSource
from curator.catalogue.checks import Finding, check_catalogue, limited
from curator.catalogue.engine import Catalogue
from curator.catalogue.last_rows import LAST_ROWS, missing_rows
from curator.catalogue.restoring import LOST_FRAME
from curator.encoding.stored_rows import open_rows
from curator.errors import DataError
from curator.sources.files import files_of
from curator.storage.previews import PreviewStore
from curator.workspace import STATE_FOLDER, Workspace

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was looked at, and what does not hold; `clean` if everything does."""

    findings: tuple[Finding, ...]
    images: int
    rounds: int
    files: int
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether every promise holds."""
        return not self.findings


def verify(
    workspace: Workspace, *, files: bool = False, progress: Progress = SILENT
) -> VerifyReport:
    """Check everything; with `files`, read every source image again, too."""
    started = time.monotonic()
    catalogue = workspace.catalogue
    tally = counts.counts(catalogue)
    with progress.stage("deriving labels again", tally.images) as stage:
        findings = list(check_catalogue(catalogue, advance=stage.advance))
    findings += limited("catalogue", _rows_that_are_gone(workspace))
    findings += limited("features and pixels", _features_of_no_image(workspace, tally.images))
    findings += limited("audits", _audit_problems(workspace))
    findings += limited("models and scores", _digest_problems(workspace))
    findings += limited("features and pixels", _row_problems(workspace, progress))
    with progress.stage("reading previews", tally.images) as stage:
        findings += limited("previews", _preview_problems(workspace, stage))
    if files:
        with progress.stage("reading files again", tally.locations, unit="files") as stage:
            findings += limited("files", _file_problems(workspace.catalogue, stage))
    return VerifyReport(
        findings=tuple(findings),
        images=tally.images,
        rounds=len(rounds.list_rounds(catalogue)),
        files=tally.locations if files else 0,
        seconds=time.monotonic() - started,
    )


def _rows_that_are_gone(workspace: Workspace) -> Iterator[str]:
    """An older catalogue in the place of this one keeps every other promise."""
    folder = workspace.root / STATE_FOLDER
    with workspace.catalogue.read() as connection:
        for rows in missing_rows(connection, folder):
            yield (
                f"{workspace.catalogue.backend.name} once held {rows}: it was replaced by an older"
                " catalogue. `curator backup --list` shows what `curator restore` can restore; to"
                f" keep this one delete {folder / LAST_ROWS}."
            )


def _features_of_no_image(workspace: Workspace, images: int) -> Iterator[str]:
    """Images come before their features, so features without any image are of a later catalogue."""
    folder = workspace.root / STATE_FOLDER / "features"
    if not images and folder.is_dir() and any(folder.iterdir()):
        yield (
            f"The catalogue has no image, but {folder} holds features: the catalogue was replaced"
            " by an older one. `curator backup --list` shows what `curator restore` can restore."
        )


def _audit_problems(workspace: Workspace) -> Iterator[str]:
    """A sentence for everything about audits and certificates that does not hold."""
    catalogue = workspace.catalogue
    records = audits.list_audits(catalogue)
    open_audits = [record.audit_id for record in records if record.state is AuditState.OPEN]
    if len(open_audits) > 1:
        yield f"Audits {', '.join(map(str, open_audits))} are open at once."
    yield from audit_answers.misplaced_answers(catalogue)
    issued = {record.audit_id: record for record in certificates.list_certificates(catalogue)}
    for record in records:
        yield from _problems_of(catalogue, record, issued.get(record.audit_id))
    yield from ledger_problems(workspace)


def _problems_of(
    catalogue: Catalogue, record: AuditRecord, certificate: CertificateRecord | None
) -> Iterator[str]:
    name = f"Audit {record.audit_id}"
    if record.frame_digest.startswith(LOST_FRAME):
        return
    try:
        frame, plan, draw = drawn_again(record, frames.frame_rows(catalogue, record.frame_id))
    except DataError as error:
        yield f"{name}: {error.problem}"
        return
    if record.commitment and record.salt is not None:
        hashes = frames.frame_hashes(catalogue, record.frame_id)
        opening = opening_commitment(hashes, frame.positive, plan.digest, record.salt, record.terms)
        if opening != record.commitment:
            yield f"{name}: its frame, plan, salt or terms are not those of its commitment."
    answers = audit_answers.answers_of(catalogue, record)
    if len(frame) != record.frame_size:
        yield f"{name}: its frame has {len(frame):,} of {record.frame_size:,} images."
    same_images = np.array_equal(draw.image_ids, answers.image_ids)
    if not (same_images and np.array_equal(draw.strata, answers.strata)):
        yield f"{name}: its images are not those that its plan and seed draw."
        return
    if certificate is None:
        return
    if record.state is not AuditState.CLOSED:
        yield f"{name} is {record.state}, but has a certificate."
        return
    yield from _certificate_problems(
        catalogue, certificate, plan, draw, frame, answers, miss_rate=record.overlooked
    )


def _certificate_problems(
    catalogue: Catalogue,
    certificate: CertificateRecord,
    plan: AuditPlan,
    draw: AuditDraw,
    frame: Frame,
    answers: AuditAnswers,
    *,
    miss_rate: float,
) -> Iterator[str]:
    name = f"Certificate {certificate.certificate_id}"
    if certificate.stale is None:
        for doubt in certificate_doubts(certificate):
            yield f"{name} is doubtful: {doubt}. Audit again to replace it."
    ids, positive = certificates.certified_labels(catalogue, certificate)
    digest = certified_set_digest(ids, positive)
    if len(ids) != certificate.certified or digest != certificate.claim:
        yield f"{name}: the images that it is about are not those of its digest."
    try:
        result = close_audit(
            frame,
            plan,
            draw,
            outcomes_of(answers),
            left=~np.isin(frame.image_ids, ids),
            miss_rate=miss_rate,
        )
    except DataError as error:
        yield f"{name}: {error.problem}"
        return
    if plan.design is not Design.SIMPLE_RANDOM:
        # The certified set may be smaller than the widest that passed, since images leave.
        counted = {
            plan.rescue.size if tested.rescue and plan.rescue else tested.step.size: (
                tested.step.drawn,
                tested.errors,
            )
            for tested in result.steps
            if tested.passed
        }
        sample, errors = counted.get(certificate.place_limit, (0, 0))
    else:
        sample, errors = plan.sample, result.errors
    if (sample, errors) != (certificate.sample, certificate.errors):
        yield (
            f"{name} says {certificate.errors:,} errors of {certificate.sample:,}, but the answers"
            f" give {errors:,} of {sample:,}."
        )
    proved = result.certified
    # Older versions subtracted more; `certificate_doubts` names their certificates.
    if certificate.draw_source is not DrawSource.SEED and (
        proved is None
        or certificate.wrong < proved.wrong
        or certificate.bound < proved.bound - 1e-9
        or certificate.confidence > plan.promise.confidence + 1e-9
    ):
        yield (
            f"{name} states at most {certificate.wrong:,} wrong ({certificate.bound:.3%}) at"
            f" {100 * certificate.confidence:.4g}% confidence, more than its answers prove."
        )
    promises = certificate.kind is AuditKind.PROMISE
    if promises and certificate.bound > certificate.max_error + 1e-9:
        yield f"{name} promises {certificate.max_error:g}, but its bound is {certificate.bound:g}."


def _digest_problems(workspace: Workspace) -> Iterator[str]:
    for record in rounds.list_rounds(workspace.catalogue):
        for folder, suffix, digest in (
            ("models", "safetensors", record.model_digest),
            ("scores", "npy", record.score_digest),
        ):
            if digest is None:
                continue
            path = workspace.folder(folder) / f"{digest}.{suffix}"
            problem = _differs(path, digest)
            if problem is not None:
                yield f"Round {record.round_id}: {path} {problem}."


def _differs(path: Path | bytes, digest: str) -> str | None:
    """Why the file does not have this SHA-256, None if it does."""
    sha256 = hashlib.sha256()
    try:
        location = os.fsencode(path)
        with (
            files_of(location).opened(location) as descriptor,
            FileIO(descriptor, closefd=False) as stream,
        ):
            while block := stream.read(_READ_BYTES):
                sha256.update(block)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if sha256.hexdigest() == digest else "holds other bytes than were recorded"


def _row_problems(workspace: Workspace, progress: Progress) -> Iterator[str]:
    sets = features.list_feature_sets(workspace.catalogue)
    readers = [open_rows(workspace, record).reader for record in sets]
    total = sum(reader.rows for reader in readers)
    with progress.stage("reading features and pixels", total, unit="rows") as stage:
        for reader in readers:
            damaged = reader.damaged(advance=stage.advance)
            if len(damaged):
                yield str(reader.error(damaged))
            elif reader.rows and not reader.has_digests:
                yield (
                    f"The {reader.rows:,} rows of {reader.file.path} were written before digests"
                    f" were kept, and cannot be compared with anything. {reader.file.mend}"
                )


def _preview_problems(workspace: Workspace, stage: Stage) -> Iterator[str]:
    damaged = 0
    with PreviewStore(workspace.folder("previews")) as previews:
        for ids in images.image_chunks(workspace.catalogue, usable_only=False):
            positions = files.preview_places(workspace.catalogue, ids.tolist())
            damaged += sum(previews.read(position) is None for position in positions.values())
            stage.advance(len(ids))
    if damaged:
        yield (
            f"{count(damaged, 'preview')} in {workspace.folder('previews')} damaged or changed, and"
            " not shown. Run `curator add` with `--rehash` to make them again."
        )


def _file_problems(catalogue: Catalogue, stage: Stage) -> Iterator[str]:
    for source in sources.list_sources(catalogue):
        for location in files.walk_locations(catalogue, source.source_id):
            stage.advance()
            if location.sha256 is None or location.state is not LocationState.PRESENT:
                continue
            path = os.path.join(source.root, location.path)  # noqa: PTH118 - paths are bytes
            problem = _differs(path, location.sha256.hex())
            if problem is not None:
                shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
                yield (
                    f"{shown} {problem}. Run `curator add` on the source `{source.name}`, or"
                    " `curator relocate` if its folder has moved."
                )
