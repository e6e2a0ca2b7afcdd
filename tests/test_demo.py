"""The demo on its real photographs, and what happens without them; the seed set of its recipe."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from curator import api
from curator.base.vocabulary import Label
from curator.check_certificate import check
from curator.demo import DemoReport, cells_of, demo, package_data
from curator.errors import StorageError
from curator.maintenance.verify import verify
from curator.workspace import create_workspace, open_workspace
from tests.support.command import CHECKOUT

SEEDS = CHECKOUT / "seeds" / "solar-cells"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> DemoReport:
    """The whole demo, run once: about 90 s on two cores."""
    pytest.importorskip("elpv_dataset", reason='install it with: pip install "curator[demo]"')
    return demo(tmp_path_factory.mktemp("demo") / "cells-demo")


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    """Name, kind (mono or poly) and rating (the raters' probability of a defect) of each cell."""
    data = resources.files("elpv_dataset") / "data"
    lines = [line.split() for line in (data / "labels.csv").read_text().splitlines()]
    return pd.DataFrame(
        {"name": Path(path).name, "rating": float(rating), "kind": kind}
        for path, rating, kind in lines
    )


def test_the_seed_set_is_what_its_recipe_draws() -> None:
    specification = importlib.util.spec_from_file_location("choose", SEEDS / "choose.py")
    assert specification is not None and specification.loader is not None
    choose = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(choose)
    assert (SEEDS / "labels.csv").read_text(encoding="ascii") == choose.choose()
    with (SEEDS / "labels.csv").open(encoding="ascii", newline="") as stream:
        labels = Counter(row["label"] for row in csv.DictReader(stream))
    assert labels == {"functional": 136, "defective": 64}


@pytest.mark.slow
def test_the_images_are_those_of_the_package(finished: DemoReport) -> None:
    originals = resources.files("elpv_dataset") / "data" / "images"
    for name in ("cell0001.png", "cell2624.png"):
        copy = (finished.folder / "cells" / name).read_bytes()
        assert copy == (originals / name).read_bytes()
    assert finished.cells == 2_624


@pytest.mark.slow
def test_the_figures_follow_from_the_manifests(finished: DemoReport, truth: pd.DataFrame) -> None:
    """Counted again, in another way, from the files that the demo left."""
    truth = truth.assign(
        type=truth.kind, defects=truth.rating.map({0.0: "functional", 1.0: "defective"})
    )
    for task in ("type", "defects"):
        outcome = getattr(finished, task)
        manifest = pd.read_csv(outcome.manifest)
        manifest["name"] = manifest.path.map(lambda path: Path(path).name)
        people = manifest[manifest.origin != "promoted"].merge(truth, on="name")
        assert (people.label == people[task]).all()
        assert len(people) == outcome.labels - outcome.unsure + outcome.audited
        promoted = manifest[manifest.origin == "promoted"].merge(truth, on="name")
        assert outcome.promoted == Counter(promoted.label)
        judged = promoted[promoted[task].notna()]
        assert outcome.judged == len(judged)
        assert outcome.wrong == (judged.label != judged[task]).sum()
        assert outcome.coverage == pytest.approx(
            len(promoted) / (2_624 - outcome.labels - outcome.audited)
        )


@pytest.mark.slow
def test_the_easy_task_is_nearly_done_and_certified(finished: DemoReport) -> None:
    easy = finished.type
    assert easy.coverage > 0.8
    assert easy.bound is not None
    assert easy.wrong / easy.judged <= easy.bound < 0.03
    assert check(easy.workspace / "evidence.zip", easy.manifest, ()).valid
    hard = finished.defects
    assert 0.02 < hard.coverage < easy.coverage
    assert hard.bound is None
    assert hard.error is not None and hard.error > 0.05


@pytest.mark.slow
def test_what_is_left_behind(finished: DemoReport) -> None:
    with Image.open(finished.picture) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1_000
    assert finished.page.read_text(encoding="utf-8").startswith("<!doctype html>")
    for outcome in (finished.type, finished.defects):
        sidecar = json.loads(Path(f"{outcome.manifest}.json").read_text())
        assert sidecar["sources"][0]["licence"] == "CC BY-NC-SA 4.0"
        assert "doi:10.4229" in sidecar["sources"][0]["attribution"]
        digest = hashlib.sha256(outcome.manifest.read_bytes()).hexdigest()
        assert sidecar["manifest"]["sha256"] == digest
        workspace = open_workspace(outcome.workspace)
        assert verify(workspace, files=True).clean
        workspace.catalogue.close()


@pytest.mark.slow
def test_run_again_it_changes_nothing(finished: DemoReport) -> None:
    before = [task.manifest.read_bytes() for task in (finished.type, finished.defects)]
    again = demo(finished.folder)
    assert (again.type, again.defects) == (finished.type, finished.defects)
    assert [task.manifest.read_bytes() for task in (again.type, again.defects)] == before


@pytest.mark.slow
def test_an_interrupted_demo_goes_on(finished: DemoReport, tmp_path: Path) -> None:
    """As if it had been ended after the cells were copied and the first task was labelled."""
    folder = tmp_path / "demo"
    shutil.copytree(finished.folder / "cells", folder / "cells")
    workspace = api.create_workspace(folder / "type", positive="mono", negative="poly", recipe=None)
    workspace.add(folder / "cells", source="solar-cells")
    kinds = cells_of(package_data())
    with workspace.review("random") as session:
        for _ in range(70):
            card = session.current()
            assert card is not None
            is_mono = kinds[Path(os.fsdecode(card.path)).name].kind == "mono"
            session.decide(Label.POSITIVE if is_mono else Label.NEGATIVE)
    workspace.close()
    again = demo(folder)
    assert again.type.labels == 200
    assert again.type.coverage > 0.8


@pytest.mark.slow
def test_the_table_says_the_figures(finished: DemoReport) -> None:
    rows = finished.rows()
    assert len(rows) <= 10
    text = "\n".join(" ".join(row) for row in rows)
    assert f"{finished.defects.coverage:.1%}" in text
    assert f"{finished.type.wrong} of {finished.type.judged:,}" in text
    figures = json.loads(json.dumps(finished.as_json()))
    assert figures["defects"]["wrong"] == finished.defects.wrong


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(StorageError, match="not a folder of the demo"):
        demo(tmp_path)
    create_workspace(tmp_path / "own", positive=None, negative=None, recipe=None).catalogue.close()
    with pytest.raises(StorageError, match="not a folder of the demo"):
        demo(tmp_path / "own")
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.slow
def test_without_the_photographs_it_says_how_to_get_them(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['elpv_dataset'] = None\n"
        "from curator.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "demo", tmp_path / "demo"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert 'pip install "curator[demo]"' in done.stderr
    assert not (tmp_path / "demo").exists()
