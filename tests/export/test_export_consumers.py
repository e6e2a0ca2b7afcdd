"""Each format that holds images, read back by the program that it is made for."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from curator.base.vocabulary import GroupKind
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.export.export import ExportReport
from curator.workspace import Workspace
from tests.support.curated import HUMAN, PROMOTED, curate
from tests.support.exported import export
from tests.support.filled import promote

EACH = HUMAN + PROMOTED

Make = Callable[..., ExportReport]


@pytest.fixture
def make(workspace: Workspace, tmp_path: Path) -> Make:
    """Exports to `clean` in the format given."""
    curate(workspace, tmp_path / "pictures")

    def run(format: str, **options: Any) -> ExportReport:
        return export(workspace, tmp_path / "clean", format=format, **options)

    return run


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


@pytest.mark.slow
def test_torchvision_reads_the_tree(make: Make, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    report = make("imagefolder")
    assert report.rows == report.images == 2 * EACH
    dataset = ImageFolder(str(tmp_path / "clean"))
    assert dataset.class_to_idx == {"bad": 0, "good": 1}
    assert Counter(dataset.targets) == {0: EACH, 1: EACH}
    rows = {row["path"]: row for row in manifest(tmp_path / "clean")}
    assert len(rows) == len(dataset)
    for path, target in dataset.samples:
        row = rows[str(Path(path).relative_to(tmp_path / "clean"))]
        assert row["label"] == dataset.classes[target]
        assert row["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    picture, _ = dataset[0]
    assert picture.size == (64, 48)


@pytest.mark.slow
def test_torchvision_reads_each_part(make: Make, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    report = make("imagefolder", divide="60/20/20")
    sizes = {}
    for part in ("train", "validation", "test"):
        dataset = ImageFolder(str(tmp_path / "clean" / part))
        assert dataset.class_to_idx == {"bad": 0, "good": 1}
        sizes[part] = len(dataset)
        assert sizes[part] == sum(report.splits[part].values())
    assert sum(sizes.values()) == 2 * EACH


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
def test_hugging_face_reads_images_labels_and_card(make: Make, tmp_path: Path) -> None:
    from datasets import ClassLabel, load_dataset

    make("huggingface", divide="60/20/20")
    folder = tmp_path / "clean"
    by_card = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    plain = load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "plain"))
    rows = {row["sha256"]: row for row in manifest(folder)}
    assert set(by_card) == set(plain) == {"train", "validation", "test"}
    assert sum(len(part) for part in by_card.values()) == len(rows) == 2 * EACH
    assert isinstance(by_card["train"].features["label"], ClassLabel)
    assert by_card["train"].features["label"].names == ["bad", "good"]
    for name, part in by_card.items():
        assert len(part) == len(plain[name])
        for sample in part:
            row = rows[sample["sha256"]]
            assert row["split"] == name
            assert row["label"] == part.features["label"].int2str(sample["label"])
            assert sample["image"].size == (64, 48)
        assert {one["sha256"] for one in plain[name]} == {one["sha256"] for one in part}
    assert {one["label"] for one in plain["train"]} == {"good", "bad"}


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
def test_hugging_face_reads_parts_that_lack_scores_and_groups(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Types are guessed from each part: a column of nulls in one of them would be refused."""
    from datasets import load_dataset

    ids = curate(workspace, tmp_path / "pictures")
    by_split = dict[str, list[int]]()
    export(workspace, tmp_path / "plan.csv", divide="50/25/25")
    with (tmp_path / "plan.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            name = str(Path(row["path"]).relative_to(tmp_path / "pictures"))
            by_split.setdefault(row["split"], []).append(ids[name])
    first = by_split["train"][0]
    replace_grouping(workspace.catalogue, GroupKind.USER, [GroupRecord(name="a", primary=(first,))])
    promote(workspace, dict.fromkeys(by_split["train"], 0.995))
    export(workspace, tmp_path / "clean", format="huggingface", divide="50/25/25")
    read = load_dataset(str(tmp_path / "clean"), cache_dir=str(tmp_path / "cache"))
    assert {part: len(rows) for part, rows in read.items()} == {
        part: len(rows) for part, rows in by_split.items()
    }
    assert "a" in set(read["train"]["group"])
    assert set(read["test"]["group"]) == {""}


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
def test_hugging_face_reads_images_without_a_label(workspace: Workspace, tmp_path: Path) -> None:
    from datasets import load_dataset

    from curator.export.filters import Filters

    curate(workspace, tmp_path / "pictures")
    export(
        workspace,
        tmp_path / "clean",
        format="huggingface",
        filters=Filters(include_unlabelled=True),
    )
    read = load_dataset(str(tmp_path / "clean"), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(read) == 2 * EACH + 2
    unlabelled = [one for one in read if one["label"] is None]
    assert sorted(one["probability"] for one in unlabelled) == [0.3, 0.7]


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
def test_images_without_a_label_are_a_part_of_their_own_and_no_class(
    workspace: Workspace, tmp_path: Path
) -> None:
    from datasets import load_dataset
    from torchvision.datasets import ImageFolder

    from curator.export.filters import Filters

    curate(workspace, tmp_path / "pictures")
    with_unlabelled = Filters(include_unlabelled=True)
    for format in ("huggingface", "imagefolder", "webdataset"):
        place = tmp_path / format
        export(workspace, place, format=format, filters=with_unlabelled, divide="60/20/20")
    place, cache = str(tmp_path / "huggingface"), str(tmp_path / "cache")
    read = load_dataset(place, cache_dir=cache)
    assert set(read) == {"train", "validation", "test"}
    labelled = [one for part in read.values() for one in part]
    assert len(labelled) == 2 * EACH
    assert {one["label"] for one in labelled} == {0, 1}
    beside = load_dataset(place, "unlabelled", cache_dir=cache)
    assert set(beside) == {"unlabelled"}
    assert not {"label", "origin", "round"} & set(beside["unlabelled"].features)
    assert sorted(beside["unlabelled"]["probability"]) == [0.3, 0.7]
    # Which part it would belong to is said, to leave out near-duplicates of the test part.
    assert set(beside["unlabelled"]["split"]) <= {"train", "validation", "test"}
    for part in ("train", "validation", "test"):
        classes = ImageFolder(str(tmp_path / "imagefolder" / part)).class_to_idx
        assert classes == {"bad": 0, "good": 1}
    assert len(ImageFolder(str(tmp_path / "imagefolder" / "unlabelled"))) == 2
    shards = json.loads((tmp_path / "webdataset" / "curator.json").read_text())["shards"]
    samples = {shard["name"].rpartition("-")[0]: shard["samples"] for shard in shards}
    assert samples["unlabelled"] == 2
    assert sum(samples.values()) == 2 * EACH + 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_the_shards(make: Make, tmp_path: Path) -> None:
    import webdataset

    make("webdataset", shard_bytes=100_000)
    folder = tmp_path / "clean"
    about = json.loads((folder / "curator.json").read_text())
    shards = [folder / shard["name"] for shard in about["shards"]]
    assert len(shards) > 1
    for shard, described in zip(shards, about["shards"], strict=True):
        assert hashlib.sha256(shard.read_bytes()).hexdigest() == described["sha256"]
    read = webdataset.WebDataset([str(one) for one in shards], shardshuffle=False).decode("pil")
    rows = {row["sha256"]: row for row in manifest(folder)}
    keys, order = set(), []
    for sample in read:
        facts = sample["json"]
        row = rows[facts["sha256"]]
        assert (facts["label"], facts["origin"]) == (row["label"], row["origin"])
        assert sample["cls"] == about["class_numbers"][row["label"]]
        assert isinstance(sample.get("jpg", sample.get("png")), Image.Image)
        assert row["path"] == f"{Path(sample['__url__']).name}/{sample['__key__']}"
        keys.add(sample["__key__"])
        order.append(facts["label"])
    assert len(keys) == len(order) == len(rows) == 2 * EACH
    assert order != sorted(order), "samples of a class must not stand together"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_validates_and_reads(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import mlcroissant

    make("croissant")
    folder = tmp_path / "clean"
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not dataset.metadata.issues.errors
    rows = manifest(folder)
    records = list(dataset.records("images"))
    assert len(records) == len(rows) == 2 * EACH
    by_path = {row["path"]: row for row in rows}
    for record in records:
        row = by_path[record["images/path"].decode()]
        assert record["images/sha256"].decode() == row["sha256"]
        assert record["images/label"].decode() == row["label"]
        found = hashlib.sha256((folder / row["path"]).read_bytes()).hexdigest()
        assert found == row["sha256"]
    described = json.loads((folder / "croissant.json").read_text())
    assert described["license"] == ["CC-BY-4.0", "CC0-1.0"]
    assert "A. Photographer" in described["creditText"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_notices_a_manifest_that_was_changed(make: Make, tmp_path: Path) -> None:
    import mlcroissant

    make("croissant")
    file = tmp_path / "clean" / "manifest.csv"
    file.write_text(file.read_text().replace("good", "bad"))
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "clean" / "croissant.json"))
    with pytest.raises(Exception) as refused:
        list(dataset.records("images"))
    causes = repr(refused.value.__cause__)
    assert "hash" in causes.lower(), causes
