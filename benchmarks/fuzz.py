"""Mutated input of every kind: no traceback, no hang, no wrong result.

Real files are mutated with a seeded generator (bits flipped, bytes cut, zeroed, doubled,
swapped, spliced with another file) and given to the command that reads them, in this process:

- `images`: JPEG, PNG, WebP, GIF, TIFF, BMP, QOI and AVIF files, as `add` reads them;
- `labels`: CSVs, tasks of Label Studio and samples of FiftyOne given to `curator label`;
- `settings`: `curator.toml`, read by `curator status`;
- `manifests`: CSV, JSON lines, Parquet and sidecars given to `curator import`;
- `workspace`: every file under `.curator/`, the ledger of audits among them, then `verify`,
  `status`, `queue` and `export` (for a backup `restore` before them);
- `rounds`: every file under `.curator/`, then `curator round`.

A fault is: exit code 1 (a bug), an exception, a Python warning, more than `--seconds` for one
command, a refused import that changed labels, or a command that succeeds with another result than
on the unharmed workspace and nobody says why. The input of each fault is kept under `--faults`.

    python -m benchmarks.fuzz [--mutations 10000] [--rounds 1000] [--seed 0] [TARGET ...]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image

from tests.support.command import Outcome
from tests.support.images import disc, stripes
from tests.support.labelled import make_labelled, one_more_label

BUG = 1
HELPLESS = ("Traceback", "Warning:", "a bug in curator")


class HangError(Exception):
    """A command took longer than it may."""


@dataclass(slots=True)
class Tally:
    """How the mutations of one target ended; `faults` are the inputs that must not happen."""

    target: str
    mutations: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


# Mutations


def mutate(data: bytes, other: bytes, generator: np.random.Generator) -> bytes:
    """`data` with one to four random changes; `other` is a file of the same kind to splice in."""
    changed = bytearray(data)
    for _ in range(int(generator.integers(1, 5))):
        change = CHANGES[int(generator.integers(len(CHANGES)))]
        start = int(generator.integers(len(changed) + 1))
        # Headers decide most, so half of the changes are made near the beginning.
        if generator.random() < 0.5:
            start = int(start * generator.random() ** 3)
        length = int(2 ** generator.uniform(0, np.log2(max(len(changed), 2))))
        changed = change(changed, start, length, other, generator)
    return bytes(changed)


def flip(
    data: bytearray, start: int, length: int, other: bytes, rng: np.random.Generator
) -> bytearray:
    """Flip one bit."""
    if start < len(data):
        data[start] ^= 1 << int(rng.integers(8))
    return data


def overwrite(
    data: bytearray, start: int, length: int, other: bytes, rng: np.random.Generator
) -> bytearray:
    """Random bytes over up to 16 bytes."""
    end = min(start + min(length, 16), len(data))
    data[start:end] = rng.bytes(end - start)
    return data


def zero(
    data: bytearray, start: int, length: int, other: bytes, rng: np.random.Generator
) -> bytearray:
    """Zeros over a stretch, as a disk that lost a block leaves them."""
    end = min(start + length, len(data))
    data[start:end] = bytes(end - start)
    return data


def cut(
    data: bytearray, start: int, length: int, other: bytes, rng: np.random.Generator
) -> bytearray:
    """All from `start` on is gone."""
    return data[:start]


def remove(
    data: bytearray, start: int, length: int, other: bytes, rng: np.random.Generator
) -> bytearray:
    """A stretch is gone."""
    return data[:start] + data[start + length :]


def repeat(
    data: bytearray, start: int, length: int, other: bytes, rng: np.random.Generator
) -> bytearray:
    """A stretch comes twice."""
    return data[: start + length] + data[start:]


def swap(
    data: bytearray, start: int, length: int, other: bytes, rng: np.random.Generator
) -> bytearray:
    """Two neighbouring stretches change places."""
    first, second = data[start : start + length], data[start + length : start + 2 * length]
    return data[:start] + second + first + data[start + 2 * length :]


def splice(
    data: bytearray, start: int, length: int, other: bytes, rng: np.random.Generator
) -> bytearray:
    """The rest comes from another file of the kind."""
    return data[:start] + other[start:]


def insert(
    data: bytearray, start: int, length: int, other: bytes, rng: np.random.Generator
) -> bytearray:
    """Something that a parser may stumble over is put in."""
    return data[:start] + MORSELS[int(rng.integers(len(MORSELS)))] + data[start:]


CHANGES = (flip, overwrite, zero, cut, remove, repeat, swap, splice, insert)
MORSELS = (
    b"\0", b"\n", b"\r", b",", b'"', b"''", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"-1", b"1e999",
    b"NaN", b"null", b"[", b"{", b"}", b"=", b"#", b"../", b"\xf0\x9f\x98\x80", b"9" * 400,
    b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"[a]\nb=1\n", b"path,label\n", b"\xff\xd9", b"IEND",
)  # fmt: skip


# Running


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises HangError in the block after so many seconds."""

    def late(number: int, frame: FrameType | None) -> None:
        raise HangError(f"longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(*arguments: str | Path) -> Outcome:
    """A command in this process, whatever its exit code."""
    from curator.cli.main import main

    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, stdout.getvalue(), stderr.getvalue())


