"""The errors that a user of curator meets.

A message says what happened, where, and what to do next; the command line prints it
without a traceback. Anything that is not a `CuratorError` is a bug.

CuratorError                 exit code 3 unless noted
├── UsageError               exit code 2: an argument or an option is wrong
├── WorkspaceError           no workspace here, one that is broken, read-only, newer or busy
│   ├── SettingsError        curator.toml does not say something curator understands
│   ├── CatalogueError       the catalogue cannot be opened, migrated or trusted
│   │   └── LostCatalogueError   it is missing, empty, damaged or another workspace's
│   └── BusyError            another process holds the lease on this workspace
├── DataError                files, CSV rows or labels that cannot be used as they are
├── LearnError               a classifier cannot be trained or an encoder cannot be loaded
└── StorageError             the disk is full, the folder read-only, a file not writable
    └── LostConnectionError  the server of the catalogue cannot be reached
"""

from __future__ import annotations


class CuratorError(Exception):
    """A problem that the user can act on.

    `problem` says what and where, `advice` what to do next; both are plain sentences.
    """

    exit_code = 3

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(f"{problem} {advice}".rstrip())
        self.problem = problem
        self.advice = advice

    def __reduce__(self) -> tuple[type[CuratorError], tuple[str, str]]:
        """Problem and advice stay apart on the way from another process."""
        return type(self), (self.problem, self.advice)


class UsageError(CuratorError):
    """The command was called in a way that cannot be carried out."""

    exit_code = 2


class WorkspaceError(CuratorError):
    """The workspace is missing, broken, read-only or newer than this curator."""


class SettingsError(WorkspaceError):
    """A setting is unknown or has a value that it cannot take."""


class CatalogueError(WorkspaceError):
    """The catalogue cannot be opened, migrated or trusted."""


class LostCatalogueError(CatalogueError):
    """The catalogue is missing, empty, damaged or another workspace's: a backup is needed."""

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(
            problem,
            advice or "`curator backup --list` lists the backups, `curator restore` restores one.",
        )


class BusyError(WorkspaceError):
    """Another process is doing this work in the same workspace."""


class DataError(CuratorError):
    """Files, CSV rows or labels cannot be used as they are."""


class LearnError(CuratorError):
    """A classifier cannot be trained, or an encoder cannot be loaded."""


class StorageError(CuratorError):
    """Something could not be written: disk full, read-only folder, missing rights."""


class LostConnectionError(StorageError):
    """The server of the catalogue cannot be reached, or has ended the connection."""
