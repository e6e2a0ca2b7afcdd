"""Undoing rounds: the head moves back, nothing is deleted, and it can be moved again.

The scores of the round that stands afterwards come back with it, from the array file
that the round wrote, so that queues fit the labels.
"""

from __future__ import annotations

from curator.audits.audit import refuse_open_audit
from curator.catalogue import rounds
from curator.catalogue.leases import lease
from curator.catalogue.rounds import RollbackResult
from curator.rounds.scored import stage_kept_scores
from curator.workspace import Workspace


def rollback(workspace: Workspace, *, to: int, block: bool, actor: str) -> RollbackResult:
    """Make the promoted labels those that stood after round `to` (0: before the first).

    With `block`, what the undone rounds promoted is not promoted again before a person
    has labelled it. Raises DataError if there is no such round or an audit is open, BusyError
    while a round is running.
    """
    catalogue = workspace.catalogue
    with lease(catalogue, "round"):
        refuse_open_audit(workspace, "a rollback")
        token = stage_kept_scores(workspace, to) if to else None
        try:
            return rounds.rollback(catalogue, to or None, block=block, actor=actor, token=token)
        finally:
            rounds.clean_scores(catalogue)
