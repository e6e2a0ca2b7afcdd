"""What the options before the command say: which workspace, and how much to talk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from curator.base.progress import Progress
from curator.cli.output import narrate, shown
from curator.cli.progress import progress_for
from curator.errors import CuratorError, WorkspaceError

if TYPE_CHECKING:
    from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The options that hold for every command."""

    folder: Path | None
    quiet: bool

    def root(self) -> Path:
        """The workspace's folder: as given, or found above the current one."""
        from curator.workspace import find_workspace

        return self.folder or find_workspace(Path.cwd())

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """The open workspace; what the user should know about it is said once."""
        from curator.rounds.rollback import catch_up
        from curator.workspace import open_workspace

        workspace = open_workspace(self.root(), self.say)
        with workspace.catalogue:
            catch_up(workspace)
            for warning in workspace.catalogue.warnings:
                self.say(warning)
            yield workspace
            self._back_up(workspace)

    def _back_up(self, workspace: Workspace) -> None:
        """The backup on schedule. If it fails, the command has still done what it did."""
        if not workspace.catalogue.has_written:
            return
        from curator.maintenance.backup import scheduled_backup

        try:
            scheduled_backup(workspace)
        except CuratorError as error:
            narrate(shown(f"There is no new backup. {error.problem} {error.advice}"))

    def expects_workspace(self) -> bool:
        """Whether there should be a workspace: one was named, or there is one above."""
        from curator.workspace import find_workspace

        if self.folder is not None:
            return True
        try:
            find_workspace(Path.cwd())
        except WorkspaceError:
            return False
        return True

    def progress(self) -> Progress:
        """The listener for long work."""
        return progress_for(quiet=self.quiet)

    def say(self, text: str) -> None:
        """A sentence of narration, unless the user wants quiet."""
        if not self.quiet:
            narrate(shown(text))


def invocation(context: typer.Context) -> Invocation:
    """The options before the command that `context` runs."""
    options = context.find_root().obj
    assert isinstance(options, Invocation)
    return options
