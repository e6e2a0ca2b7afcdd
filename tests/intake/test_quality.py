"""How pictures look: measured once by `add`, and what stands out is named, listed and filtered."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import uniform_filter

from curator.base.files import resource_folder
from curator.base.vocabulary import Label, Oddity
from curator.catalogue.engine import Catalogue, Schema
from curator.catalogue.images import image_details
from curator.catalogue.quality import MEASURES, oddities_of
from curator.catalogue.queues import NO_FILTER
from curator.errors import DataError
from curator.intake.add import add
from curator.intake.likeness import shrunk_for_comparing
from curator.intake.quality import picture_quality, sharpness
from curator.review.filter import ORDERS, read_view
from curator.review.image_source import ImageSource
from curator.review.queues import queue
from curator.workspace import Workspace, create_workspace
from tests.catalogue.builders import add_images, say
from tests.support.command import curator
from tests.support.filled import decide

CELLS = sorted((Path(str(resources.files("elpv_dataset"))) / "data" / "images").glob("*.png"))[
    64::64
]


def grey(picture: Image.Image) -> Image.Image:
    return shrunk_for_comparing(picture.convert("RGB")).convert("L")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 solar cells, and one more of each oddity, named by it."""
    folder = tmp_path_factory.mktemp("cells")
    for path in CELLS:
        shutil.copy(path, folder / path.name)
    with Image.open(CELLS[3]) as picture:
        cell = picture.convert("L")
    values = np.asarray(cell).astype(float)
    noise = np.random.default_rng(0).normal(128, 0.7, values.shape)
    odd = {
        Oddity.DARK: Image.fromarray((values * 0.25).astype(np.uint8)),
        Oddity.BRIGHT: Image.fromarray((255 - (255 - values) * 0.1).astype(np.uint8)),
        Oddity.UNIFORM: Image.fromarray(noise.astype(np.uint8)),
        Oddity.BLURRED: cell.filter(ImageFilter.GaussianBlur(12)),
        Oddity.TINY: cell.resize((40, 40)),
        Oddity.ELONGATED: cell.crop((0, 100, 300, 180)),
    }
    for oddity, made in odd.items():
        made.save(folder / f"{oddity}.png")
    return folder


@pytest.fixture
def added(tmp_path: Path, cells: Path) -> Workspace:
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    add(workspace, [cells])
    return workspace


def names(workspace: Workspace, view: str, name: str = "odd") -> list[str]:
    """File names of a queue through a view, in its order."""
    read = read_view(view, workspace.settings.classes, ("cells0",))
    source = ImageSource(workspace, name, seed=0, view=read)
    ids = list(source.find(100, NO_FILTER))
    details = image_details(workspace.catalogue, ids)
    return [Path(details[image_id].locations[0].path.decode()).stem for image_id in ids]


def test_detail_is_that_of_a_reference() -> None:
    generator = np.random.default_rng(3)
    for shape in ((6, 6), (31, 40), (150, 90)):
        values = generator.integers(0, 256, shape).astype(np.uint8)
        picture = Image.fromarray(values)

        def detail(pixels: Image.Image) -> float:
            exact = np.asarray(pixels).astype(float)
            difference = np.abs(exact - uniform_filter(exact, 3))[1:-1, 1:-1]
            return float(np.floor(difference + 4 / 9 + 1e-9).mean())

        assert sharpness(picture) == pytest.approx(detail(picture) / detail(picture.reduce(2)))


def test_sharpness_falls_with_blur_and_not_with_contrast_or_brightness() -> None:
    for path in CELLS[:10]:
        with Image.open(path) as picture:
            cell = picture.convert("L")
        values = np.asarray(cell).astype(float)
        sharp = sharpness(grey(cell))
        assert sharp is not None
        for other in (values * 0.6, values * 0.6 + 90):
            same = sharpness(grey(Image.fromarray(other.astype(np.uint8))))
            assert same == pytest.approx(sharp, rel=0.03)
        a_little, much = (
            sharpness(grey(cell.filter(ImageFilter.GaussianBlur(radius)))) for radius in (3, 9)
        )
        assert a_little is not None
        assert much is not None
        assert much < a_little < 0.8 * sharp


def test_a_picture_without_detail_or_pixels_has_no_sharpness() -> None:
    assert sharpness(Image.new("L", (50, 50), 7)) is None
    assert sharpness(Image.new("L", (5, 300), 7)) is None
    quality = picture_quality(Image.new("L", (1, 1), 255), 1, 1)
    assert (quality.brightness, quality.shadows, quality.highlights) == (1.0, 1.0, 1.0)
    assert (quality.entropy, quality.side, quality.aspect) == (0.0, 1.0, 1.0)


