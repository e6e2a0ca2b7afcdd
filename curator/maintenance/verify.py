"""`curator verify`: the catalogue against its own promises, its files, and the sources.

Labels are derived again from their events, digests of model and score files are taken
again, and with `files` every source image is read and hashed anew. Nothing is repaired
and nothing is written: the report says what does not hold, and what to do.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from curator.base.progress import SILENT, Progress, Stage
from curator.base.vocabulary import LocationState
from curator.catalogue import counts, features, files, rounds, sources
from curator.catalogue.checks import Finding, check_catalogue, limited
from curator.encoding.pixel_packs import is_pack, pack_problems
from curator.errors import StorageError
from curator.maintenance.verify_audits import audit_problems
from curator.storage.features import FeatureFile, FeatureReader
from curator.workspace import Workspace

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
    findings += limited("audits", audit_problems(catalogue))
    findings += limited("models and scores", _digest_problems(workspace))
    findings += limited("features", _feature_problems(workspace))
    findings += limited("previews", _preview_problems(workspace))
    if files:
        with progress.stage("reading files again", tally.locations, unit="files") as stage:
            findings += limited("files", _file_problems(workspace, stage))
    return VerifyReport(
        findings=tuple(findings),
        images=tally.images,
        rounds=len(rounds.list_rounds(catalogue)),
        files=tally.locations if files else 0,
        seconds=time.monotonic() - started,
    )


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
        with open(path, "rb") as stream:  # noqa: PTH123 - a path may be bytes
            while block := stream.read(_READ_BYTES):
                sha256.update(block)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if sha256.hexdigest() == digest else "holds other bytes than were recorded"


def _feature_problems(workspace: Workspace) -> Iterator[str]:
    catalogue = workspace.catalogue
    for record in features.list_feature_sets(catalogue):
        rows = features.end_row(catalogue, record.feature_set_id)
        file = FeatureFile(
            folder=workspace.folder("features"),
            fingerprint=record.fingerprint,
            dimension=record.dimension,
        )
        if rows == 0:
            continue
        if is_pack(record):
            yield from pack_problems(workspace, record, rows)
            continue
        try:
            damaged = FeatureReader(file, rows).check()
        except StorageError as error:
            yield str(error)
            continue
        for some in damaged:
            yield (
                f"{file.path}: rows {some.start:,} to {some.stop - 1:,} are not what was written."
                f" Delete the file and run `curator encode`."
            )


def _preview_problems(workspace: Workspace) -> Iterator[str]:
    folder = workspace.folder("previews")
    packs = sorted(path for path in folder.iterdir() if path.is_file())
    sizes = {path: path.stat().st_size for path in packs}
    ends = files.preview_ends(workspace.catalogue)
    if ends and sum(sizes.values()) < sum(ends.values()):
        yield (
            f"{folder} holds less than the {sum(ends.values()):,} bytes of previews that were"
            " recorded. Run `curator add` with `--rehash` to make them again."
        )


def _file_problems(workspace: Workspace, stage: Stage) -> Iterator[str]:
    catalogue = workspace.catalogue
    for source in sources.list_sources(catalogue):
        for known in files.walk_locations(catalogue, source.source_id):
            stage.advance()
            if known.sha256 is None or known.state is not LocationState.PRESENT:
                continue
            path = os.path.join(source.root, known.path)  # noqa: PTH118 - paths are bytes
            problem = _differs(path, known.sha256.hex())
            if problem is not None:
                shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
                yield f"{shown} {problem}. Run `curator add` on it."
