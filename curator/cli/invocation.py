"""What the options before the command say: which workspace, and how much to talk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from curator.base.progress import Progress
from curator.cli.output import narrate, shown
from curator.cli.progress import progress_for
from curator.errors import CuratorError, WorkspaceError

if TYPE_CHECKING:
    from curator.workspace import Workspace


@dataclass(slots=True, kw_only=True)
class Invocation:
    """The options that hold for every command, and what is said at its end.

    `finished_work` collects sentences about what is committed or written: whatever fails after
    it, the user is told that it stays. `next_step` is the sentence that ends a command which
    changed something, with the command that makes sense now.
    """

    folder: Path | None = None
    quiet: bool = False
    json: bool = False
    finished_work: list[str] = field(default_factory=list)
    next_step: str = ""

    def root(self) -> Path:
        """The workspace's folder: as given, or found above the current one."""
        from curator.workspace import find_workspace

        return self.folder or find_workspace(Path.cwd())

    @contextmanager
    def workspace(self, *, trust: bool | None = None) -> Iterator[Workspace]:
        """The open workspace; what the user should know about it is said once.

        `trust`: whether its code was agreed to with `--trust`; None for a command that runs none.
        """
        from curator.rounds.commit import catch_up
        from curator.workspace import open_workspace

        workspace = open_workspace(self.root(), self.say)
        with workspace.catalogue:
            if trust is not None:
                self._ask_about_code(workspace, agreed=trust)
            catch_up(workspace)
            for warning in workspace.catalogue.warnings:
                self.say(warning)
            yield workspace
            if workspace.catalogue.has_written:
                self.finished_work.append(
                    "The work of this command is committed; `curator status` shows it."
                )
                self._find_next_step(workspace)
            self._back_up(workspace)

    def _find_next_step(self, workspace: Workspace) -> None:
        """What `status` would advise now, unless the command knows better or a program reads."""
        if self.next_step or self.quiet or self.json:
            return
        from curator.report.status import status

        self.next_step = status(workspace).advice()

    def _back_up(self, workspace: Workspace) -> None:
        """The backup on schedule. If it fails, the command has still done what it did."""
        if not workspace.catalogue.has_written:
            return
        from curator.maintenance.backup import scheduled_backup

        try:
            scheduled_backup(workspace)
        except (CuratorError, OSError) as error:
            narrate(shown(f"No backup was made, all else is done. {error}"))

    def _ask_about_code(self, workspace: Workspace, *, agreed: bool) -> None:
        """Have the user agree to code that came with the workspace, once for each state of it.

        Raises LearnError if they do not, and nobody agreed before.
        """
        from curator.classifiers.user_code import code_of

        classifier = workspace.settings.classifier
        model = classifier.model
        names_code = classifier.kind == "finetune" and ":" in model
        if not agreed and not names_code:
            return  # a model of an earlier round may be code too: it is refused where it is made
        code = code_of(workspace.root)
        if not code.files or code.is_trusted:
            return
        if not agreed:
            if code.file_of(model.partition(":")[0].partition(".")[0]) is None:
                return  # an installed module
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise code.refusal(model)
            narrate(shown(code.describe(model)))
            if not typer.confirm("Have you read this code, and do you agree to run it?", err=True):
                raise code.refusal(model)
        code.trust()

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
    options.json = bool(context.params.get("json"))
    return options
