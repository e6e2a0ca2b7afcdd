"""Encoding: everything once, in order, to the same bits, whatever comes in between."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curator.base.arrays import IntArray
from curator.base.vocabulary import Quarantine
from curator.catalogue.counts import counts
from curator.catalogue.features import row_count
from curator.catalogue.images import image_chunks, image_details
from curator.catalogue.leases import lease
from curator.classifiers.encoders.weights import DEFAULT_MODEL
from curator.encoding import encode as encoding
from curator.encoding import projections
from curator.encoding.encode import encode, ready_features
from curator.encoding.encoder_choice import (
    encoder_settings,
    find_encoded,
    open_workspace_encoder,
    pixel_loader,
)
from curator.encoding.new_files import encode_paths
from curator.encoding.stored_rows import current_features, row_file
from curator.errors import BusyError, DataError, LearnError, StorageError
from curator.maintenance.verify import verify
from curator.settings.sections import ClassifierSettings
from curator.workspace import Workspace, create_workspace
from tests.support import images
from tests.support.disk import files_no_larger_than
from tests.support.encoded import (
    BATCH,
    Telling,
    add_folder,
    by_image,
    features_of,
    image_id,
    stored,
    with_tiny_encoder,
)

pytestmark = pytest.mark.slow


def fresh(folder: Path, weights: Path, pictures: Path) -> Workspace:
    """Another workspace of the same pictures."""
    made = create_workspace(folder, positive="good", negative="bad", recipe=None)
    add_folder(made, pictures)
    return with_tiny_encoder(made, weights)


def test_every_image_is_encoded_once_in_the_order_of_ids(ready: Workspace) -> None:
    report = encode(ready)
    assert (report.encoded, report.known, report.quarantined) == (30, 0, {})
    features = current_features(ready)
    assert features is not None
    ids = np.concatenate(list(image_chunks(ready.catalogue)))
    with open_workspace_encoder(ready) as encoder:
        loader = pixel_loader(ready.settings, report.image_size or 0)
        paths = [
            image_details(ready.catalogue, [one])[one].locations[0].path for one in ids.tolist()
        ]
        chunks = list(encoder.encode(paths, loader.load_path))
    expected = np.concatenate([chunk.features for chunk in chunks])
    assert stored(features).tobytes() == expected.tobytes()
    assert not len(features.reader.damaged())
    again = encode(ready)
    assert (again.encoded, again.known) == (0, 30)
    assert again.feature_set_id == report.feature_set_id


def test_later_images_are_appended_and_earlier_features_stay(
    ready: Workspace, tmp_path: Path
) -> None:
    before = by_image(ready, features_of(ready))
    add_folder(ready, images.make_folder(tmp_path / "more", good=5, bad=4, seed=9))
    report = encode(ready)
    assert (report.encoded, report.known) == (9, 30)
    features = ready_features(ready)
    after = by_image(ready, features)
    assert features.rows == len(after) == 39
    assert {image: after[image] for image in before} == before


def test_other_settings_make_another_set_and_the_first_one_is_found_again(
    ready: Workspace, weights: Path
) -> None:
    first = encode(ready)
    cropped = with_tiny_encoder(ready, weights, fit="crop")
    assert current_features(cropped) is None
    other = encode(cropped)
    assert other.encoded == 30
    assert other.fingerprint != first.fingerprint
    back = encode(ready)
    assert (back.encoded, back.fingerprint) == (0, first.fingerprint)


class Stops:
    """A listener that interrupts the run after so many images, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Stops]:
        yield self

    def note(self, text: str) -> None: ...

    def expect(self, total: int) -> None: ...

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


def test_interrupted_and_run_again_it_gives_the_same_bits(
    ready: Workspace, weights: Path, pictures: Path, tmp_path: Path
) -> None:
    for after in (1, 30 + BATCH + 1):
        with pytest.raises(KeyboardInterrupt):
            encode(ready, progress=Stops(after))
    begun = current_features(ready)
    assert begun is not None
    assert 0 < begun.rows < 30
    whole = fresh(tmp_path / "other", weights, pictures)
    assert stored(features_of(ready)).tobytes() == stored(features_of(whole)).tobytes()
    assert by_image(ready, features_of(ready)) == by_image(whole, features_of(whole))
    whole.catalogue.close()