def make_commands_cheap() -> None:
    """Keep parsers and compiled SQL between commands; they take a third of the time otherwise."""
    import sqlalchemy as sa
    import typer

    import curator.cli.main
    from curator.catalogue import sqlite

    make_engine = sqlite.make_engine
    shared: Any = None

    def engine_with_shared_cache(*arguments: Any, **options: Any) -> sa.Engine:
        nonlocal shared
        engine = make_engine(*arguments, **options)
        shared = shared or engine
        # The keys of the cache contain the dialect.
        engine.dialect = engine.pool._dialect = shared.dialect
        engine._compiled_cache = shared._compiled_cache
        return engine

    vars(sqlite)["make_engine"] = engine_with_shared_cache
    vars(curator.cli.main)["application"] = functools.cache(curator.cli.main.application)
    vars(typer.main)["get_command"] = functools.cache(typer.main.get_command)


def fault_of(outcome: Outcome) -> str | None:
    """Why an outcome is a fault by itself, or None."""
    if outcome.code == BUG and not outcome.stderr.startswith("error:"):
        return f"exit code 1: {outcome.stderr.strip()[-400:]}"
    for phrase in HELPLESS:
        if phrase in outcome.stderr:
            return f"{phrase}: {outcome.stderr.strip()[-400:]}"
    if outcome.code not in (0, 1, 2, 3):
        return f"exit code {outcome.code}"
    if outcome.code and not (outcome.stderr + outcome.stdout).strip():
        return f"exit code {outcome.code} without a word"
    return None


def play(
    target: str,
    mutations: int,
    seed: int,
    seconds: float,
    faults: Path,
    inputs: list[tuple[str, bytes]],
    use: Callable[[str, bytes], str],
) -> Tally:
    """Give `mutations` mutated inputs to `use`, which names the outcome or raises for a fault."""
    tally = Tally(target)
    generator = np.random.default_rng([seed, len(target), mutations])
    start = time.perf_counter()
    for number in range(mutations):
        name, data = inputs[int(generator.integers(len(inputs)))]
        same_kind = [other for title, other in inputs if Path(title).suffix == Path(name).suffix]
        other = same_kind[int(generator.integers(len(same_kind)))]
        changed = mutate(data, other, generator)
        tally.mutations += 1
        try:
            with limited(seconds):
                tally.outcomes[use(name, changed)] += 1
        except Exception as error:  # noqa: BLE001 - whatever is raised is a fault to be listed
            where = faults / f"{target}-{number:05d}-{Path(name).name}"
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(changed)
            where.with_name(where.name + ".txt").write_text(
                f"{name}\n{''.join(traceback.format_exception(error))}"
            )
            tally.outcomes["fault"] += 1
            tally.faults.append(f"{where.name}: {type(error).__name__}: {str(error)[:300]}")
            print(tally.faults[-1], file=sys.stderr, flush=True)
        if (number + 1) % 500 == 0:
            rate = (number + 1) / (time.perf_counter() - start)
            print(
                f"{target}: {number + 1:,} of {mutations:,}, {rate:.0f}/s,"
                f" {len(tally.faults)} faults",
                file=sys.stderr,
                flush=True,
            )
    tally.seconds = time.perf_counter() - start
    return tally


def check(outcome: Outcome) -> Outcome:
    """The outcome, or AssertionError if it is a fault."""
    fault = fault_of(outcome)
    if fault:
        raise AssertionError(fault)
    return outcome


# Targets


