"""`add`, from real folders into a real catalogue."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.base.progress import Stage
from curator.base.values import Decision
from curator.base.vocabulary import CurrentLabel, Label, LocationState, Method, Origin, Quarantine
from curator.catalogue.counts import counts
from curator.catalogue.files import preview_places, walk_locations
from curator.catalogue.groups import groups_of
from curator.catalogue.images import find_by_paths, image_details
from curator.catalogue.labels import current, history, record_decisions
from curator.catalogue.leases import lease
from curator.catalogue.sources import list_sources
from curator.errors import BusyError, DataError, UsageError
from curator.intake import inspection
from curator.intake.add import AddReport, add
from curator.review.queues import queue
from curator.sources.local import count_files
from curator.storage.previews import PreviewStore
from curator.workspace import STATE_FOLDER, Workspace
from tests.imaging.pictures import encode, photograph, png_claiming
from tests.intake.conftest import Save
from tests.intake.snapshots import catalogued

pytestmark = pytest.mark.slow


def image_at(workspace: Workspace, path: Path) -> int:
    key = os.fsencode(path)
    return find_by_paths(workspace.catalogue, [key])[key]


def standing(workspace: Workspace, path: Path) -> CurrentLabel | None:
    image_id = image_at(workspace, path)
    return current(workspace.catalogue, [image_id])[image_id].standing


def outcome(report: AddReport) -> dict[str, int]:
    names = ("files", "added", "known", "duplicates", "changed", "missing")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def test_a_folder_of_everything(workspace: Workspace, pictures: Path, save: Save) -> None:
    save("a.jpg", 1)
    save("deep/er/b.png", 2)
    (pictures / "copy.jpg").write_bytes((pictures / "a.jpg").read_bytes())
    (pictures / "empty.jpg").touch()
    (pictures / "notes.txt").write_text("labels\n")
    (pictures / "cut.jpg").write_bytes((pictures / "a.jpg").read_bytes()[:-500])
    (pictures / "bomb.png").write_bytes(png_claiming(26_000, 24_000))
    (pictures / ".hidden.jpg").write_bytes((pictures / "a.jpg").read_bytes())
    (pictures / "broken").symlink_to(pictures / "nothing")
    (pictures / "up").symlink_to(pictures)
    os.mkfifo(pictures / "pipe")
    report = add(workspace, [pictures])
    assert outcome(report) == {"files": 8, "added": 2, "duplicates": 1}
    assert report.quarantined == {
        Quarantine.EMPTY: 1, Quarantine.TRUNCATED: 1,
        Quarantine.TOO_LARGE: 1, Quarantine.UNREADABLE: 1,
    }  # fmt: skip
    assert report.other_files == 1
    assert report.ignored == {"hidden": 1, "loop": 1, "special": 1}
    assert report.sources == ("pictures",)
    numbers = counts(workspace.catalogue)
    assert (numbers.usable, numbers.duplicates) == (2, 1)


def test_ids_follow_the_byte_order_of_the_paths(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    names = [b"b.png", b"a/z.png", b"a.png", b"caf\xe9.png", b"new\nline.png", b"quo\"te's.png"]
    for seed, name in enumerate(names):
        save(name, seed)
    add(workspace, [pictures])
    ids = [image_at(workspace, pictures / os.fsdecode(name)) for name in sorted(names)]
    assert ids == list(range(1, 7))


def test_every_image_has_a_preview_that_can_be_read(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    for seed in range(5):
        save(f"{seed}.jpg", seed)
    add(workspace, [pictures])
    places = preview_places(workspace.catalogue, range(1, 6))
    with PreviewStore(workspace.folder("previews")) as store:
        assert all((store.read(place) or b"").startswith(b"\xff\xd8") for place in places.values())
    assert len(places) == 5


def test_the_same_bytes_have_one_preview(workspace: Workspace, pictures: Path, save: Save) -> None:
    first = save("a.jpg", 1)
    add(workspace, [pictures])
    size = sum(path.stat().st_size for path in workspace.folder("previews").iterdir())
    (pictures / "b.jpg").write_bytes(first.read_bytes())
    first.write_bytes(first.read_bytes())
    add(workspace, [pictures], rehash=True)
    assert sum(path.stat().st_size for path in workspace.folder("previews").iterdir()) == size


def test_what_is_no_image_is_counted_apart_and_all_numbers_add_up(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    for seed in range(3):
        save(f"{seed}.jpg", seed)
    (pictures / "copy.jpg").write_bytes((pictures / "0.jpg").read_bytes())
    (pictures / "empty.jpg").touch()
    for number in range(20):
        (pictures / f"{number}.txt").write_text(f"notes {number % 15}\n")
        (pictures / f"{number}.mp3").write_bytes(b"ID3\3" + bytes([number]) * 90_000)

    def check(report: AddReport, images: int, files: int, others: int) -> None:
        quarantined = sum(report.quarantined.values())
        seen = report.added + report.known + report.duplicates + quarantined + report.other_files
        assert seen == report.files
        assert Quarantine.NOT_AN_IMAGE not in report.quarantined
        numbers = counts(workspace.catalogue)
        assert numbers.other_files == others
        assert numbers.images == numbers.usable + sum(numbers.quarantined.values()) == images
        assert (numbers.locations, numbers.duplicates, numbers.gone) == (files, 1, 0)
        assert Quarantine.NOT_AN_IMAGE not in numbers.quarantined

    check(add(workspace, [pictures]), images=4, files=5, others=40)
    check(add(workspace, [pictures]), images=4, files=5, others=40)
    # A text that becomes an image, and files that go.
    (pictures / "0.txt").write_bytes(encode(photograph(seed=9), "JPEG"))
    for number in range(1, 9):
        (pictures / f"{number}.mp3").unlink()
    (pictures / "2.jpg").unlink()
    report = add(workspace, [pictures])
    assert counts(workspace.catalogue).missing == 1
    check(report, images=5, files=6, others=39)
    rows = queue(workspace, "quarantine", size=5)
    assert [row.quarantine for row in rows] == ["empty", *["not-an-image"] * 4]


@pytest.mark.parametrize("target", ["/dev/null", "/dev/zero", "/dev/tty", "/dev/full", "pipe"])
def test_a_link_to_no_file_is_passed_over_and_counted(
    workspace: Workspace, pictures: Path, save: Save, tmp_path: Path, target: str
) -> None:
    save("a.jpg")
    os.mkfifo(tmp_path / "pipe")
    (pictures / "link.jpg").symlink_to(target if target[0] == "/" else tmp_path / target)
    report = add(workspace, [pictures])
    assert (report.files, report.added, report.ignored) == (1, 1, {"special": 1})


def test_the_folders_of_the_kernel_are_not_entered_by_any_way(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("a.jpg")
    # Small folders, should they be entered after all.
    (pictures / "system").symlink_to("/proc/self/attr")
    (pictures / "sys").symlink_to("/sys/fs")
    report = add(workspace, [pictures])
    assert (report.files, report.added, report.ignored) == (1, 1, {"kernel": 2})
    with pytest.raises(DataError, match="1 folder of the kernel, which is not entered"):
        add(workspace, [Path("/proc/self/attr")])
    assert count_files(b"/proc/self/attr") == (0, 0)


def test_a_file_of_the_kernel_does_not_end_the_run(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a.jpg")
    (pictures / "environ").symlink_to("/proc/self/environ")
    (pictures / "memory").symlink_to("/proc/self/mem")
    assert add(workspace, [pictures]).quarantined == {
        Quarantine.CHANGING: 1, Quarantine.UNREADABLE: 1,
    }  # fmt: skip

    def nothing_yet(descriptor: int, most: int, offset: int) -> bytes:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    # What /proc/kmsg does; not everybody may open that one.
    monkeypatch.setattr(inspection.os, "pread", nothing_yet)
    with pytest.raises(DataError, match="3 unreadable"):
        add(workspace, [pictures], rehash=True)


def test_a_second_run_reads_nothing(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(4):
        save(f"{seed}.jpg", seed)
    (pictures / "notes.txt").write_text("x")
    add(workspace, [pictures])
    before = catalogued(workspace)
    monkeypatch.setattr(inspection, "_read_at_rest", pytest.fail)
    report = add(workspace, [pictures])
    assert outcome(report) == {"files": 5, "known": 4}
    assert (report.quarantined, report.other_files) == ({}, 1)
    assert catalogued(workspace) == before


def test_a_changed_file_is_a_new_image_and_said_so(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    path = save("a.jpg", 1)
    save("b.jpg", 2)
    add(workspace, [pictures])
    old = image_at(workspace, path)
    save("a.jpg", 3)
    report = add(workspace, [pictures])
    assert outcome(report) == {"files": 2, "added": 1, "known": 1, "changed": 1}
    assert image_at(workspace, path) != old
    assert [place.state for place in image_details(workspace.catalogue, [old])[old].locations] == [
        LocationState.CHANGED
    ]


def test_only_rehash_sees_a_change_that_kept_size_and_time(
    workspace: Workspace, pictures: Path
) -> None:
    path = pictures / "a.bmp"
    path.write_bytes(encode(photograph(seed=1), "BMP"))
    status = path.stat()
    add(workspace, [pictures])
    path.write_bytes(encode(photograph(seed=2), "BMP"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert add(workspace, [pictures]).changed == 0
    assert add(workspace, [pictures], rehash=True).changed == 1


def test_a_touched_file_is_read_again_and_known(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    path = save("a.jpg", 1)
    add(workspace, [pictures])
    os.utime(path, ns=(1, 1))
    assert outcome(add(workspace, [pictures])) == {"files": 1, "known": 1}
    assert next(walk_locations(workspace.catalogue, 1)).mtime_ns == 1


def test_files_that_are_gone_are_missing_and_may_come_back(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("keep.jpg", 1)
    path = save("sub/gone.jpg", 2)
    add(workspace, [pictures])
    away = path.rename(pictures.parent / "away.jpg")
    assert add(workspace, [pictures]).missing == 1
    assert add(workspace, [pictures]).missing == 0
    states = {file.path: file.state for file in walk_locations(workspace.catalogue, 1)}
    assert states == {b"keep.jpg": LocationState.PRESENT, b"sub/gone.jpg": LocationState.MISSING}
    away.rename(path)
    assert outcome(add(workspace, [pictures])) == {"files": 2, "known": 2}
    assert {file.state for file in walk_locations(workspace.catalogue, 1)} == {
        LocationState.PRESENT
    }


def test_only_what_is_under_the_path_can_be_missing(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    gone = save("a/1.jpg", 1)
    save("b/2.jpg", 2)
    save("b0.jpg", 3)
    add(workspace, [pictures])
    gone.unlink()
    assert add(workspace, [pictures / "b"]).missing == 0
    assert add(workspace, [pictures]).missing == 1


def test_what_cannot_be_looked_at_does_not_count_as_gone(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a/1.jpg", 1)
    save("locked/deep/2.jpg", 2)
    add(workspace, [pictures])
    scandir = os.scandir

    def refuse(path: bytes) -> object:
        # Rights do not stop the superuser, as whom tests may run; a failing disk would.
        if path.endswith(b"locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("curator.sources.local.os.scandir", refuse)
    report = add(workspace, [pictures])
    assert report.missing == 0
    assert report.ignored == {"unreadable-folder": 1}
    assert report.unreadable_folders == [os.fsencode(pictures / "locked")]


def test_a_file_that_could_not_be_read_is_tried_again(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a.jpg", 1)
    save("b.jpg", 2)
    read = inspection._read_at_rest

    def refuse(path: bytes, *limits: object) -> object:
        if path.endswith(b"b.jpg"):
            raise PermissionError(13, "Permission denied")
        return read(path, *limits)

    with monkeypatch.context() as patch:
        patch.setattr(inspection, "_read_at_rest", refuse)
        assert add(workspace, [pictures]).quarantined == {Quarantine.UNREADABLE: 1}
    report = add(workspace, [pictures])
    assert (outcome(report), report.quarantined) == ({"files": 2, "added": 1, "known": 1}, {})


def test_a_file_that_vanishes_on_the_way_is_counted_and_then_missing(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a.jpg", 1)
    path = save("b.jpg", 2)
    inspect = inspection._read_at_rest

    def remove_first(name: bytes, *limits: object) -> object:
        if name.endswith(b"b.jpg"):
            path.unlink(missing_ok=True)
        return inspect(name, *limits)

    monkeypatch.setattr(inspection, "_read_at_rest", remove_first)
    assert add(workspace, [pictures]).quarantined == {Quarantine.VANISHED: 1}
    assert add(workspace, [pictures]).missing == 1


def test_nothing_readable_is_a_failure(workspace: Workspace, pictures: Path) -> None:
    with pytest.raises(DataError, match="There are no files in"):
        add(workspace, [pictures])
    (pictures / "a.txt").write_text("x")
    (pictures / "b.jpg").touch()
    with pytest.raises(DataError, match=r"No usable image was found .* 1 empty"):
        add(workspace, [pictures])
    with pytest.raises(DataError, match="There is nothing at"):
        add(workspace, [pictures / "nowhere"])


def test_a_wrong_folder_leaves_no_source_behind(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("whole/a.png", 1)
    add(workspace, [pictures / "whole"])
    (pictures / "hollow").mkdir()
    with pytest.raises(DataError, match="There are no files in"):
        add(workspace, [pictures / "hollow"])
    assert [source.name for source in list_sources(workspace.catalogue)] == ["whole"]


def test_an_empty_mount_point_loses_nothing(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    path = save("a.jpg", 1)
    add(workspace, [pictures])
    path.unlink()
    with pytest.raises(DataError, match="mounted"):
        add(workspace, [pictures])
    assert next(walk_locations(workspace.catalogue, 1)).state is LocationState.PRESENT


def test_the_workspace_is_never_walked(workspace: Workspace, save: Save, pictures: Path) -> None:
    save("a.jpg", 1)
    state = workspace.root / STATE_FOLDER
    (state / "stray.jpg").write_bytes((pictures / "a.jpg").read_bytes())
    (pictures / "link").symlink_to(state)
    pictures.rename(workspace.root / "pictures")
    report = add(workspace, [workspace.root])
    assert (report.files, report.added) == (1, 1)
    assert not report.quarantined, "curator.toml is the workspace's own"
    with pytest.raises(DataError, match="belongs to the workspace"):
        add(workspace, [state])


# Sources


def test_a_path_under_a_source_uses_that_source(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("a/1.jpg", 1)
    save("b/2.jpg", 2)
    add(workspace, [pictures], licence="CC0", attribution="Jo")
    save("a/3.jpg", 3)
    report = add(workspace, [pictures / "a", pictures / "a/3.jpg"])
    assert report.sources == ("pictures",)
    assert outcome(report) == {"files": 2, "added": 1, "known": 1}
    (source,) = list_sources(workspace.catalogue)
    assert (source.root, source.licence) == (os.fsencode(pictures), "CC0")
    with pytest.raises(DataError, match="lies in the source `pictures`, not in `other`"):
        add(workspace, [pictures / "a"], source="other")


def test_a_folder_that_holds_a_source_leaves_its_files_to_it(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("all/inner/1.jpg", 1)
    add(workspace, [pictures / "all/inner"])
    save("all/2.jpg", 2)
    save("all/inner/3.jpg", 3)
    save("all/zz/4.jpg", 4)
    report = add(workspace, [pictures / "all"], label="good")
    assert outcome(report) == {"files": 4, "added": 3, "known": 1}
    assert report.sources == ("all", "inner")
    by_source = {
        source.name: [file.path for file in walk_locations(workspace.catalogue, source.source_id)]
        for source in list_sources(workspace.catalogue)
    }
    assert by_source == {"inner": [b"1.jpg", b"3.jpg"], "all": [b"2.jpg", b"zz/4.jpg"]}
    assert report.labelled == {Label.POSITIVE: 4}
    assert outcome(add(workspace, [pictures / "all"])) == {"files": 4, "known": 4}


def test_overlapping_paths_in_one_go_are_walked_once(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("a/1.jpg", 1)
    save("a/b/2.jpg", 2)
    report = add(
        workspace, [pictures / "a", pictures / "a/b", pictures / "a", pictures / "a/1.jpg"]
    )
    assert outcome(report) == {"files": 2, "added": 2}
    assert len(list_sources(workspace.catalogue)) == 1


def test_a_link_to_a_source_is_that_source(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("1.jpg", 1)
    add(workspace, [pictures])
    (pictures.parent / "alias").symlink_to(pictures)
    report = add(workspace, [pictures.parent / "alias"])
    assert (report.sources, report.known) == (("pictures",), 1)


def test_names_of_sources_do_not_collide(workspace: Workspace, pictures: Path, save: Save) -> None:
    save("x/faces/1.jpg", 1)
    save("y/faces/2.jpg", 2)
    report = add(workspace, [pictures / "x/faces", pictures / "y/faces"])
    assert report.sources == ("faces", "faces-2")


def test_several_paths_can_be_one_named_source(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("x/1.jpg", 1)
    save("y/2.jpg", 2)
    save("z/3.jpg", 3)
    report = add(workspace, [pictures / "x", pictures / "y/2.jpg"], source="web")
    assert (report.sources, report.added) == (("web",), 2)
    assert list_sources(workspace.catalogue)[0].root == os.fsencode(pictures)


# Labels


def test_everything_under_a_path_becomes_seeds_also_what_was_known(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("faces/1.jpg", 1)
    save("faces/2.jpg", 2)
    (pictures / "faces/broken.jpg").write_bytes(b"\xff\xd8\xff")
    add(workspace, [pictures])
    save("faces/3.jpg", 3)
    save("other.jpg", 4)
    report = add(workspace, [pictures / "faces"], label="bad", actor="jo")
    assert report.labelled == {Label.NEGATIVE: 3}
    labels = current(workspace.catalogue, [1, 2, 3, 4])
    assert {labels[image].standing for image in (1, 2)} == {CurrentLabel.NEGATIVE}
    assert {labels[image].origin for image in (1, 2)} == {Origin.SEED}
    again = add(workspace, [pictures / "faces"], label="bad")
    assert (again.labelled, again.conflicts) == ({}, 0)
    assert counts(workspace.catalogue).labels == {CurrentLabel.NEGATIVE: {Origin.SEED: 3}}


def test_subfolders_named_as_the_classes(workspace: Workspace, pictures: Path, save: Save) -> None:
    save("good/1.jpg", 1)
    save("good/deep/2.jpg", 2)
    save("bad/3.jpg", 3)
    save("rest/4.jpg", 4)
    report = add(workspace, [pictures], subfolders_are_classes=True)
    assert report.labelled == {Label.NEGATIVE: 1, Label.POSITIVE: 2}
    assert report.added == 4
    assert standing(workspace, pictures / "rest/4.jpg") is None
    assert standing(workspace, pictures / "good/deep/2.jpg") is CurrentLabel.POSITIVE


def test_the_same_bytes_in_both_folders_are_a_conflict(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    save("good/1.jpg", 1)
    save("bad/same.jpg", 1)
    save("bad/2.jpg", 2)
    report = add(workspace, [pictures], subfolders_are_classes=True)
    assert report.conflicts == 1
    assert standing(workspace, pictures / "good/1.jpg") is CurrentLabel.CONFLICT
    again = add(workspace, [pictures], subfolders_are_classes=True)
    assert (again.labelled, standing(workspace, pictures / "good/1.jpg")) == (
        {},
        CurrentLabel.CONFLICT,
    )


def test_a_folder_does_not_overrule_what_a_person_decided(
    workspace: Workspace, pictures: Path, save: Save
) -> None:
    path = save("1.jpg", 1)
    save("2.jpg", 2)
    add(workspace, [pictures], label="good")
    decision = Decision(
        image_id=image_at(workspace, path),
        label=Label.NEGATIVE,
        origin=Origin.REVIEW,
        method=Method.SINGLE,
    )
    record_decisions(workspace.catalogue, [decision], actor="jo")
    report = add(workspace, [pictures], label="good")
    assert (report.labels_kept, report.labelled) == (1, {})
    assert standing(workspace, path) is CurrentLabel.NEGATIVE


def test_label_events_follow_the_paths_whatever_was_known(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(12):
        save(f"{seed:02d}.png", seed, (20, 20))
    for known in (1, 2, 5, 8, 11):
        add(workspace, [pictures / f"{known:02d}.png"])
    monkeypatch.setattr("curator.intake.add.CHUNK_FILES", 2)
    add(workspace, [pictures], label="good")
    order = {}
    for number in range(12):
        (event,) = history(workspace.catalogue, image_at(workspace, pictures / f"{number:02d}.png"))
        order[event.event_id] = number
    assert [order[event_id] for event_id in sorted(order)] == list(range(12))


def test_wrong_words_for_labels(workspace: Workspace, pictures: Path, save: Save) -> None:
    save("1.jpg", 1)
    with pytest.raises(UsageError, match="`fine` is not one of the two classes"):
        add(workspace, [pictures], label="fine")
    with pytest.raises(UsageError, match="exclude each other"):
        add(workspace, [pictures], label="good", subfolders_are_classes=True)
    with pytest.raises(DataError, match="has no folder `good` or `bad`"):
        add(workspace, [pictures], subfolders_are_classes=True)
    assert counts(workspace.catalogue).images == 0


# Near-duplicates


def test_near_duplicates_are_grouped_whatever_the_order(
    workspace: Workspace, pictures: Path
) -> None:
    for seed in range(3):
        picture = photograph(300, 200, seed)
        (pictures / f"{seed}.png").write_bytes(encode(picture, "PNG"))
        (pictures / f"{seed}-again.jpg").write_bytes(encode(picture, "JPEG", quality=70))
        small = picture.resize((150, 100), Image.Resampling.LANCZOS)
        (pictures / f"{seed}-small.jpg").write_bytes(encode(small, "JPEG", quality=90))
    for path in sorted(pictures.iterdir(), reverse=True)[:4]:
        add(workspace, [path])
    report = add(workspace, [pictures])
    assert (report.near_duplicate_groups, report.near_duplicate_images) == (3, 9)
    mates = {
        frozenset(
            image_at(workspace, pictures / f"{seed}{kind}")
            for kind in (".png", "-again.jpg", "-small.jpg")
        )
        for seed in range(3)
    }
    groups: dict[str, set[int]] = {}
    for image_id, found in groups_of(workspace.catalogue, range(1, 10)).items():
        groups.setdefault(found[0].name, set()).add(image_id)
    assert {frozenset(group) for group in groups.values()} == mates


# Promises


def test_source_files_are_never_written(workspace: Workspace, pictures: Path, save: Save) -> None:
    for seed in range(6):
        save(f"good/{seed}.jpg", seed)
    (pictures / "cut.png").write_bytes(encode(photograph(), "PNG")[:-30])

    def digests() -> dict[str, tuple[str, int, int]]:
        return {
            str(path): (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
                path.stat().st_mtime_ns,
                path.stat().st_mode,
            )
            for path in sorted([pictures, *pictures.rglob("*")])
        }

    for path in pictures.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    pictures.chmod(0o555)
    before = digests()
    try:
        add(workspace, [pictures], label="good")
        add(workspace, [pictures], rehash=True)
        assert digests() == before
    finally:
        pictures.chmod(0o755)
        for path in pictures.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_only_one_add_at_a_time(workspace: Workspace, pictures: Path, save: Save) -> None:
    save("1.jpg", 1)
    with lease(workspace.catalogue, "add"), pytest.raises(BusyError):
        add(workspace, [pictures])


class Heard:
    """A listener that remembers, and may ask questions while `add` runs."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0
        self.expected: list[int] = []
        self.work = self.expected_work = 0.0

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Stage]:
        yield self

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, count: int = 1, work: float = 0.0) -> None:
        self.done += count
        self.work += work

    def expect(self, total: int, work: float = 0.0) -> None:
        self.expected.append(total)
        self.expected_work = work


