"""What `--json` prints and what the same method of the API returns have the same names."""

from __future__ import annotations

import csv
import inspect
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from curator.api import WorkspaceApi, open_workspace
from curator.base.vocabulary import Label
from curator.settings.sections import ClassesSettings
from curator.workspace import create_workspace
from tests.finish.test_finish import Person
from tests.rounds.pool import Pool
from tests.support.audited import make_pool
from tests.support.command import curator

CLASSES = ("good", "bad")


def names_of(report: Any) -> set[str]:
    """The public names of a report; a table's are its columns."""
    if isinstance(report, Mapping):
        return {str(name) for name in report}
    return {name for name in dir(report) if not name.startswith("_")}


def strangers(printed: Any, report: Any, at: str = "") -> Iterator[str]:
    """Names of `printed` that `report` does not have, here or in a part of it."""
    if isinstance(printed, list):
        for row, each in zip(printed[:1], list(report)[:1], strict=False):
            yield from strangers(row, each, f"{at}[]")
    elif isinstance(printed, Mapping) and not isinstance(report, Mapping):
        for name, part in printed.items():
            if name in CLASSES:
                continue  # labels have the names that the user gave
            if name not in names_of(report):
                yield f"{at}.{name}"
            else:
                yield from strangers(part, getattr(report, name), f"{at}.{name}")
    elif isinstance(printed, Mapping):
        others = set(printed) - names_of(report) - set(CLASSES)
        yield from (f"{at}.{name}" for name in sorted(others))


def as_program_sees(report: Any, classes: ClassesSettings) -> Any:
    """A report, or what it says for programs: `as_json()`, where its parts are nested."""
    if isinstance(report, list):
        return [as_program_sees(each, classes) for each in report]
    if not hasattr(report, "as_json"):
        return report
    takes_classes = "classes" in inspect.signature(report.as_json).parameters
    return report.as_json(classes) if takes_classes else report.as_json()


@pytest.mark.slow
def test_a_command_and_its_method_use_the_same_names(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=300)
    api = pool.api
    pictures = sorted((tmp_path / "pictures").iterdir())
    labels, truth = tmp_path / "labels.csv", tmp_path / "truth.csv"
    names = {True: "good", False: "bad"}
    rows = [(str(path), names[bool(true)]) for path, true in zip(pictures, pool.truth, strict=True)]
    for file, part in ((labels, rows[:100]), (truth, rows)):
        with file.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("path", "label"), *part])
    clean, elsewhere = tmp_path / "clean.csv", tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "pictures", elsewhere)
    calls: list[tuple[str, Callable[[WorkspaceApi], Any]]] = [
        (f"add {tmp_path / 'pictures'}", lambda api: api.add(tmp_path / "pictures")),
        (f"label {labels}", lambda api: api.label(labels)),
        ("round", lambda api: api.round()),
        ("status", lambda api: api.status()),
        ("plan", lambda api: api.plan()),
        (f"history {pictures[0]}", lambda api: api.history(pictures[0])),
        ("log", lambda api: api.log()),
        ("queue borderline --size 5", lambda api: api.queue("borderline", size=5)),
        ("duplicates", lambda api: api.duplicates()),
        ("duplicates --thin largest --dry-run",
         lambda api: api.thin_duplicates("largest", dry_run=True)),
        (f"unlabel {labels} --dry-run", lambda api: api.unlabel(labels, dry_run=True)),
        ("drop pictures --dry-run", lambda api: api.drop("pictures", dry_run=True)),
        (r"group --by (\d{4})\d\.png", lambda api: api.group(by=r"(\d{4})\d\.png")),
        ("encode --dry-run", lambda api: api.encode(dry_run=True)),
        ("curve", lambda api: {"sizes": api.curve_of_sizes(repetitions=2)}),
        (f"evaluate {truth}", lambda api: api.evaluate(truth)),
        ("inspect", lambda api: api.inspect()),
        ("verify", lambda api: api.verify()),
        ("doctor", lambda api: api.doctor()),
        ("backup", lambda api: {"made": (made := api.backup()), "backups": [made]}),
        (f"export {clean} --force", lambda api: api.export(clean, force=True)),
        (f"import {clean}", lambda api: api.import_manifest(clean)),
        (f"report {tmp_path / 'r.html'} --force",
         lambda api: api.report(tmp_path / "r.html", force=True).contents),
        ("audit --dry-run", lambda api: api.audit(dry_run=True)),
        ("rollback --to 1", lambda api: api.rollback(to=1)),
        (f"simulate {truth} --seeds 60 --policy raw --repetitions 1",
         lambda api: api.simulate(truth, seeds=(60,), policies=("raw",), repetitions=1)),
        (f"relocate pictures {elsewhere}", lambda api: api.relocate("pictures", elsewhere)),
    ]  # fmt: skip
    compare(api, calls)


def compare(api: WorkspaceApi, calls: list[tuple[str, Callable[[WorkspaceApi], Any]]]) -> None:
    """Each command, then the method, whose names have to be the same."""
    differences = []
    for command, method in calls:
        printed = curator("-w", api.root, *command.split(), "--json").json()
        returned = as_program_sees(method(api), api.settings.classes)
        name = command.partition(" ")[0]
        differences += [f"{name}: {difference}" for difference in strangers(printed, returned)]
    assert not differences, "\n".join(differences)


@pytest.mark.slow
def test_certify_and_finish_use_the_names_of_their_methods(tmp_path: Path) -> None:
    """`certify` ends its audit, so the method closes the same one in a copy of the workspace."""
    pool = make_pool(
        create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None),
        tmp_path / "photos",
        size=600,
        max_error=0.05,
    )
    with open_workspace(pool.workspace.root) as api:
        api.audit(size=60, anyway=True)
        with api.review("audit") as session:
            while (card := session.current()) is not None:
                true = pool.truth[card.image_id]
                session.decide(Label.POSITIVE if true else Label.NEGATIVE)
        shutil.copytree(api.root, tmp_path / "copy")
        with open_workspace(tmp_path / "copy") as copy:
            compare(api, [("certify", lambda _: copy.certify())])
    other = Pool(tmp_path / "other", size=300, distance=6.0)
    person = Person(other)
    other.api.finish(person, error=0.1)
    compare(other.api, [("finish --error 0.1", lambda api: api.finish(person, error=0.1))])


@pytest.mark.slow
def test_predict_uses_the_names_of_its_method(labelled: Path) -> None:
    with open_workspace(labelled) as api:
        api.round()
        picture = api.labels()[0]["path"]
        compare(api, [(f"predict {picture}", lambda api: list(api.predict(picture)))])