def fuzz_images(home: Path, mutations: int, seed: int, seconds: float, faults: Path) -> Tally:
    """Image bytes, as `add` inspects them; what is called usable must open the same way again."""
    import os

    from curator.base.values import FileStamp
    from curator.imaging.opening import open_square, open_within
    from curator.intake.inspection import inspect_file
    from curator.settings.sections import IngestSettings

    folder = home / "images"
    folder.mkdir(parents=True)
    ingest = IngestSettings()

    def use(name: str, data: bytes) -> str:
        path = folder / f"mutated{Path(name).suffix}"
        path.write_bytes(data)
        status = path.stat()
        stamp = FileStamp(path=path.name.encode(), size=status.st_size, mtime_ns=status.st_mtime_ns)
        inspected = inspect_file(os.fsencode(folder), stamp, ingest)
        if inspected.quarantine is not None:
            return str(inspected.quarantine)
        # What is usable must open for the screen and for the encoder, without a complaint.
        open_within(data, 1_000, 1_000, ingest)
        open_square(data, 32, "squash", ingest)
        return "usable"

    return play("images", mutations, seed, seconds, faults, list(image_files(seed)), use)


def image_files(seed: int) -> Iterator[tuple[str, bytes]]:
    """Whole files of many kinds, 64 by 48 pixels each."""
    generator = np.random.default_rng(seed)
    ways: list[tuple[str, str, dict[str, object]]] = [
        ("JPEG", "jpg", {"quality": 90}),
        ("JPEG", "jpg", {"quality": 60, "progressive": True}),
        ("PNG", "png", {}),
        ("WEBP", "webp", {}),
        ("GIF", "gif", {}),
        ("TIFF", "tif", {}),
        ("TIFF", "tif", {"compression": "tiff_lzw"}),
        ("TIFF", "tif", {"compression": "jpeg"}),
        ("BMP", "bmp", {}),
        ("AVIF", "avif", {}),
        ("JPEG2000", "jp2", {}),
        ("ICO", "ico", {}),
        ("PPM", "ppm", {}),
        ("TGA", "tga", {}),
    ]
    for number, (kind, suffix, options) in enumerate(ways):
        for paint in (disc, stripes):
            stream = io.BytesIO()
            image = Image.fromarray(paint(generator))
            if number % 3 == 1 and kind in {"JPEG", "PNG", "TIFF"}:
                image = image.convert("L")
            image.save(stream, kind, **options)
            yield f"{number}-{paint.__name__}.{suffix}", stream.getvalue()


def fuzz_settings(home: Path, mutations: int, seed: int, seconds: float, faults: Path) -> Tally:
    """`curator.toml`, read by `status`."""
    workspace = make_labelled(home) / "ws"
    file = workspace / "curator.toml"
    original = file.read_bytes()
    inputs = [("curator.toml", original)]
    seeds = Path(__file__).resolve().parents[1] / "seeds"
    inputs += [
        (f"{path.parent.name}.toml", path.read_bytes()) for path in sorted(seeds.rglob("*.toml"))
    ]

    def use(name: str, data: bytes) -> str:
        file.write_bytes(data)
        outcome = check(run("-w", workspace, "status", "--json"))
        if outcome.code == 0:
            json.loads(outcome.stdout)
        return f"exit {outcome.code}"

    return play("settings", mutations, seed, seconds, faults, inputs, use)


