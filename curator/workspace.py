"""Making, finding and opening a workspace.

A workspace is a folder with `curator.toml` and `.curator/`. The catalogue in
`.curator/` is the only truth; features, previews, models, scores and reports lie beside
it, each in a folder of its own. Nothing here touches a source image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.base.actor import current_user
from curator.base.files import cannot_write, replacing, resource_folder
from curator.base.text import count
from curator.errors import (
    CatalogueError,
    CuratorError,
    LostCatalogueError,
    UsageError,
    WorkspaceError,
)
from curator.settings.file import (
    FILE_NAME,
    as_toml,
    change_settings,
    nearest,
    parse_settings,
    read_settings,
    read_settings_text,
)
from curator.settings.sections import ClassesSettings, Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from curator.catalogue.engine import Catalogue

STATE_FOLDER = ".curator"
CATALOGUE_NAME = "catalogue.sqlite"
OPENED = "opened"
"""The folder with links to images that the system's viewer shows."""
IDENTITY_NAME = "workspace-id"
"""The file in `.curator/` that holds what the catalogue calls its workspace, too."""

STARTER = """\
# What you decided about this workspace. `curator config` lists every setting with its
# meaning; what is not listed here has its default.

[classes]
# Your names for the two classes, and the tags that a decision may carry.
positive = "good"
negative = "bad"
reasons = []

[promotion]
# A round gives an image a label when P(positive) is above the one or below the other.
promote_above = 0.99
promote_below = 0.03

[runtime]
# Every random choice follows from this number.
seed = 0
"""


_MOVE_AWAY = (
    "Move it away. curator computes again what it can; `curator restore` restores a lost catalogue."
)


@dataclass(frozen=True, slots=True)
class Workspace:
    """An open workspace: where it is, what its user decided, and its catalogue."""

    root: Path
    settings: Settings
    catalogue: Catalogue

    def folder(self, name: str) -> Path:
        """`.curator/<name>`; created if it does not exist."""
        folder = self.root / STATE_FOLDER / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise WorkspaceError(
                f"{folder} is a file, but has to be a folder.", _MOVE_AWAY
            ) from None
        return folder

    def model_path(self, digest: str | None) -> Path:
        """The file of the model with this digest, which a round's record names."""
        return self.folder("models") / f"{digest}.safetensors"

    def scores(self, digest: str | None) -> NDArray[Any] | None:
        """The memory-mapped scores of a round; None if it has none or their file is lost."""
        from curator.storage.scores import read_scores

        return read_scores(self.folder("scores"), digest or "")

    @property
    def actor(self) -> str:
        """Who works here: the role at a server of the catalogue, else the user of this process."""
        return self.catalogue.backend.role or current_user()


def create_workspace(
    folder: Path,
    *,
    positive: str | None,
    negative: str | None,
    recipe: str | None,
    deliver: str | None = None,
    catalogue_url: str = "",
) -> Workspace:
    """Make a workspace in `folder`, which may hold other things, and open it.

    `positive` and `negative` name the classes where the recipe's (or `good` and `bad`)
    do not fit; `deliver` is one of these names, `both` or `each`. `catalogue_url` names an empty
    database of a server for the catalogue. Raises WorkspaceError if there is a workspace already,
    UsageError if the recipe or the class is unknown, StorageError if the folder cannot be written,
    CatalogueError if the database cannot be used; then nothing is left behind.
    """
    from curator.catalogue.backups import make_backup
    from curator.catalogue.engine import Catalogue
    from curator.catalogue.identity import keep_class_names

    folder = folder.absolute()
    if (folder / FILE_NAME).exists() or (folder / STATE_FOLDER).exists():
        raise WorkspaceError(
            f"{folder} already contains a workspace, or a part of one.",
            f"Use it as it is, choose another folder, or remove its {FILE_NAME}"
            f" and {STATE_FOLDER} first.",
        )
    names = {"classes.positive": positive, "classes.negative": negative}
    changes = {key: as_toml(name) for key, name in names.items() if name is not None}
    if catalogue_url:
        changes["catalogue.url"] = as_toml(catalogue_url)
    text = change_settings(_recipe_text(recipe), changes, FILE_NAME)
    settings = parse_settings(text, FILE_NAME)
    if deliver is not None:
        side = as_toml(delivered_side(settings.classes, deliver))
        text = change_settings(text, {"classes.deliver": side}, FILE_NAME)
        settings = parse_settings(text, FILE_NAME)
    try:
        (folder / STATE_FOLDER).mkdir(parents=True)
    except OSError as error:
        raise cannot_write(folder / STATE_FOLDER, error) from error
    path = folder / STATE_FOLDER / CATALOGUE_NAME
    try:
        catalogue = Catalogue.create(settings.catalogue.url or path, home=path)
    except CuratorError:
        with suppress(OSError):
            path.parent.rmdir()
        raise
    _check_identity(folder, catalogue)
    keep_class_names(catalogue, settings.classes)
    if settings.backup.keep:
        make_backup(catalogue.backend, "init", settings.backup)
    with replacing(folder / FILE_NAME) as stream:
        stream.write(text.encode())
    return Workspace(folder, settings, catalogue)


