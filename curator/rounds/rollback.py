"""Undoing rounds, and bringing the catalogue's scores up to date with the current round.

A rollback moves the head back; nothing is deleted, and the head can be moved forward again.
Queues and lists look scores up in the catalogue. A round writes its scores to an array file, and
the catalogue's table is filled from the file of the current round: after rounds, after a rollback,
and, if that was interrupted, by the next command that opens the workspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.base.progress import SILENT, Progress
from curator.catalogue import rounds
from curator.catalogue.leases import lease, lease_holder
from curator.errors import BusyError, StorageError

if TYPE_CHECKING:
    from curator.catalogue.rounds import RollbackResult
    from curator.workspace import Workspace

_CHUNK = 65_536


def rollback(workspace: Workspace, *, to: int, block: bool, actor: str) -> RollbackResult:
    """Make the promoted labels those after round `to` (0: before the first).

    With `block`, what the undone rounds promoted is not promoted again before a person
    has labelled it. Raises DataError if there is no such round or an audit is open, BusyError
    while a round is running.
    """
    # Imported here, because `status` imports this module and needs neither.
    from curator.catalogue.audits import refuse_open_audit
    from curator.catalogue.backups import backup_before

    catalogue = workspace.catalogue
    with lease(catalogue, "round"):
        refuse_open_audit(catalogue, "a rollback")
        backup_before(catalogue, "rollback", workspace.settings.backup)
        token = _stage_scores(workspace, to) if to else None
        try:
            return rounds.rollback(catalogue, to or None, block=block, actor=actor, token=token)
        finally:
            rounds.clean_scores(catalogue)


def catch_up(workspace: Workspace) -> None:
    """Bring the scores up to date unless they are, or a living process is about to.

    A catalogue that is opened for reading only stays as it is.
    """
    if workspace.catalogue.read_only:
        return
    if not rounds.scores_behind(workspace.catalogue) or lease_holder(workspace.catalogue, "round"):
        return
    try:
        with lease(workspace.catalogue, "round"):
            refresh_scores(workspace)
    except BusyError:
        return
    except StorageError:
        # There is no room for the lease. Looking needs neither.
        return


def refresh_scores(workspace: Workspace, progress: Progress = SILENT) -> None:
    """Bring the scores up to date; the caller holds the lease `round`.

    Where there is no room for them, the catalogue is told, and the next command does it.
    """
    catalogue = workspace.catalogue
    behind = rounds.scores_behind(catalogue)
    if behind is None:
        return
    number, _ = behind
    try:
        token = _stage_scores(workspace, number, progress)
        if token is not None:
            rounds.use_scores(catalogue, number, token)
        rounds.clean_scores(catalogue)
    except StorageError as error:
        catalogue.notify(
            f"{error.problem} Round {number} is committed; the next command brings the scores that"
            " are shown up to date."
        )


def _stage_scores(workspace: Workspace, number: int, progress: Progress = SILENT) -> str | None:
    """Stage the scores of round `number`; None if their file is lost."""
    catalogue = workspace.catalogue
    scores = workspace.scores(rounds.get_round(catalogue, number).score_digest)
    if scores is None:
        return None
    token = rounds.begin_staging(catalogue)
    with progress.stage("catalogue scores", len(scores)) as stage:
        for start in range(0, len(scores), _CHUNK):
            chunk = scores[start : start + _CHUNK]
            ids, probability, raw = chunk["image_id"], chunk["probability"], chunk["raw"]
            rounds.stage_scores(catalogue, token, ids, probability, raw, chunk["distance"])
            stage.advance(len(chunk))
    return token
