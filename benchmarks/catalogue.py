"""One million images catalogued, counted, queued, promoted, rolled back and labelled.

    python -m benchmarks.catalogue [--rows 1000000] [--folder DIR] [--url URL] [--cheap]

Every stage runs in a process of its own, so that its peak memory is its own. Bulk stages
run once; quick questions are asked many times and their median is shown. Beside them:
plain `sqlite3` inserts of the same bytes into bare tables, and the same questions without
the indexes. The clock includes commits that reach the disk; seconds of the processor, which
suffer less from neighbours, are in the JSON and include making up the rows. With `--url`, an
empty PostgreSQL database, every stage runs there as well, and its ratio is to the file. With
`--folder` it goes on behind the last stage that it finished there. With `--cheap` rows are written
past the code that catalogues files, and only rounds, labels and questions are measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.processes import Measured, Stage, in_own_process, timed
from benchmarks.report import Line, median, print_report
from curator.base.values import Decision, FileStamp, InspectedFile
from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue import checks, counts, files, labels, manifest, queues, rounds, sources
from curator.catalogue.bulk import own_unit_key
from curator.catalogue.constructs import insert_columns
from curator.catalogue.engine import Catalogue
from curator.catalogue.models import Image, ImageState, Location

CHUNK = 5_000
STAGED = 50_000
NEXT = 50


def main() -> None:
    """Measure, print a table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the files are made; they stay there")
    parser.add_argument("--url", help="an empty PostgreSQL database, to compare with the file")
    parser.add_argument("--cheap", action="store_true", help="rows without cataloguing files")
    arguments = parser.parse_args()
    stages = CHEAP_STAGES if arguments.cheap else STAGES
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        measured, sizes = _measure(folder, arguments.rows, stages)
        lines = _lines(measured, arguments.rows)
        processor = {name: round(one.processor_seconds, 2) for name, one in measured.items()}
        if arguments.url:
            on_server = folder / "server"
            on_server.mkdir(exist_ok=True)
            (on_server / "url").write_text(arguments.url, encoding="utf-8")
            stages = {name: stage for name, stage in stages.items() if name not in _OF_THE_FILE}
            there, _ = _measure(on_server, arguments.rows, stages)
            lines += _compared(there, measured)
            processor |= {
                f"{name}, PostgreSQL, client": round(one.processor_seconds, 2)
                for name, one in there.items()
            }
    details = {
        "rows": arguments.rows,
        "rows_per_second": {
            name: round(arguments.rows / median(measured[name].seconds))
            for name in BULK
            if name in measured
        },
        "megabytes_on_disk": sizes,
        "processor_seconds": processor,
        "peak_megabytes": {name: round(one.peak_megabytes) for name, one in measured.items()},
    }
    print_report(f"The catalogue at {arguments.rows:,} images", lines, details)


def _measure(
    folder: Path, rows: int, stages: dict[str, Stage]
) -> tuple[dict[str, Measured], dict[str, float]]:
    """Run all stages in order, each in a fresh process; file sizes in megabytes after some."""
    measured: dict[str, Measured] = {}
    sizes = {}
    log = folder / "measured.jsonl"
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        name, *values = json.loads(line)
        measured[name] = Measured(*values)
    for name, stage in stages.items():
        if name in measured:
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        measured[name] = in_own_process(stage, folder, rows)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([name, *astuple(measured[name])]) + "\n")
        if name in ("catalogue", "promote all", "label all"):
            on_disk = sum(path.stat().st_size for path in folder.glob("catalogue.sqlite*"))
            sizes[f"after {name}"] = round(on_disk / 1e6, 1)
    return measured, sizes


def _open(folder: Path) -> Catalogue:
    return Catalogue.open(_address(folder))


def _address(folder: Path) -> Path | str:
    url = folder / "url"
    return url.read_text(encoding="utf-8") if url.exists() else folder / "catalogue.sqlite"


def some_files(first: int, last: int) -> list[InspectedFile]:
    found = []
    for number in range(first, last):
        digest = hashlib.sha256(b"%d" % number).digest()
        found.append(
            InspectedFile(
                stamp=FileStamp(path=b"images/%08d.jpg" % number, size=100_000, mtime_ns=number),
                sha256=digest,
                width=640,
                height=480,
                format="JPEG",
                mode="RGB",
                perceptual_hash=int.from_bytes(digest[8:16], "big"),
            )
        )
    return found


