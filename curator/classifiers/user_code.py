"""Code of a workspace: which files may be run, and whether its user has agreed to that.

`classifier.model = "module:function"` runs Python. A module that is installed is the user's own.
A file that came with a workspace may be a stranger's, so it is run only after the user has agreed
to all importable files of the workspace, as they are now: a changed or an added file asks again.
What was agreed to is kept outside the workspace (`base/agreements.py`).

Modules are compiled from the very bytes that were agreed to. Neither the current folder nor
compiled files (`__pycache__`, `.so`) of the workspace are looked at.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from curator.base.agreements import agree, has_agreed
from curator.base.text import count
from curator.errors import LearnError


@dataclass(frozen=True)
class UserCode:
    """The importable files of a workspace: name with `/` → content."""

    folder: Path
    files: Mapping[str, bytes]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and contents, hexadecimal."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{len(name.encode())} {len(content)} {name}\n".encode() + content)
        return digest.hexdigest()

    def file_of(self, module: str) -> Path | None:
        """The file of a module, None if the workspace has none of that name."""
        path = module.replace(".", "/")
        names = (f"{path}/__init__.py", f"{path}.py")
        return next((self.folder / name for name in names if name in self.files), None)

    def describe(self, model: str) -> str:
        """What would be run, for a person to decide on."""
        own = self.file_of(model.partition(":")[0])
        rest = len(self.files) - 1
        beside = f" and what it imports of {count(rest, 'other file')} beside it" if rest else ""
        return (
            f"This workspace contains code: classifier.model = `{model}` runs"
            f" {own or self.folder}{beside} (SHA-256 {self.digest[:16]})."
        )

    @property
    def is_trusted(self) -> bool:
        """Whether the user has agreed to these files in this workspace."""
        return has_agreed(self._matter)

    def trust(self) -> None:
        """Note that the user has agreed. Raises StorageError if that cannot be kept."""
        about = {"workspace": str(self.folder), "sha256": self.digest, "files": sorted(self.files)}
        agree(self._matter, about)

    def refusal(self, model: str) -> LearnError:
        """The error for code that nobody has agreed to."""
        return LearnError(
            f"{self.describe(model)} It was not run, because this version of it has not been"
            " approved.",
            "Read these files; if you trust them, run the same command again with --trust.",
        )

    @property
    def _matter(self) -> str:
        return f"{os.path.realpath(self.folder)}\n{self.digest}"


def code_of(folder: Path) -> UserCode:
    """The modules beside `curator.toml`, and all of packages (folders with `__init__.py`)."""
    paths = list(folder.glob("*.py"))
    for package in folder.iterdir():
        if package.name.isidentifier() and (package / "__init__.py").is_file():
            paths += package.rglob("*.py")
    try:
        return UserCode(
            folder, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        )
    except OSError as error:
        raise LearnError(
            f"{error.filename} cannot be read: {error.strerror}.",
            "It may be code of this workspace: make it readable, or move it away.",
        ) from error


@contextmanager
def importable(code: UserCode | None) -> Iterator[None]:
    """Let the modules of a workspace be imported, before installed ones, until the block ends.

    Modules of other workspaces, or of an earlier state of this one, do not stand in for them.
    """
    files = code.files if code is not None else {}
    own = {name.partition("/")[0].removesuffix(".py") for name in files}
    displaced: dict[str, ModuleType] = {}
    for name, module in list(sys.modules.items()):
        if isinstance(getattr(module, "__loader__", None), _TrustedSource):
            del sys.modules[name]
        elif name.partition(".")[0] in own:
            displaced[name] = sys.modules.pop(name)
    finder = _TrustedFinder(code)
    former = list(sys.path)
    # The current folder is no installation, wherever this process got it from.
    sys.path[:] = [entry for entry in former if Path(entry).is_absolute()]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.path[:] = former
        sys.modules.update(displaced)


class _TrustedFinder(importlib.abc.MetaPathFinder):
    def __init__(self, code: UserCode | None) -> None:
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = None if self._code is None else self._code.file_of(fullname)
        if file is None or self._code is None:
            return None
        content = self._code.files[file.relative_to(self._code.folder).as_posix()]
        is_package = file.name == "__init__.py" and not fullname.endswith("__init__")
        return importlib.util.spec_from_file_location(
            fullname,
            file,
            loader=_TrustedSource(str(file), content),
            # Empty: parts of a package are found here as well, and nowhere else.
            submodule_search_locations=[] if is_package else None,
        )


class _TrustedSource(importlib.abc.SourceLoader):
    """Compiles the content that was agreed to, whatever the file holds by now."""

    def __init__(self, path: str, content: bytes) -> None:
        self._path = path
        self._content = content

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: bytes | str) -> bytes:
        if path != self._path:
            raise OSError(f"{path!r} is not a source file")  # a compiled one, for instance
        return self._content