def test_killed_at_random_instants_and_run_again_it_gives_the_same_bits(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = images.make_folder(tmp_path / "many", good=250, bad=250, size=(32, 32))
    killed = fresh(tmp_path / "killed", weights, many)
    command = [sys.executable, "-m", "tests.support.encoded", str(killed.root), str(weights)]
    chance = random.Random(7)
    rows = [0]
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(5, 16)):
                assert process.stdout.readline() == "step\n"
            time.sleep(0.05 * chance.random())
            process.kill()
        begun = current_features(killed)
        rows.append(0 if begun is None else begun.rows)
    assert 0 < rows[-1] < 500
    assert rows == sorted(rows)
    features = features_of(killed)
    assert not len(features.reader.damaged())
    monkeypatch.setattr(projections, "SAMPLE", 2 * BATCH)
    whole = fresh(tmp_path / "whole", weights, many)
    assert by_image(killed, features) == by_image(whole, features_of(whole))
    assert stored(features).tobytes() == stored(features_of(whole)).tobytes()
    killed.catalogue.close()
    whole.catalogue.close()


def cut_keeping_its_stamp(path: Path) -> None:
    """Damage the end of a JPEG in a way that neither size nor time betrays."""
    seen, content = path.stat(), path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\0" * (len(content) - len(content) // 2))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def test_what_cannot_be_read_any_more_is_quarantined_and_the_rest_is_encoded(
    ready: Workspace, pictures: Path
) -> None:
    gone, replaced, cut, touched = sorted((pictures / "good").glob("*.jpg"))[:4]
    ids = {path: image_id(ready, path) for path in (gone, replaced, cut, touched)}
    away = gone.rename(pictures.parent / "away.jpg")
    replaced.write_bytes(sorted((pictures / "bad").glob("*.jpg"))[0].read_bytes())
    cut_keeping_its_stamp(cut)
    os.utime(touched)
    report = encode(ready)
    reasons = {
        path: image_details(ready.catalogue, [one])[one].quarantine for path, one in ids.items()
    }
    assert reasons[gone] == reasons[replaced] == Quarantine.VANISHED
    assert reasons[cut] in (Quarantine.TRUNCATED, Quarantine.CORRUPT)
    assert reasons[touched] is None
    assert report.encoded == 27
    assert sum(report.quarantined.values()) == 3
    assert encode(ready).encoded == 0
    assert counts(ready.catalogue).usable == 27
    away.rename(gone)
    add_folder(ready, pictures)
    assert encode(ready).encoded == 1