def _chunks(rows: int, size: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + size, rows)) for first in range(0, rows, size))


def _catalogue_files(folder: Path, rows: int) -> tuple[float, ...]:
    with Catalogue.create(_address(folder)) as catalogue:
        source = sources.add_source(catalogue, name="bench", root=b"/bench")
        spent = 0.0
        for first, last in _chunks(rows, CHUNK):
            some = some_files(first, last)
            started = time.perf_counter()
            files.record_files(catalogue, source.source_id, some)
            spent += time.perf_counter() - started
    return (spent,)


def _made_up_rows(folder: Path, rows: int) -> tuple[float, ...]:
    with Catalogue.create(_address(folder)) as catalogue:
        started = time.perf_counter()
        make_up_rows(catalogue, rows)
        catalogue.checkpoint()
        return (time.perf_counter() - started,)


def make_up_rows(catalogue: Catalogue, rows: int) -> None:
    """Images, locations and their states as cataloguing files would leave them, from id 1 on."""
    source = sources.add_source(catalogue, name="bench", root=b"/bench").source_id
    for first, last in _chunks(rows, STAGED):
        ids = list(range(first + 1, last + 1))
        digests = [hashlib.sha256(b"%d" % number).digest() for number in range(first, last)]
        same = {"added_at": 0, "size": 100_000, "detail": "", "format": "JPEG", "mode": "RGB"}
        image: dict[str, Iterable[Any]]
        image = {name: repeat(value, len(ids)) for name, value in same.items()}
        image |= {"width": repeat(640, len(ids)), "height": repeat(480, len(ids))}
        place = {"source_id": source, "size": 100_000, "state": "present", "detail": ""}
        location: dict[str, Iterable[Any]]
        location = {name: repeat(value, len(ids)) for name, value in place.items()}
        paths = [b"images/%08d.jpg" % number for number in ids]
        with catalogue.write() as connection:
            insert_columns(connection, Image, {"id": ids, "sha256": digests, **image})
            insert_columns(
                connection,
                Location,
                location
                | {"id": ids, "path": paths, "image_id": ids}
                | {"mtime_ns": ids, "seen_at": repeat(0, len(ids))},
            )
            states = {"image_id": ids, "usable": repeat(1, len(ids))}
            keys = [own_unit_key(digest) for digest in digests]
            insert_columns(connection, ImageState, {**states, "unit_key": keys})


_BARE = (
    "CREATE TABLE image (id INTEGER PRIMARY KEY, sha256 BLOB UNIQUE, size, width, height, hash)",
    "CREATE TABLE location (id INTEGER PRIMARY KEY, path BLOB UNIQUE, size, mtime, image_id)",
    "CREATE TABLE state (image_id INTEGER PRIMARY KEY, usable, label, unit_key)",
)