def test_an_estimate_is_said_early_and_chunks_can_be_reviewed_at_once(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(30):
        save(f"{seed:02d}.png", seed, (24, 24))
    monkeypatch.setattr("curator.intake.add.CHUNK_FILES", 10)
    seen: list[int] = []

    class Curious(Heard):
        def note(self, text: str) -> None:
            seen.append(counts(workspace.catalogue).usable)
            super().note(text)

    heard = Curious()
    add(workspace, [pictures], progress=heard)
    assert heard.expected[0] == 30
    assert len(heard.notes) == 1
    assert "more files: about" in heard.notes[0]
    assert seen == [10], "the first chunk is there for others while add runs"


def test_the_time_left_follows_from_the_bytes_and_not_from_the_number_of_files(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The small files come first: half of the files are a tenth of the work."""
    for seed in range(10):
        save(f"a{seed}.png", seed, (24, 24))
        noise = np.random.default_rng(seed).integers(0, 256, (700, 700, 3), np.uint8)
        Image.fromarray(noise).save(pictures / f"b{seed}.png")
    monkeypatch.setattr("curator.intake.add.CHUNK_FILES", 10)
    monkeypatch.setattr("curator.intake.add.CHUNK_SECONDS", 1_000)
    shares: list[float] = []

    class Watching(Heard):
        def expect(self, total: int, work: float = 0.0) -> None:
            super().expect(total, work)
            shares.append(self.work / work)

    heard = Watching()
    add(workspace, [pictures], progress=heard)
    assert heard.expected == [20]
    assert shares[0] < 0.2
    assert heard.work == heard.expected_work, "all of the work is done at the end"
    again = Watching()
    add(workspace, [pictures], rehash=True, progress=again)
    assert again.work == again.expected_work == heard.work
    save("c.png", 99, (24, 24))
    more = Heard()
    add(workspace, [pictures], progress=more)
    assert more.work < heard.work / 5, "files that are known cost nothing"


def test_one_slow_first_file_is_no_sample(
    workspace: Workspace, pictures: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(30):
        save(f"{seed:02d}.png", seed, (24, 24))
    monkeypatch.setattr("curator.intake.add.CHUNK_FILES", 4)
    heard = Heard()
    add(workspace, [pictures], progress=heard)
    (said,) = heard.notes
    assert said.startswith("18 more files"), "after three chunks, not after the first"


def test_memory_does_not_grow_with_the_number_of_files(
    workspace: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more files are inspected ahead than a few chunks hold."""
    for number in range(160):
        pixels = np.full((6, 6, 3), number % 256, np.uint8)
        pixels[0, 0] = (number // 256, number % 7, 3)
        Image.fromarray(pixels).save(pictures / f"{number:03d}.png")
    monkeypatch.setattr("curator.intake.add.CHUNK_FILES", 20)
    ahead: list[int] = []
    inspect = inspection.inspect_file
    inspected = 0

    def count(*arguments: object, **options: object) -> object:
        nonlocal inspected
        inspected += 1
        ahead.append(inspected - counts(workspace.catalogue).locations)
        return inspect(*arguments, **options)

    monkeypatch.setattr("curator.intake.add.inspect_file", count)
    add(workspace, [pictures])
    assert inspected == 160
    assert max(ahead) < 100
