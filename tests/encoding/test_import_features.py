"""One's own features: imported whole or not at all, and used like any others."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curator.catalogue.features import list_feature_sets
from curator.catalogue.images import image_chunks, image_details
from curator.classifiers.heads.features import PoolFeatures
from curator.encoding import import_features as import_module
from curator.encoding.encode import encode, ready_features
from curator.encoding.import_features import import_features
from curator.encoding.new_files import encode_paths
from curator.encoding.stored_rows import current_features, row_file
from curator.errors import CuratorError, DataError, UsageError
from curator.workspace import Workspace
from tests.support import images
from tests.support.encoded import add_folder, by_image, image_id, with_tiny_encoder

pytestmark = pytest.mark.slow

DIMENSION = 6


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return images.make_folder(tmp_path / "pictures", good=6, bad=6)


@pytest.fixture
def filled(workspace: Workspace, pictures: Path) -> Workspace:
    add_folder(workspace, pictures)
    return with_tiny_encoder(workspace, Path(), model="features:mine")


def write(
    folder: Path, names: Iterable[str], rows: np.ndarray, column: str = "path"
) -> tuple[Path, Path]:
    array, index = folder / "rows.npy", folder / "index.csv"
    np.save(array, rows)
    with index.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(["note", column])
        writer.writerows(["", name] for name in names)
    return array, index


def relative(pictures: Path) -> list[str]:
    return [str(path.relative_to(pictures.parent)) for path in sorted(pictures.rglob("*.*"))]


def features(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)


@pytest.mark.parametrize("column", ["path", "sha256"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_each_image_gets_its_own_row_whatever_the_order(
    filled: Workspace, pictures: Path, tmp_path: Path, column: str, dtype: type
) -> None:
    names = relative(pictures)[::-1]
    rows = features(12).astype(dtype)
    ids = [image_id(filled, pictures.parent / name) for name in names]
    details = image_details(filled.catalogue, ids)
    keys = names if column == "path" else [details[one].sha256.hex() for one in ids]
    report = import_features(filled, name="mine", **paths(write(tmp_path, keys, rows, column)))
    assert (report.name, report.images, report.without) == ("features:mine", 12, 0)
    found = by_image(filled, ready_features(filled))
    for one, row in zip(ids, rows, strict=True):
        assert found[one] == row.astype(np.float16).tobytes()


def test_imported_numbers_keep_their_variance_if_the_setting_says_so(
    filled: Workspace, pictures: Path, tmp_path: Path
) -> None:
    rows = (features(12) * np.array([9, 5, 3, 2, 1, 0.1])).astype(np.float16)
    import_features(filled, name="mine", **paths(write(tmp_path, relative(pictures), rows)))
    deviations = {}
    for scale in ("each", "common"):
        settings = filled.settings.classifier.model_copy(update={"imported_scale": scale})
        chosen = replace(
            filled, settings=filled.settings.model_copy(update={"classifier": settings})
        )
        pool = PoolFeatures(ready_features(chosen), [np.arange(12)])
        scaled = pool.scale().apply(pool.gather(np.arange(12)))
        deviations[scale] = scaled.std(axis=0)
    assert deviations["each"] == pytest.approx(1, rel=1e-3)
    ratio = deviations["common"] / rows.astype(np.float64).std(axis=0)
    assert ratio == pytest.approx(ratio[0], rel=1e-3)
    assert np.square(deviations["common"]).sum() == pytest.approx(1_000, rel=1e-3)


def paths(written: tuple[Path, Path]) -> dict[str, Path]:
    return {"array": written[0], "index": written[1]}


def test_a_later_import_replaces_the_earlier_one_and_the_same_one_changes_nothing(
    filled: Workspace, pictures: Path, tmp_path: Path
) -> None:
    names = relative(pictures)
    first, second = features(12), features(12, seed=1)
    one = import_features(filled, name="mine", **paths(write(tmp_path, names, first)))
    assert import_features(filled, name="mine", **paths(write(tmp_path, names, first))).unchanged
    other = import_features(filled, name="mine", **paths(write(tmp_path, names, second)))
    assert other.feature_set_id != one.feature_set_id
    back = import_features(filled, name="mine", **paths(write(tmp_path, names, first)))
    current = current_features(filled)
    assert current is not None
    assert current.feature_set_id == back.feature_set_id
    assert by_image(filled, current)[1] == first.astype(np.float16)[0].tobytes()


def test_an_import_that_did_not_come_to_its_end_does_not_count_and_is_continued(
    filled: Workspace, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write(tmp_path, relative(pictures), features(12))
    with monkeypatch.context() as small:
        small.setattr(import_module, "_CHUNK", 5)
        original, calls = import_module.catalogued.record_rows, []

        def dies(*arguments: object) -> int:
            calls.append(1)
            if len(calls) > 2:
                raise KeyboardInterrupt
            return original(*arguments)  # type: ignore[arg-type]

        small.setattr(import_module.catalogued, "record_rows", dies)
        with pytest.raises(KeyboardInterrupt):
            import_features(filled, name="mine", **paths(written))
    assert current_features(filled) is None
    import_features(filled, name="mine", **paths(written))
    found = by_image(filled, ready_features(filled))
    ids = [image_id(filled, pictures.parent / name) for name in relative(pictures)]
    assert [found[one] for one in ids] == [row.tobytes() for row in features(12).astype("f2")]
    assert len(list_feature_sets(filled.catalogue)) == 1


def test_a_lost_file_is_made_again_by_the_same_import(
    filled: Workspace, pictures: Path, tmp_path: Path
) -> None:
    written = write(tmp_path, relative(pictures), features(12))
    import_features(filled, name="mine", **paths(written))
    current = ready_features(filled)
    before = by_image(filled, current)
    path = row_file(filled, current.record).path
    content = path.read_bytes()
    for count, damaged in ((12, b""), (1, content[:-1]), (1, b"\xff" + content[1:])):
        path.write_bytes(damaged)
        with pytest.raises(CuratorError, match=f"{count} of 12 rows") as caught:
            encode(filled)
        assert "curator encode --from" in caught.value.advice
        assert not import_features(filled, name="mine", **paths(written)).unchanged
        assert by_image(filled, ready_features(filled)) == before
        assert import_features(filled, name="mine", **paths(written)).unchanged


def test_unknown_images_are_reported_with_their_lines_and_nothing_is_imported(
    filled: Workspace, pictures: Path, tmp_path: Path
) -> None:
    names = relative(pictures)
    names[3], names[7] = "pictures/nobody.jpg", "odd\udcff.jpg"
    with pytest.raises(DataError) as caught:
        import_features(filled, name="mine", **paths(write(tmp_path, names, features(12))))
    assert "line 5: `pictures/nobody.jpg`" in caught.value.problem
    assert "line 9: `odd\\xff.jpg`" in caught.value.problem
    assert list_feature_sets(filled.catalogue) == []
    with pytest.raises(DataError, match="no features of that name"):
        encode(filled)


def spoilt(value: float) -> np.ndarray:
    rows = features(12)
    rows[7, 2] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (spoilt(np.nan), "row 8 holds a number"),
        (spoilt(-np.inf), "row 8 holds a number"),
        (spoilt(70_000.0), "row 8 holds a number"),
        (features(11), "12 rows, and the array has 11"),
        (features(12).astype(np.int32), "int32 numbers of shape"),
        (features(12).ravel(), "of shape"),
        (features(12)[:, :0], "of shape"),
    ],
)
def test_arrays_that_cannot_be_features_are_refused(
    filled: Workspace, pictures: Path, tmp_path: Path, rows: np.ndarray, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        import_features(filled, name="mine", **paths(write(tmp_path, relative(pictures), rows)))
    assert list_feature_sets(filled.catalogue) == []


def test_two_rows_of_one_image_must_agree(
    filled: Workspace, pictures: Path, tmp_path: Path
) -> None:
    names, rows = relative(pictures), features(12)
    names[5] = names[2]
    with pytest.raises(DataError, match="rows 3 and 6 are the same image"):
        import_features(filled, name="mine", **paths(write(tmp_path, names, rows)))
    rows[5] = rows[2]
    report = import_features(filled, name="mine", **paths(write(tmp_path, names, rows)))
    assert (report.images, report.without) == (11, 1)


def test_files_that_are_something_else_are_refused(filled: Workspace, tmp_path: Path) -> None:
    array, index = write(tmp_path, ["a"], features(1), column="name")
    with pytest.raises(DataError, match="no column `path` or `sha256`"):
        import_features(filled, name="mine", array=array, index=index)
    with pytest.raises(DataError, match="cannot be read"):
        import_features(filled, name="mine", array=array, index=tmp_path / "absent.csv")
    with pytest.raises(DataError, match="not a NumPy array file"):
        import_features(filled, name="mine", array=index, index=index)
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a NumPy array file"):
        import_features(filled, name="mine", array=objects, index=index)
    with pytest.raises(UsageError, match="is not a name"):
        import_features(filled, name="a b", array=array, index=index)


def test_images_without_a_row_are_left_out_and_new_files_cannot_be_encoded(
    filled: Workspace, pictures: Path, tmp_path: Path
) -> None:
    names = relative(pictures)[:9]
    report = import_features(filled, name="mine", **paths(write(tmp_path, names, features(9))))
    assert report.without == 3
    current = ready_features(filled)
    assert current.rows == len(by_image(filled, current)) == 9
    assert sum(len(ids) for ids in image_chunks(filled.catalogue)) == 12
    with pytest.raises(DataError, match="imported features"):
        next(encode_paths(filled, [pictures], feature_set=current.record))