def labels_of(workspace: Path) -> list[tuple[object, ...]]:
    """Every label event of the catalogue, in order."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(workspace / ".curator" / "catalogue.sqlite")) as file:
        return file.execute("SELECT * FROM label_event ORDER BY 1").fetchall()


def fuzz_labels(home: Path, mutations: int, seed: int, seconds: float, faults: Path) -> Tally:
    """Label files; a refused one must leave every event as it was."""
    root = make_labelled(home)
    workspace = root / "ws"
    events = labels_of(workspace)
    fresh = shutil.copytree(workspace, home / "fresh")
    rows = [
        f"pictures/good/good-{n:04d}.{'jpg' if n % 3 else 'png'},good,,sure" for n in range(12, 22)
    ]
    rows += [f"pictures/bad/bad-{n:04d}.{'jpg' if n % 3 else 'png'},bad,," for n in range(12, 22)]
    table = "path,label,reasons,note\n" + "\n".join(rows) + "\n"
    inputs = [
        ("plain.csv", table.encode()),
        (
            "semicolons.csv",
            b"\xef\xbb\xbf" + table.replace(",", ";").replace("\n", "\r\n").encode(),
        ),
        (
            "quoted.csv",
            "\n".join(
                '"' + row.replace(",", '","') + '"' for row in table.split("\n")[:-1]
            ).encode(),
        ),
        ("utf16.csv", table.encode("utf-16")),
    ]
    cells = [row.split(",") for row in rows]
    tasks = [{"path": cell[0], "label": cell[1], "reasons": {"choices": []}} for cell in cells]
    samples: list[dict[str, Any]] = [
        {
            "filepath": cell[0],
            "tags": [],
            "exported_label": None,
            "ground_truth": {"label": cell[1]},
        }
        for cell in cells
    ]
    inputs += [
        ("tasks.json", json.dumps(tasks).encode()),
        ("samples.json", json.dumps({"samples": samples}).encode()),
    ]

    def use(name: str, data: bytes) -> str:
        file = root / f"mutated{Path(name).suffix}"
        file.write_bytes(data)
        changed = True
        try:
            outcome = check(run("-w", workspace, "label", file, "--json"))
            after = labels_of(workspace)
            changed = after != events
        finally:
            # After a fault, too: the next file must find the workspace as it was.
            if changed:
                shutil.rmtree(workspace)
                shutil.copytree(fresh, workspace)
        if outcome.code and changed:
            raise AssertionError("a refused file changed labels")
        if after[: len(events)] != events:
            raise AssertionError("an import changed earlier events")
        return f"exit {outcome.code}"

    return play("labels", mutations, seed, seconds, faults, inputs, use)


def fuzz_manifests(home: Path, mutations: int, seed: int, seconds: float, faults: Path) -> Tally:
    """Manifests and their sidecars, given to `import` in a workspace without labels."""
    root = make_labelled(home)
    workspace = root / "ws"
    check(run("-w", workspace, "round"))
    inputs = []
    sidecars: dict[str, bytes] = {}
    for kind in ("csv", "jsonl", "parquet"):
        file = root / f"manifest.{kind}"
        check(run("-w", workspace, "export", file))
        inputs.append((file.name, file.read_bytes()))
        for sidecar in root.glob("manifest*.json"):
            sidecars[sidecar.name] = sidecar.read_bytes()
    empty = root / "empty"
    check(run("init", empty))
    check(run("-q", "-w", empty, "add", root / "pictures"))
    fresh = shutil.copytree(empty, home / "fresh")
    events = labels_of(empty)
    folder = root / "mutated"
    folder.mkdir()

    def use(name: str, data: bytes) -> str:
        for sidecar, content in sidecars.items():
            (folder / sidecar).write_bytes(content)
        (folder / name).write_bytes(data)
        outcome = check(run("-w", empty, "import", folder / name, "--json"))
        if labels_of(empty) != events:
            if outcome.code:
                raise AssertionError("a refused manifest changed labels")
            shutil.rmtree(empty)
            shutil.copytree(fresh, empty)
        return f"exit {outcome.code}"

    return play("manifests", mutations, seed, seconds, faults, inputs, use)


class Untouched:
    """The files under `.curator/` as they were, to be put back after every mutation."""

    def __init__(self, private: Path) -> None:
        self._private = private
        self.files = {
            file: file.read_bytes() for file in sorted(private.rglob("*")) if file.is_file()
        }
        self._stamps = {file: _stamp(file) for file in self.files}

    def put_back(self) -> None:
        """Write what differs, remove what is new."""
        for file in sorted(self._private.rglob("*")):
            if file.is_symlink() or (file.is_file() and file not in self.files):
                file.unlink()
        for file, content in self.files.items():
            if not file.is_file() or _stamp(file) != self._stamps[file]:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                self._stamps[file] = _stamp(file)


def _stamp(file: Path) -> tuple[int, int, int]:
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Results:
    """What commands say about a workspace; equal if nothing was lost or changed."""

    counts: object
    queue: str
    manifest: bytes


def results_of(workspace: Path, folder: Path) -> tuple[Results | None, bool, str]:
    """Status, queue and manifest, None if one is refused; whether all is well; what was said."""
    target = folder / "out.csv"
    verify = check(run("-w", workspace, "verify"))
    status = check(run("-w", workspace, "status", "--json"))
    queue = check(run("-w", workspace, "queue", "borderline"))
    export = check(run("-w", workspace, "export", target, "--force"))
    said = "".join((verify.stdout, *(done.stderr for done in (verify, status, queue, export))))
    if any(outcome.code for outcome in (status, queue, export)):
        return None, not verify.code, said
    content = json.loads(status.stdout)
    counts = {key: content.get(key) for key in ("images", "labels", "pool", "coverage")}
    return Results(counts, queue.stdout, target.read_bytes()), not verify.code, said


def fuzz_workspace(home: Path, mutations: int, seed: int, seconds: float, faults: Path) -> Tally:
    """Every file under `.curator/`, then `verify`, `status`, `queue`, `export`; or `restore`."""
    return _fuzz_files("workspace", home, mutations, seed, seconds, faults, command=())


def fuzz_rounds(home: Path, mutations: int, seed: int, seconds: float, faults: Path) -> Tally:
    """Every file under `.curator/`, then another round: its promotions must be the same."""
    return _fuzz_files("rounds", home, mutations, seed, seconds, faults, command=("round",))


def _fuzz_files(
    target: str,
    home: Path,
    mutations: int,
    seed: int,
    seconds: float,
    faults: Path,
    *,
    command: tuple[str, ...],
) -> Tally:
    root = make_labelled(home)
    workspace = root / "ws"
    check(run("-w", workspace, "round"))
    check(run("-w", workspace, "report"))
    check(run("-w", workspace, "queue", "similar", root / "pictures/good/good-0001.jpg"))
    check(run("-w", workspace, "backup"))
    if command:
        one_more_label(root, workspace)
    else:
        check(run("-w", workspace, "audit", "--size", "5", "--no-screen"))
    private = workspace / ".curator"
    untouched = Untouched(private)
    if command:
        check(run("-w", workspace, *command))
    reference, clean, _ = results_of(workspace, home)
    if reference is None or not clean:
        raise SystemExit("the unharmed workspace is refused")
    untouched.put_back()
    inputs = [(str(file.relative_to(private)), data) for file, data in untouched.files.items()]
    print(f"{target}: files {[name for name, _ in inputs]}", file=sys.stderr)

    def use(name: str, data: bytes) -> str:
        untouched.put_back()
        (private / name).write_bytes(data)
        kind = Path(name).parts[0]
        said = ""
        actions = [("restore", Path(name).name, "--yes")] if kind == "backups" else [command]
        for action in filter(None, actions):
            outcome = check(run("-w", workspace, *action))
            said += outcome.stderr
            if outcome.code:
                return f"{kind}: refused"
        results, clean, more = results_of(workspace, home)
        said += more
        if results is None:
            # A whole copy of an early state, also in the place of the catalogue, has no scores.
            if clean and kind not in ("backups", "catalogue.sqlite"):
                raise AssertionError(
                    f"{name}: a command refuses, and verify finds nothing: {said}"[:600]
                )
            return f"{kind}: refused"
        found = "same result" + (", damage found" if not clean else "")
        if results != reference and kind != "backups":
            # A file of the database may be changed in ways that keep all of its constraints.
            # Another result is right where a command said that something could not be used.
            if kind != "catalogue.sqlite" and Path(name).stem not in said:
                raise AssertionError(f"{name}: another result without a word: {said}"[:600])
            found = "another result, and said so"
        return f"{kind}: {found}"

    return play(target, mutations, seed, seconds, faults, inputs, use)


TARGETS: dict[str, Callable[[Path, int, int, float, Path], Tally]] = {
    "images": fuzz_images,
    "labels": fuzz_labels,
    "settings": fuzz_settings,
    "manifests": fuzz_manifests,
    "workspace": fuzz_workspace,
    "rounds": fuzz_rounds,
}


def main() -> None:
    """Play the targets, print the outcomes as JSON; fail if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="default: all")
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1_000, help="mutations of `rounds`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0, help="longest time of one input")
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"))
    arguments = parser.parse_args()
    warnings.simplefilter("error", RuntimeWarning)
    make_commands_cheap()
    tallies = []
    for target in arguments.targets or TARGETS:
        mutations = arguments.rounds if target == "rounds" else arguments.mutations
        with tempfile.TemporaryDirectory(prefix="curator-fuzz-") as home:
            tallies.append(
                TARGETS[target](
                    Path(home), mutations, arguments.seed, arguments.seconds, arguments.faults
                )
            )
    print(
        json.dumps(
            [
                {
                    "target": tally.target,
                    "mutations": tally.mutations,
                    "seconds": round(tally.seconds, 1),
                    "outcomes": dict(sorted(tally.outcomes.items())),
                    "faults": tally.faults,
                }
                for tally in tallies
            ],
            indent=2,
        )
    )
    if any(tally.faults for tally in tallies):
        raise SystemExit("there were faults; their inputs lie under " + str(arguments.faults))


if __name__ == "__main__":
    main()