def delivered_side(classes: ClassesSettings, word: str) -> str:
    """The value of `classes.deliver` for a class name, `both` or `each`; UsageError for another."""
    sides = {
        "both": "both",
        "each": "each",
        classes.positive: "positive",
        classes.negative: "negative",
    }
    if word not in sides:
        raise UsageError(f"`{word}` is not a class to deliver.", f"Choose from {', '.join(sides)}.")
    return sides[word]


def find_workspace(start: Path) -> Path:
    """The nearest folder at or above `start` that holds a workspace.

    Raises WorkspaceError if there is none.
    """
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / STATE_FOLDER).is_dir():
            return folder
    raise WorkspaceError(
        f"There is no workspace in {start} or above it.",
        "Create one with `curator init DIR`, or name one with `curator -w DIR ...`.",
    )


def open_workspace(
    folder: Path,
    notify: Callable[[str], None] = lambda text: None,
    *,
    settings: Settings | None = None,
) -> Workspace:
    """Open the workspace in `folder`; an older catalogue is migrated after a backup.

    `settings` are those that its file will have, if they are not those that it has.

    What cannot be written is opened for looking only. `catalogue.warnings` says what the
    user should know, `notify` is told what is waited for. Raises WorkspaceError (or one of its
    kinds) if the workspace is missing, broken or newer than this curator; LostCatalogueError,
    with what is left of it, if its catalogue is missing, empty, damaged or another workspace's;
    CatalogueError if the names of the classes were exchanged in `curator.toml` under labels.
    """
    from curator.catalogue.engine import Catalogue
    from curator.catalogue.identity import keep_class_names

    folder = folder.absolute()
    if not (folder / STATE_FOLDER).is_dir():
        raise WorkspaceError(
            f"{folder} is not a workspace: it has no {STATE_FOLDER} folder.",
            f"Make it one with `curator init {folder}`.",
        )
    _refuse_links(folder)
    settings = settings or read_settings(folder / FILE_NAME)
    path = folder / STATE_FOLDER / CATALOGUE_NAME
    writable = os.access(path.parent, os.W_OK) and (os.access(path, os.W_OK) or not path.exists())
    try:
        address = settings.catalogue.url
        if not address:
            catalogue = Catalogue.open(path, read_only=not writable, notify=notify)
        else:
            catalogue = Catalogue.open(address, home=path, notify=notify)
        try:
            _check_identity(folder, catalogue)
            keep_class_names(catalogue, settings.classes)
        except BaseException:
            catalogue.close()
            raise
    except LostCatalogueError as error:
        raise LostCatalogueError(error.problem, what_is_left(folder)) from error
    return Workspace(folder, settings, catalogue)