def test_what_stands_out_is_named_and_nothing_else(added: Workspace) -> None:
    image_ids = {row.path.rsplit(b"/", 1)[1]: row.image_id for row in queue(added, "odd")}
    assert {name.decode().removesuffix(".png") for name in image_ids} == set(Oddity)
    odd = oddities_of(added.catalogue, list(image_ids.values()))
    for name, image_id in image_ids.items():
        assert name.decode().removesuffix(".png") in odd[image_id]


@pytest.mark.slow
def test_add_status_queue_and_export_say_it(added: Workspace, cells: Path, tmp_path: Path) -> None:
    said = curator("-w", added.root, "add", cells).stdout
    assert "1 very dark, " in said
    assert "curator review odd" in said
    counts = curator("-w", added.root, "status", "--json").json()["odd"]
    assert set(counts) == set(Oddity)
    assert counts["tiny"] == counts["elongated"] == counts["dark"] == 1
    assert "1 very dark, " in curator("-w", added.root, "status").stdout
    listed = curator("-w", added.root, "queue", "odd", "--json").json()
    assert [Path(row["path"]).stem for row in listed][:2] == ["dark", "bright"]
    curator("-w", added.root, "add", cells, "--label", "good")
    sharp = tmp_path / "sharp.csv"
    curator("-w", added.root, "export", sharp, "--quality", "side<100", "--quality", "aspect<2")
    assert [Path(line.split(",")[0]).stem for line in sharp.read_text().splitlines()[1:]] == [
        "tiny"
    ]
    for wrong in ("sharpness", "colour<3", "side<x"):
        refused = curator(
            "-w", added.root, "export", tmp_path / "no.csv", "--quality", wrong, expect=2
        )
        assert "sharpness>0.3" in refused.stderr
        assert not (tmp_path / "no.csv").exists()


def test_filters_and_orders_use_the_measures(added: Workspace) -> None:
    assert names(added, "odd:tiny") == ["tiny"]
    assert names(added, "side<100") == ["tiny"]
    assert names(added, "sort:-aspect")[0] == "elongated"
    assert names(added, "sort:brightness")[0] == "dark"
    assert names(added, "brightness>0.9 aspect<2") == ["bright"]
    assert names(added, "sharpness>1000") == []
    for measure in MEASURES:
        assert {measure, f"-{measure}"} <= set(ORDERS)
    classes = added.settings.classes
    view = read_view("sharpness<0.25 side>30 odd:blurred sort:-entropy", classes, ())
    assert read_view(view.describe(classes), classes, ()) == view
    for wrong, why in (
        ("sharpnes<1", "no measure"),
        ("side<many", "is not a bound"),
        ("odd:purple", "no oddity"),
    ):
        with pytest.raises(ValueError, match=why):
            read_view(wrong, classes, ())


def test_an_image_that_a_person_labelled_leaves_the_queue(added: Workspace) -> None:
    first = queue(added, "odd")[0]
    decide(added, [first.image_id], Label.POSITIVE)
    assert first.image_id not in [row.image_id for row in queue(added, "odd")]


def test_what_most_images_have_is_usual(tmp_path: Path, cells: Path) -> None:
    """A set of dark pictures has no dark ones, and small pictures among small ones are not tiny."""
    folder = tmp_path / "night"
    folder.mkdir()
    for path in CELLS[:12]:
        with Image.open(path) as picture:
            small = np.asarray(picture.convert("L").resize((28, 28))).astype(float)
        Image.fromarray((small * 0.3).astype(np.uint8)).save(folder / path.name)
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    odd = add(workspace, [folder]).odd.by_oddity
    assert Oddity.DARK not in odd
    assert Oddity.TINY not in odd


def test_images_of_before_are_said_and_measured_when_they_are_read_again(
    added: Workspace, cells: Path
) -> None:
    with added.catalogue.write() as connection:
        connection.exec_driver_sql("DELETE FROM picture_quality")
    with pytest.raises(DataError, match="earlier version") as refused:
        queue(added, "odd")
    assert "--rehash" in str(refused.value.advice)
    report = add(added, [cells])
    assert report.odd.unmeasured == len(CELLS) + 6
    assert (
        f"{len(CELLS) + 6} images added by an earlier version"
        in curator("-w", added.root, "add", cells).stdout
    )
    report = add(added, [cells], rehash=True)
    assert report.odd.unmeasured == 0
    assert set(report.odd.by_oddity) == set(Oddity)


def test_measures_come_to_images_of_schema_0008(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    schema = Schema(revision="0008", folder=resource_folder("db"))
    with Catalogue.create(path, schema=schema) as old:
        image_ids = add_images(old, 3)
        say(old, image_ids[0], "positive")
    with Catalogue.open(path) as catalogue:
        assert oddities_of(catalogue, image_ids) == {}
        with catalogue.read() as connection:
            labelled = "SELECT image_id FROM image_state WHERE standing = 'positive'"
            assert connection.exec_driver_sql(labelled).scalars().all() == [image_ids[0]]
