"""The catalogue's scores, brought up to date with the round that the head points at.

Queues and lists look scores up in the catalogue, in their order. What a round thought of
each image lies in its array file, and the catalogue's table is filled from there when rounds
have ended. Killed in between, the next command that opens the workspace does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.base.progress import SILENT, Progress
from curator.catalogue import rounds
from curator.catalogue.engine import Catalogue
from curator.catalogue.leases import lease, lease_holder
from curator.errors import BusyError

if TYPE_CHECKING:
    from curator.workspace import Workspace

CHUNK = 65_536


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


def refresh_scores(workspace: Workspace, progress: Progress = SILENT) -> None:
    """Bring the scores up to date; the caller holds the lease `round`."""
    behind = rounds.scores_behind(workspace.catalogue)
    if behind is None:
        return
    number, _ = behind
    token = stage_kept_scores(workspace, number, progress)
    if token is not None:
        rounds.use_scores(workspace.catalogue, number, token)
    rounds.clean_scores(workspace.catalogue)


def stage_kept_scores(workspace: Workspace, number: int, progress: Progress = SILENT) -> str | None:
    """Stage what round `number` thought of every image; None if its file is gone."""
    from curator.storage.scores import read_scores

    catalogue: Catalogue = workspace.catalogue
    digest = rounds.get_round(catalogue, number).score_digest
    scores = None if digest is None else read_scores(workspace.folder("scores"), digest)
    if scores is None:
        return None
    token = rounds.begin_staging(catalogue)
    with progress.stage("catalogue scores", len(scores)) as stage:
        for start in range(0, len(scores), CHUNK):
            chunk = scores[start : start + CHUNK]
            ids, probability, raw = chunk["image_id"], chunk["probability"], chunk["raw"]
            rounds.stage_scores(catalogue, token, ids, probability, raw, chunk["distance"])
            stage.advance(len(chunk))
    return token