def test_damaged_features_are_computed_again_in_their_places(ready: Workspace) -> None:
    """Only the rows that differ, and to the same bits: nothing behind them moves."""
    first = features_of(ready)
    before, rows = by_image(ready, first), stored(first)
    file = row_file(ready, first.record)
    content = file.path.read_bytes()
    packed = np.frombuffer(content, np.uint8).reshape(len(rows), -1)
    swapped = packed.copy()
    swapped[[3, 4]] = swapped[[4, 3]]
    damages = {
        15: content[: len(content) // 2],  # cut in the middle
        1: b"\xff" + content[1:],
        2: swapped.tobytes(),
        30: packed[::-1].tobytes(),
        0: content + b"more",
    }
    for count, damaged in damages.items():
        file.path.write_bytes(damaged)
        opened = current_features(ready)
        assert opened is not None
        if count:
            (finding,) = verify(ready).findings
            assert f"{count} of 30 rows of {file.path}" in finding.text
            with pytest.raises(StorageError, match="curator encode"):
                opened.gather(np.arange(30))
        notes = Notes()
        report = encode(ready, progress=notes)
        assert (report.known, report.encoded) == (30 - count, count)
        assert any(f"{count} of 30 rows" in note for note in notes.texts) == (count > 0)
        assert file.path.read_bytes()[: len(content)] == content
        assert by_image(ready, ready_features(ready)) == before
        assert verify(ready).clean
    file.path.unlink()
    assert encode(ready).encoded == 30
    assert file.path.read_bytes() == content


def test_damaged_features_of_another_encoder_are_forgotten(ready: Workspace, weights: Path) -> None:
    file = row_file(ready, features_of(ready).record)
    with file.path.open("r+b") as stream:
        stream.write(bytes(file.row_bytes))
    other = with_tiny_encoder(ready, weights, fit="pad")
    encode(other)
    assert verify(other).clean
    assert encode(ready).encoded == 1


def test_where_the_sources_are_gone_damaged_features_are_not_used(
    ready: Workspace, pictures: Path
) -> None:
    first = features_of(ready)
    file = row_file(ready, first.record)
    with file.path.open("r+b") as stream:
        stream.write(bytes(2 * file.row_bytes))
    pictures.rename(pictures.with_name("unmounted"))
    with pytest.raises(DataError, match="missing or empty") as caught:
        ready_features(ready)
    assert "Mount it" in caught.value.advice
    kept = current_features(ready)
    assert kept is not None
    assert len(by_image(ready, kept)) == 28
    pictures.with_name("unmounted").rename(pictures)
    assert encode(ready).encoded == 2


def test_features_from_before_digests_are_compared_with_their_checksums(ready: Workspace) -> None:
    first = features_of(ready)
    file, catalogue = row_file(ready, first.record), ready.catalogue
    content = file.path.read_bytes()
    sums = file.path.with_suffix(".sums")
    with catalogue.write() as connection:
        connection.exec_driver_sql("DELETE FROM feature_block")
    half = 10 * file.row_bytes
    parts = (0, 10, content[:half]), (10, 20, content[half:])
    entries = [
        struct.pack("<QQ16s", first, count, hashlib.blake2b(part, digest_size=16).digest())
        for first, count, part in parts
    ]
    sums.write_bytes(b"".join(entries) + b"torn")
    file.path.write_bytes(content[:half] + b"\xff" + content[half + 1 :])
    assert not verify(ready).clean
    assert encode(ready).encoded == 20
    assert file.path.read_bytes() == content
    assert not sums.exists()
    assert verify(ready).clean


class Notes(Telling):
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def advance(self, count: int = 1) -> None: ...


def test_a_full_disk_is_a_clear_error_and_the_next_run_goes_on(
    ready: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "FLUSH_ROWS", BATCH)
    with pytest.raises(KeyboardInterrupt):
        encode(ready, progress=Stops(31))
    begun = current_features(ready)
    assert begun is not None
    full = row_file(ready, begun.record).path
    with no_room_in(full, monkeypatch), pytest.raises(StorageError, match="cannot be written"):
        encode(ready)
    kept = current_features(ready)
    assert kept is not None
    assert kept.rows == begun.rows == row_count(ready.catalogue, begun.feature_set_id)
    assert encode(ready).encoded == 30 - begun.rows
    assert verify(ready).clean


@contextmanager
def no_room_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file cannot grow; everything else can."""
    from curator.storage.rows import Content, DigestArray, RowWriter

    original = RowWriter.append
    size = path.stat().st_size

    def append(writer: RowWriter, contents: Sequence[Content]) -> tuple[IntArray, DigestArray]:
        with files_no_larger_than(size + 10):
            return original(writer, contents)

    with monkeypatch.context() as patched:
        patched.setattr(RowWriter, "append", append)
        yield


def test_too_little_disk_is_said_before_anything_is_computed(
    ready: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(ready.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(StorageError, match="Make room"):
        encode(ready)


def test_only_one_process_encodes_at_a_time(ready: Workspace) -> None:
    with lease(ready.catalogue, "encode"), pytest.raises(BusyError):
        encode(ready)


def test_an_empty_workspace_says_what_to_do(workspace: Workspace) -> None:
    with pytest.raises(DataError, match="no usable images") as caught:
        encode(workspace)
    assert "curator add" in caught.value.advice


def test_a_dry_run_estimates_and_keeps_nothing(ready: Workspace) -> None:
    report = encode(ready, dry_run=True)
    assert report.dry_run
    assert (report.encoded, report.known, report.feature_set_id) == (0, 0, None)
    estimate = report.estimate
    assert (estimate.images, estimate.bytes) == (30, 30 * (report.dimension + 2))
    assert estimate.seconds is not None
    assert estimate.rate == pytest.approx(30 / estimate.seconds)
    assert "30 images to encode: about" in str(estimate)
    assert current_features(ready) is None
    assert list(ready.folder("features").iterdir()) == []
    encode(ready)
    done = encode(ready, dry_run=True)
    assert (done.known, done.estimate.images) == (30, 0)


def test_the_automatic_size_is_decided_once(
    workspace: Workspace, weights: Path, tmp_path: Path
) -> None:
    add_folder(workspace, images.make_folder(tmp_path / "small", good=3, bad=3, size=(28, 28)))
    automatic = with_tiny_encoder(workspace, weights, image_size="auto")
    assert encode(automatic).image_size == 64
    large = images.make_folder(tmp_path / "large", good=8, bad=8, size=(300, 300))
    add_folder(workspace, large)
    report = encode(automatic)
    assert (report.image_size, report.known, report.encoded) == (64, 6, 16)
    other = with_tiny_encoder(workspace, weights, image_size="auto", fit="pad")
    assert encode(other).image_size == 64
    named = current_features(with_tiny_encoder(workspace, weights, image_size=64))
    assert named is not None
    assert named.fingerprint == report.fingerprint


def test_files_outside_the_catalogue_get_the_features_they_would_have_inside(
    ready: Workspace, pictures: Path, tmp_path: Path
) -> None:
    features = features_of(ready)
    inside = by_image(ready, features)
    paths = sorted(pictures.rglob("*.jpg"))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(paths[0].read_bytes()[:200])
    found = list(encode_paths(ready, [*paths, broken], feature_set=features.record))
    assert [one.path for one in found] == [*paths, broken]
    for one in found[:-1]:
        assert one.features is not None
        assert one.features.tobytes() == inside[image_id(ready, one.path)]
    assert found[-1].features is None
    assert found[-1].problem is not None
    assert found[-1].problem.reason == Quarantine.TRUNCATED


def test_another_encoder_than_the_models_is_refused(
    ready: Workspace, weights: Path, pictures: Path
) -> None:
    features = features_of(ready)
    other = with_tiny_encoder(ready, weights, fit="crop")
    with pytest.raises(DataError, match="another encoder"):
        next(encode_paths(other, [pictures], feature_set=features.record))


def test_a_missing_weights_file_is_an_error_not_a_crash(ready: Workspace, tmp_path: Path) -> None:
    with pytest.raises(LearnError, match="does not exist"):
        encode(with_tiny_encoder(ready, tmp_path / "absent.safetensors"))


def test_a_weights_file_is_looked_for_from_the_workspace(ready: Workspace, weights: Path) -> None:
    shutil.copy(weights, ready.root / "own.safetensors")
    inside = with_tiny_encoder(ready, Path("own.safetensors"))
    assert encode(inside).encoded == 30
    assert encode(ready).encoded == 0


def test_queues_use_the_default_encoder_where_networks_are_trained(workspace: Workspace) -> None:
    """Model, weights and code of the settings are those of the network."""
    classifier = ClassifierSettings(
        kind="finetune", model="my_network:build", weights="scratch", image_size=64, fit="crop"
    )
    settings = workspace.settings.model_copy(update={"classifier": classifier})
    networks = replace(workspace, settings=settings)
    named = encoder_settings(networks.settings, networks.root)
    assert named == ClassifierSettings(image_size=64, fit="crop")
    assert find_encoded(networks) is None
    with open_workspace_encoder(networks) as encoder:
        assert (encoder.identity.model, encoder.identity.image_size) == (DEFAULT_MODEL, 64)


def test_the_default_encoder_works_out_of_the_box_and_starts_quickly_again(
    workspace: Workspace, pictures: Path
) -> None:
    pytest.importorskip("openvino")
    add_folder(workspace, pictures)
    report = encode(workspace)
    assert (report.model, report.image_size) == ("tf_efficientnet_lite0", 96)
    assert (report.encoded, report.dimension) == (30, 29)
    first = by_image(workspace, ready_features(workspace))
    shutil.rmtree(workspace.folder("features"))
    script = (
        "import sys; from pathlib import Path\n"
        "from curator.workspace import open_workspace\n"
        "from curator.encoding.encode import encode\n"
        "print(encode(open_workspace(Path(sys.argv[1]))).encoded, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(workspace.root)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("30 False\n", "")
    assert by_image(workspace, ready_features(workspace)) == first
