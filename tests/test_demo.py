"""The demo on its real photographs, its seed set, and what happens without them."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from curator.base.vocabulary import CurrentLabel
from curator.catalogue import queues
from curator.catalogue.images import image_files
from curator.demo import DemoReport, demo
from curator.errors import StorageError
from curator.maintenance.verify import verify
from curator.workspace import create_workspace, open_workspace
from tests.support.command import CHECKOUT

SEEDS = CHECKOUT / "seeds" / "solar-cells"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> DemoReport:
    """The whole demo, run once: two minutes or so on two cores."""
    pytest.importorskip("elpv_dataset", reason='install it with: pip install "curator[demo]"')
    return demo(tmp_path_factory.mktemp("demo") / "cells-demo")


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    """Name, rating (the raters' probability of a defect), and whether it is a seed."""
    data = resources.files("elpv_dataset") / "data"
    lines = [line.split() for line in (data / "labels.csv").read_text().splitlines()]
    frame = pd.DataFrame(
        {"name": Path(path).name, "rating": float(rating)} for path, rating, _ in lines
    )
    return frame.assign(seed=frame.name.isin(seed_names()))


def seed_names() -> set[str]:
    with (SEEDS / "labels.csv").open(encoding="ascii", newline="") as stream:
        return {Path(row["path"]).name for row in csv.DictReader(stream)}


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
    assert finished.seeds == 200


@pytest.mark.slow
def test_the_figures_follow_from_the_manifest(finished: DemoReport, truth: pd.DataFrame) -> None:
    """Counted again, in another way, from the files that the demo left."""
    manifest = pd.read_csv(finished.manifest)
    manifest["name"] = manifest.path.map(lambda path: Path(path).name)
    assert set(manifest[manifest.origin == "seed"].name) == seed_names()
    promoted = manifest[manifest.origin == "promoted"].merge(truth, on="name")
    assert finished.coverage == pytest.approx(len(promoted) / 2_424)
    assert finished.coverage > 0.02
    for label, standing in (
        ("functional", CurrentLabel.POSITIVE),
        ("defective", CurrentLabel.NEGATIVE),
    ):
        given = promoted[promoted.label == label]
        outcome = finished.promoted[label]
        right_rating = 0.0 if standing is CurrentLabel.POSITIVE else 1.0
        assert outcome.promoted == len(given)
        assert outcome.right == (given.rating == right_rating).sum()
        assert outcome.wrong == (given.rating == 1 - right_rating).sum()
        assert outcome.unsure == given.rating.between(0.1, 0.9).sum()


@pytest.mark.slow
def test_borderline_are_the_least_certain(finished: DemoReport, truth: pd.DataFrame) -> None:
    with open_workspace(finished.folder).catalogue as catalogue:
        ids = queues.borderline(catalogue, size=200)
        files = image_files(catalogue, ids).values()
        names = {Path(os.fsdecode(file.path)).name for file in files}
    pool = truth[~truth.seed]
    unsure = pool.rating.between(0.1, 0.9)
    shown = pool.name.isin(names)
    doubt = finished.borderline
    assert (doubt.borderline, doubt.rest) == (200, 2_224)
    assert doubt.borderline_unsure == (unsure & shown).sum()
    assert doubt.rest_unsure == (unsure & ~shown).sum()


@pytest.mark.slow
def test_what_is_left_behind(finished: DemoReport) -> None:
    with Image.open(finished.picture) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1_000
    sidecar = json.loads(Path(f"{finished.manifest}.json").read_text())
    assert sidecar["sources"][0]["licence"] == "CC BY-NC-SA 4.0"
    assert "doi:10.4229" in sidecar["sources"][0]["attribution"]
    digest = hashlib.sha256(finished.manifest.read_bytes()).hexdigest()
    assert sidecar["manifest"]["sha256"] == digest
    workspace = open_workspace(finished.folder)
    assert verify(workspace, files=True).clean
    workspace.catalogue.close()


@pytest.mark.slow
def test_run_again_it_changes_nothing(finished: DemoReport) -> None:
    before = finished.manifest.read_bytes()
    again = demo(finished.folder)
    assert again == finished
    assert finished.manifest.read_bytes() == before


@pytest.mark.slow
def test_the_summary_says_the_figures(finished: DemoReport) -> None:
    text = finished.summary()
    assert f"Coverage: {finished.coverage:.1%}" in text
    assert f"unsure on {finished.borderline.borderline_unsure} of the 200" in text
    figures = finished.as_json()
    assert json.loads(json.dumps(figures)) == figures
    assert figures["promoted"]["functional"]["wrong"] == finished.promoted["functional"].wrong


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