def _bare_inserts(folder: Path, rows: int) -> tuple[float, ...]:
    """The same bytes into bare tables: the least that this many rows cost."""
    spent = 0.0
    with closing(sqlite3.connect(folder / "bare.sqlite", isolation_level=None)) as bare:
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", *_BARE):
            bare.execute(statement)
        for first, last in _chunks(rows, CHUNK):
            some = list(enumerate(some_files(first, last), start=first + 1))
            started = time.perf_counter()
            bare.execute("BEGIN IMMEDIATE")
            for table, of_file in _BARE_ROWS.items():
                values = [of_file(number, file) for number, file in some]
                marks = ", ".join("?" * len(values[0]))
                bare.executemany(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608
            bare.execute("COMMIT")
            spent += time.perf_counter() - started
    return (spent,)


_BARE_ROWS: dict[str, Callable[[int, InspectedFile], tuple[object, ...]]] = {
    "image": lambda i, f: (i, f.sha256, f.stamp.size, f.width, f.height, i),
    "location": lambda i, f: (i, f.stamp.path, f.stamp.size, f.stamp.mtime_ns, i),
    "state": lambda i, _: (i, 1, None, i),
}


def _score_all(folder: Path, rows: int) -> tuple[float, ...]:
    """A round that scores every image and promotes none."""
    with _open(folder) as catalogue:
        started = time.perf_counter()
        token = rounds.begin_staging(catalogue)
        for ids, scores in _scores(rows):
            rounds.stage_scores(catalogue, token, ids, scores, scores)
        rounds.commit_round(catalogue, token, _new_round(catalogue))
        return (time.perf_counter() - started,)


def _stage_promotions(folder: Path, rows: int) -> tuple[float, ...]:
    """Scores of every image, and a promotion of every image but the first hundred."""
    with _open(folder) as catalogue:
        started = time.perf_counter()
        token = rounds.begin_staging(catalogue)
        for ids, scores in _scores(rows):
            rounds.stage_scores(catalogue, token, ids, scores, scores)
            kept = ids > 2 * NEXT
            rounds.stage_decisions(
                catalogue,
                token,
                ids[kept],
                promote=np.full(kept.sum(), True),
                positive=scores[kept] > 0.5,
                probabilities=scores[kept],
            )
        (folder / "token").write_text(token, encoding="ascii")
        return (time.perf_counter() - started,)


def _scores(rows: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    random = np.random.default_rng(0)
    for first, last in _chunks(rows, STAGED):
        yield np.arange(first + 1, last + 1), random.beta(0.1, 0.1, last - first)


def _promote_all(folder: Path, rows: int) -> tuple[float, ...]:
    with _open(folder) as catalogue:
        token = (folder / "token").read_text(encoding="ascii")
        new = _new_round(catalogue)
        return timed(lambda: rounds.commit_round(catalogue, token, new))


def _label_during_commit(folder: Path, rows: int) -> tuple[float, ...]:
    """How long each label takes that is given while a round is committed."""
    with _open(folder) as driver, _open(folder) as reviewer:
        token = (folder / "token").read_text(encoding="ascii")
        new = _new_round(driver)
        commit = threading.Thread(target=lambda: rounds.commit_round(driver, token, new))
        commit.start()
        waits: list[float] = []
        while commit.is_alive():
            decision = Decision(
                image_id=2 * NEXT + 1 + len(waits),
                label=Label.POSITIVE,
                origin=Origin.REVIEW,
                method=Method.SINGLE,
            )
            waits += timed(partial(labels.record_decisions, reviewer, [decision], actor="bench"))
            time.sleep(0.02)
        commit.join()
        return tuple(waits)


def _new_round(catalogue: Catalogue) -> rounds.NewRound:
    return rounds.NewRound(
        parent_id=rounds.head(catalogue),
        seed=0,
        settings={},
        outcome={},
        started_at=datetime.now(UTC),
    )


def _roll_back(folder: Path, rows: int) -> tuple[float, ...]:
    with _open(folder) as catalogue:
        return timed(lambda: rounds.rollback(catalogue, 0, block=False, actor="bench"))


def _stand_again(folder: Path, rows: int) -> tuple[float, ...]:
    with _open(folder) as catalogue:
        return timed(lambda: rounds.rollback(catalogue, 2, block=False, actor="bench"))


def _label_all(folder: Path, rows: int) -> tuple[float, ...]:
    decisions = (
        Decision(
            image_id=number,
            label=Label.POSITIVE if number % 3 else Label.NEGATIVE,
            origin=Origin.SEED,
            method=Method.IMPORT,
        )
        for number in range(1, rows + 1)
    )
    with _open(folder) as catalogue:
        return timed(lambda: labels.record_decisions(catalogue, decisions, actor="bench"))


def _status(folder: Path, rows: int) -> tuple[float, ...]:
    with _open(folder) as catalogue:
        return timed(lambda: counts.counts(catalogue), 7)


def _next_images(folder: Path, rows: int) -> tuple[float, ...]:
    with _open(folder) as catalogue:
        return timed(lambda: queues.borderline(catalogue, size=NEXT), 101)


def _history(folder: Path, rows: int) -> tuple[float, ...]:
    with _open(folder) as catalogue:
        return timed(lambda: labels.history(catalogue, rows // 2), 101)


def _one_decision(folder: Path, rows: int) -> tuple[float, ...]:
    with _open(folder) as catalogue:
        decision = Decision(
            image_id=1, label=Label.POSITIVE, origin=Origin.REVIEW, method=Method.SINGLE
        )
        return timed(lambda: labels.record_decisions(catalogue, [decision], actor="bench"), 31)


def _verify(folder: Path, rows: int) -> tuple[float, ...]:
    def check() -> None:
        assert not list(checks.check_catalogue(catalogue))

    with _open(folder) as catalogue:
        return timed(check)


def _manifest(folder: Path, rows: int) -> tuple[float, ...]:
    with _open(folder) as catalogue:
        return timed(lambda: sum(len(b.paths) for b in manifest.manifest_columns(catalogue)))


@dataclass(frozen=True, slots=True)
class PlainQuestion:
    """The same question put to the same file without its indexes."""

    query: str
    times: int

    def __call__(self, folder: Path, rows: int) -> tuple[float, ...]:
        """Seconds of each time it was asked."""
        with closing(sqlite3.connect(folder / "catalogue.sqlite")) as connection:
            return timed(lambda: connection.execute(self.query).fetchall(), self.times)


_COUNT_WITHOUT_INDEX = (
    "SELECT usable, standing, origin, count(*) FROM image_state NOT INDEXED GROUP BY 1, 2, 3"
)
_SORT_WITHOUT_INDEX = (
    "SELECT s.image_id FROM score s NOT INDEXED JOIN image_state i ON i.image_id = s.image_id"
    " WHERE i.standing IS NULL ORDER BY abs(s.probability - 0.5) LIMIT 50"
)

STAGES: dict[str, Stage] = {
    "catalogue": _catalogue_files,
    "plain sqlite3 inserts": _bare_inserts,
    "score all": _score_all,
    "status": _status,
    "status without index": PlainQuestion(_COUNT_WITHOUT_INDEX, 5),
    "next 50 borderline": _next_images,
    "next 50 without index": PlainQuestion(_SORT_WITHOUT_INDEX, 3),
    "history of an image": _history,
    "one decision": _one_decision,
    "stage promotions": _stage_promotions,
    "promote all": _promote_all,
    "next of the few left": _next_images,
    "roll back all": _roll_back,
    "stage again": _stage_promotions,
    "label during a commit": _label_during_commit,
    "stand again": _stand_again,
    "label all": _label_all,
    "manifest rows": _manifest,
    "verify": _verify,
}

CHEAP_STAGES: dict[str, Stage] = {
    "made-up rows": _made_up_rows,
    "stage promotions": _stage_promotions,
    "promote all": _promote_all,
    "status": _status,
    "roll back all": _roll_back,
    "stage again": _stage_promotions,
    "label during a commit": _label_during_commit,
    "next 50 borderline": _next_images,
    "one decision": _one_decision,
}

_OF_THE_FILE = ("plain sqlite3 inserts", "status without index", "next 50 without index")

BULK = (
    "catalogue",
    "plain sqlite3 inserts",
    "score all",
    "stage promotions",
    "promote all",
    "roll back all",
    "label all",
    "manifest rows",
    "verify",
)

BESIDE = {
    "catalogue": "plain sqlite3 inserts",
    "promote all": "plain sqlite3 inserts",
    "roll back all": "plain sqlite3 inserts",
    "label all": "plain sqlite3 inserts",
    "status": "status without index",
    "next 50 borderline": "next 50 without index",
}


def _lines(measured: dict[str, Measured], rows: int) -> list[Line]:
    lines = []
    for name, one in measured.items():
        beside = BESIDE.get(name, "") if BESIDE.get(name) in measured else ""
        ratio = median(one.seconds) / median(measured[beside].seconds) if beside else None
        lines.append(
            Line(
                name=name,
                median=median(one.seconds),
                unit="s",
                n=len(one.seconds),
                ratio=ratio,
                beside=beside,
            )
        )
    return lines + _longest(measured, "")


def _compared(there: dict[str, Measured], here: dict[str, Measured]) -> list[Line]:
    return [
        Line(
            name=f"{name}, PostgreSQL",
            median=median(one.seconds),
            unit="s",
            n=len(one.seconds),
            ratio=median(one.seconds) / median(here[name].seconds),
            beside=name,
        )
        for name, one in there.items()
    ] + _longest(there, ", PostgreSQL")


def _longest(measured: dict[str, Measured], where: str) -> list[Line]:
    """The longest that a label took while a round was committed."""
    waits = measured["label during a commit"].seconds
    name = f"longest label during a commit{where}"
    return [Line(name=name, median=max(waits), unit="s", n=len(waits))]


if __name__ == "__main__":
    main()