def _refuse_links(root: Path) -> None:
    """Raises WorkspaceError if `.curator` or something in it is a link or a device.

    A workspace may come from a stranger, and curator would write to the target of a link. A
    file with a second name (a hard link) is the same danger: writing here changes it there.
    Who can put links there while curator runs can also run it, so looking once is enough; files
    that are appended to are opened with O_NOFOLLOW on top.
    """
    state_folder = root / STATE_FOLDER
    if state_folder.is_symlink():
        raise WorkspaceError(
            f"{state_folder} is a symbolic link, which curator does not follow.",
            f"To keep it on another disk, move all of {root} there and link to that folder:"
            f" `mv {root} /DISK/{root.name} && ln -s /DISK/{root.name} {root}`.",
        )
    folders = [os.fspath(state_folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    # Links for the system's viewer; curator writes through none of them.
                    if entry.path != os.fspath(state_folder / OPENED):
                        folders.append(entry.path)
                    # As the names of nearly all files of curator's, and of no folder.
                    if Path(entry.name).suffix:
                        raise WorkspaceError(
                            f"{entry.path} is a folder, but has to be a file.", _MOVE_AWAY
                        )
                elif not entry.is_file(follow_symlinks=False):
                    kind = "a symbolic link" if entry.is_symlink() else "neither file nor folder"
                    raise WorkspaceError(
                        f"{entry.path} is {kind}, and curator writes only to regular files.",
                        "If you trust its target, put a copy of that file in its place; else"
                        " delete it. curator computes again what it can.",
                    )
                elif _has_other_names(entry):
                    raise WorkspaceError(
                        f"{entry.path} has another name elsewhere (a hard link), so curator would"
                        " change both.",
                        "Replace the links by copies:"
                        f" `mv {state_folder} {state_folder}.linked &&"
                        f" cp -R {state_folder}.linked {state_folder}`.",
                    )


def _has_other_names(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_nlink > 1
    except FileNotFoundError:  # another process has removed it meanwhile
        return False


def read_identity(folder: Path) -> str | None:
    """What `.curator/workspace-id` says; None if there is none, or if no name can be read in it."""
    try:
        content = (folder / STATE_FOLDER / IDENTITY_NAME).read_bytes().strip()
    except (FileNotFoundError, IsADirectoryError):
        return None
    return content.decode() if re.fullmatch(rb"[0-9a-f]{32}", content) else None


def _check_identity(folder: Path, catalogue: Catalogue) -> None:
    """Raises LostCatalogueError if the catalogue is another workspace's; names what has no name.

    A workspace from before there were identities gets one, in the catalogue and beside it.
    """
    from curator.catalogue.identity import catalogue_identity
    from curator.catalogue.models import MOVED

    beside = read_identity(folder)
    identity = catalogue_identity(catalogue, beside)
    if identity is not None and identity.startswith(MOVED):
        raise CatalogueError(
            f"{catalogue.backend.name} was moved away by `curator catalogue move`.",
            "Set `catalogue.url` to where it is now, or leave it empty for the file in"
            f" {STATE_FOLDER}.",
        )
    if beside is not None and identity not in (None, beside):
        raise LostCatalogueError(
            f"{catalogue.backend.name} is the catalogue of another workspace ({identity}); this one"
            f" is {beside}, by {STATE_FOLDER}/{IDENTITY_NAME}."
        )
    if beside is None and identity is not None and not catalogue.read_only:
        with replacing(folder / STATE_FOLDER / IDENTITY_NAME) as stream:
            stream.write(f"{identity}\n".encode())


def what_is_left(folder: Path) -> str:
    """What lies in `.curator/` beside a catalogue that cannot be used, and what to do."""
    from curator.catalogue.backups import UNUSABLE, list_backups

    state = folder / STATE_FOLDER
    backups = [b for b in list_backups(state / CATALOGUE_NAME) if b.reason != UNUSABLE]
    parts = []
    for part in sorted(state.iterdir()):
        files = [file for file in part.rglob("*") if file.is_file()] if part.is_dir() else []
        if files and part.name != "backups":
            parts.append(f"{part.name} ({sum(file.stat().st_size for file in files) / 1e6:.1f} MB)")
    left = f"Left in {state}: {', '.join(parts) or 'no arrays'}"
    if backups:
        newest = f"{backups[0].made_at.astimezone():%Y-%m-%d %H:%M}"
        return (
            f"{left}; {count(len(backups), 'backup')} of the catalogue, the newest of {newest}."
            " `curator backup --list` lists them; `curator restore` restores the newest after it"
            " lists what would be lost."
        )
    return (
        f"{left}; no backup of the catalogue. Restore the file from your own backup with `curator"
        " restore FILE`. Without one, make a new workspace with `curator init`, add the images"
        " with `curator add`, and bring labels back from a manifest with `curator import`."
    )


def recipes() -> Mapping[str, Path]:
    """The recipes that come with curator: name and settings file, sorted by name."""
    files = sorted(resource_folder("seeds").glob(f"*/{FILE_NAME}"))
    return {file.parent.name: file for file in files}


def _recipe_text(name: str | None) -> str:
    if name is None:
        return STARTER
    files = recipes()
    if name not in files:
        near = nearest(name, files)
        hint = f"Did you mean `{near}`?" if near else f"There are: {', '.join(files) or 'none'}."
        raise UsageError(f"There is no recipe `{name}`.", hint)
    return read_settings_text(files[name])
