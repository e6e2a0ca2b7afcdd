"""What makes a round true, what undoes it, and the scores that queues and lists show.

Nothing is visible of a round before `commit`, one transaction. A rollback moves the head back;
nothing is deleted, and the head can be moved forward again. Queues and lists look scores up in the
catalogue, whose table is filled from the score file of the current round: after rounds, after a
rollback, and, if that was interrupted, by the next command that opens the workspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from curator.base.progress import SILENT, Progress
from curator.catalogue import rounds
from curator.catalogue.audits import refuse_open_audit
from curator.catalogue.leases import lease, lease_holder
from curator.catalogue.rounds import NewRound
from curator.errors import BusyError, StorageError

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from curator.catalogue.rounds import RollbackResult, RoundRecord
    from curator.rounds.inputs import RoundInputs
    from curator.rounds.promotion import RoundDecisions
    from curator.workspace import Workspace

_STAGED_AT_ONCE = 16_384
_IMAGES_AT_ONCE = 65_536


def commit(
    workspace: Workspace,
    inputs: RoundInputs,
    model: bytes,
    records: NDArray[Any],
    decisions: RoundDecisions,
    outcome: dict[str, Any],
    started_at: datetime,
    progress: Progress,
) -> RoundRecord:
    """Write model and scores, stage the decisions, and make all of it true in one transaction.

    What people said meanwhile wins over a promotion. `outcome` is stored with the round.
    """
    # Imported here, because `status` imports this module and needs neither.
    from curator.classifiers.model_file import write_model_file
    from curator.rounds.promotion import PoolLabel, RoundAction
    from curator.storage.scores import ScoreWriter

    catalogue = workspace.catalogue
    with ScoreWriter(workspace.folder("scores")) as writer:
        writer.append(records)
        score_digest = writer.finish()
    token = rounds.begin_staging(catalogue)
    thresholds = workspace.settings.promotion
    acted = np.flatnonzero(decisions.actions != RoundAction.KEEP)
    with progress.stage("stage", len(acted)) as stage:
        for start in range(0, len(acted), _STAGED_AT_ONCE):
            part = acted[start : start + _STAGED_AT_ONCE]
            actions = decisions.actions[part]
            revoked = actions == RoundAction.REVOKE
            positive = np.where(
                revoked,
                decisions.labels[part] == PoolLabel.PROMOTED_POSITIVE,
                actions == RoundAction.PROMOTE_POSITIVE,
            )
            gained = np.where(positive, thresholds.promote_above, thresholds.promote_below)
            lost = np.where(positive, thresholds.revoke_below, thresholds.revoke_above)
            rounds.stage_decisions(
                catalogue,
                token,
                records["image_id"][part],
                promote=~revoked,
                positive=positive,
                probabilities=decisions.probability[part],
                thresholds=np.where(revoked, lost, gained),
            )
            stage.advance(len(part))
    new = NewRound(
        parent_id=inputs.last.record.round_id if inputs.last else None,
        seed=workspace.settings.runtime.seed,
        settings=workspace.settings.model_dump(mode="json"),
        outcome=outcome,
        started_at=started_at,
        feature_set_id=inputs.images.feature_set_id,
        model_digest=write_model_file(workspace.folder("models"), model),
        score_digest=score_digest,
    )
    return rounds.commit_round(catalogue, token, new)


def rollback(workspace: Workspace, *, to: int, block: bool, actor: str) -> RollbackResult:
    """Make the promoted labels those after round `to` (0: before the first).

    With `block`, what the undone rounds promoted is not promoted again before a person
    has labelled it. Raises DataError if there is no such round or an audit is open, BusyError
    while a round is running.
    """
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
        for start in range(0, len(scores), _IMAGES_AT_ONCE):
            chunk = scores[start : start + _IMAGES_AT_ONCE]
            ids, probability, raw = chunk["image_id"], chunk["probability"], chunk["raw"]
            rounds.stage_scores(catalogue, token, ids, probability, raw, chunk["distance"])
            stage.advance(len(chunk))
    return token
