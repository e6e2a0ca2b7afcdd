"""Folders with images: whole or recognisably not, inside their destination, over nobody's file."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from curator.audits.certificate import CertifiedImages, ExportableLabels
from curator.base.vocabulary import Label
from curator.errors import BusyError, StorageError, UsageError
from curator.export.filters import Filters
from curator.workspace import Workspace, create_workspace
from tests.support.command import run_curator, start_curator
from tests.support.disk import files_no_larger_than, locked_folder
from tests.support.exported import export
from tests.support.filled import decide, fill, promote
from tests.support.needs import skip_unavoidably

pytestmark = pytest.mark.slow

SIZE = 100
"""What `fill` says of every file, so that shards find the size that they expect."""

NAMES = ["a/x.jpg", "b/x.jpg", "b/y.jpg", "c/X.JPG", "z.jpg"]


def write_files(root: Path, names: list[bytes | str]) -> dict[bytes | str, bytes]:
    """Files whose content begins with their name; name → content."""
    contents = {name: os.fsencode(name)[:SIZE].ljust(SIZE, b"\0") for name in names}
    for name, content in contents.items():
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return contents


def stock(workspace: Workspace, root: Path, names: list[bytes | str]) -> dict[str, int]:
    """Catalogue such files; the last one is negative, the others positive."""
    ids = fill(workspace, root, names, contents=write_files(root, names))
    *good, bad = ids.values()
    decide(workspace, good, Label.POSITIVE)
    decide(workspace, [bad], Label.NEGATIVE)
    return ids


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mounted)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        skip_unavoidably("mounting a file system takes the rights of root")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


@pytest.fixture
def photos(workspace: Workspace, tmp_path: Path) -> Path:
    stock(workspace, tmp_path / "photos", list(NAMES))
    return tmp_path / "photos"


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder and what is in it."""
    found = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def pictures(folder: Path) -> set[str]:
    return {name for name in tree(folder) if name.lower().endswith(".jpg")}


def paths(folder: Path) -> list[str]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return [row["path"] for row in csv.DictReader(stream, strict=True)]


class Interrupted:
    """A listener that ends the work after `files` images, as Ctrl-C would."""

    def __init__(self, files: int) -> None:
        self.left = files
        self.notes: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Any]:
        self._counts = name == "files"
        yield self

    def advance(self, count: int = 1) -> None:
        if self._counts:
            self.left -= count
            if self.left < 0:
                raise KeyboardInterrupt

    def expect(self, total: int) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


NEVER = 10**9

FORMATS: Mapping[str, Mapping[str, Any]] = {
    "imagefolder": {"files": "copy"},
    "huggingface": {"files": "hardlink"},
    "webdataset": {"shard_bytes": 100_000},
    "croissant": {"files": "symlink"},
}
EACH_FORMAT = pytest.mark.parametrize(
    "format",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name != "imagefolder" else [])
        for name in FORMATS
    ],
)


def test_images_that_share_a_name_are_told_apart(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    report = export(workspace, tmp_path / "out", format="imagefolder")
    out = tmp_path / "out"
    found = pictures(out)
    assert len(found) == report.rows == 5
    assert {"bad/z.jpg", "good/y.jpg"} <= found
    for original in ("a/x.jpg", "b/x.jpg", "c/X.JPG"):
        content = (photos / original).read_bytes()
        stem = Path(original).stem
        name = f"good/{stem}-{hashlib.sha256(content).hexdigest()[:12]}.jpg"
        assert (out / name).read_bytes() == content
    assert paths(out) == sorted(found)


def test_a_name_that_looks_told_apart_meets_no_other(workspace: Workspace, tmp_path: Path) -> None:
    first = b"a/x.jpg".ljust(SIZE, b"\0")
    sly = f"x-{hashlib.sha256(first).hexdigest()[:12]}.jpg"
    stock(workspace, tmp_path / "photos", ["a/x.jpg", "b/x.jpg", sly, "z.jpg"])
    export(workspace, tmp_path / "out", format="imagefolder")
    assert len(pictures(tmp_path / "out")) == 4
    assert (tmp_path / "out" / "good" / sly).read_bytes() == first


HOSTILE: list[bytes | str] = [
    "..jpg", "a/...jpg", "a/..\\..\\up.jpg", ".hidden.jpg", "-rf.jpg", "con.jpg", "a\nb.jpg",
    'say "x", y.jpg', "tab\there.jpg", b"caf\xe9.jpg", b"\xff\xfe.jpg", "%2e%2e%2f.jpg",
    "trailing. ", "n" * 240 + ".jpg", "日本.jpg", "e\u0301.jpg", "\u00e9.jpg", "*?.jpg", "last.jpg",
]  # fmt: skip


@EACH_FORMAT
def test_hostile_names_stay_inside_and_come_back(
    workspace: Workspace, tmp_path: Path, format: str
) -> None:
    stock(workspace, tmp_path / "photos", HOSTILE)
    before = tree(tmp_path / "photos")
    (tmp_path / "to").mkdir()
    report = export(workspace, tmp_path / "to" / "out", format=format)
    assert report.rows == len(HOSTILE)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["out"]
    assert tree(tmp_path / "photos") == before
    out = tmp_path / "to" / "out"
    for path in paths(out):
        assert path == os.path.normpath(path)
        assert not path.startswith(("/", "..", "."))
        assert path.isprintable()
        for part in path.split("/"):
            assert len(os.fsencode(part)) < 200
            assert not set(part) & set('\\<>:"|?*')
            assert not part.startswith((".", "-"))
            assert not part.endswith((".", " "))
    if format in ("imagefolder", "croissant"):
        digests = {hashlib.sha256((out / path).read_bytes()).hexdigest() for path in paths(out)}
        assert len(digests) == len(HOSTILE)
        folded = {path.casefold() for path in paths(out)}
        assert len(folded) == len(HOSTILE), "they would meet on a disk that is blind to case"


def test_hostile_class_names_stay_inside(tmp_path: Path) -> None:
    made = create_workspace(tmp_path / "ws", positive="../../evil", negative="..", recipe=None)
    stock(made, tmp_path / "photos", list(NAMES))
    (tmp_path / "to").mkdir()
    export(made, tmp_path / "to" / "out", format="imagefolder")
    made.catalogue.close()
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["out"]
    folders = {path.name for path in (tmp_path / "to" / "out").iterdir() if path.is_dir()}
    assert len(folders) == 2
    assert not any("/" in name or name.startswith(".") for name in folders)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "way",
    ["hardlink", *(pytest.param(w, marks=pytest.mark.slow) for w in ("copy", "symlink", "auto"))],
)
def test_ways_to_bring_files(workspace: Workspace, photos: Path, tmp_path: Path, way: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    report = export(workspace, tmp_path / "out", format="imagefolder", files=way)
    there, source = tmp_path / "out" / "bad" / "z.jpg", photos / "z.jpg"
    assert there.read_bytes() == source.read_bytes()
    assert there.is_symlink() == (way == "symlink")
    if way != "auto":
        assert (there.lstat().st_ino == source.stat().st_ino) == (way == "hardlink")
        assert report.placed == {way: 5}
    else:
        assert sum(report.placed.values()) == 5
        assert "hardlink" not in report.placed
        assert there.lstat().st_ino != source.stat().st_ino
    if way == "copy":
        there.write_bytes(b"changed")
        assert source.read_bytes() != b"changed"
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before


def test_a_way_that_does_not_work_here_is_said(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    try:
        export(workspace, tmp_path / "out", format="imagefolder", files="reflink")
    except StorageError as error:
        assert "as reflinks" in error.problem
        assert not (tmp_path / "out").exists()
    else:
        assert (tmp_path / "out" / "bad" / "z.jpg").read_bytes() == (photos / "z.jpg").read_bytes()


@pytest.mark.parametrize("format", ["imagefolder", "webdataset"])
def test_files_that_are_gone_or_others_now_are_left_out(
    workspace: Workspace, tmp_path: Path, format: str
) -> None:
    photos = tmp_path / "photos"
    stock(workspace, photos, [*NAMES, "stays.jpg"])
    (photos / "b/y.jpg").unlink()
    (photos / "b/x.jpg").write_bytes(b"another".ljust(SIZE, b"\0"))
    (photos / "c/X.JPG").write_bytes(b"longer".ljust(SIZE + 1, b"\0"))
    (photos / "z.jpg").unlink()
    os.mkfifo(photos / "z.jpg")
    (photos / "a/x.jpg").unlink()
    (photos / "a/x.jpg").symlink_to("/proc/self/mem")  # a file that gives an error for its bytes
    listener = Interrupted(NEVER)
    report = export(workspace, tmp_path / "out", format=format, progress=listener)
    assert report.rows == report.images == len(paths(tmp_path / "out")) == 1
    assert (report.left_out["vanished"], report.left_out["changed"]) == (1, 2)
    assert report.left_out["unreadable"] == 2
    assert any("replaced by another image" in note for note in listener.notes)
    if format == "webdataset":
        import tarfile

        (shard,) = (tmp_path / "out").glob("*.tar")
        with tarfile.open(shard) as opened:
            assert len(opened.getnames()) == 3


def test_a_manifest_checks_files_if_asked(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    (photos / "b/y.jpg").unlink()
    (photos / "b/x.jpg").write_bytes(b"another".ljust(SIZE, b"\0"))
    assert export(workspace, tmp_path / "m.csv").rows == 5
    report = export(workspace, tmp_path / "n.csv", check=True)
    assert report.rows == 3
    assert (report.left_out["vanished"], report.left_out["changed"]) == (1, 1)


@EACH_FORMAT
def test_the_same_catalogue_gives_the_same_folder(
    workspace: Workspace, photos: Path, tmp_path: Path, format: str
) -> None:
    (tmp_path / "again").mkdir()
    first, second = tmp_path / "out", tmp_path / "again" / "out"
    for out in (first, second):
        export(workspace, out, format=format, **FORMATS[format])
    assert tree(first) == tree(second)


@EACH_FORMAT
@pytest.mark.parametrize("after", [0, 1, 3])
def test_interrupted_it_looks_unfinished_and_goes_on(
    workspace: Workspace, tmp_path: Path, format: str, after: int
) -> None:
    names: list[bytes | str] = [f"{number}.jpg" for number in range(5)]
    if format == "webdataset":
        names = [f"{number:03d}.jpg" for number in range(80)]
        after *= 20
    stock(workspace, tmp_path / "photos", names)
    options = {"format": format, **FORMATS[format]}
    (tmp_path / "whole").mkdir()
    export(workspace, tmp_path / "whole" / "out", **options)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export(workspace, out, progress=Interrupted(after), **options)
    assert not out.exists()
    unfinished = tmp_path / "out.unfinished"
    assert (unfinished / ".unfinished.json").is_file()
    assert not (tmp_path / ".out.lock").exists()
    assert not (unfinished / "curator.json").exists()
    finished = {path: path.lstat() for path in unfinished.rglob("*.jpg")}
    finished |= {path: path.lstat() for path in unfinished.glob("*.tar")}
    listener = Interrupted(NEVER)
    report = export(workspace, out, progress=listener, **options)
    assert tree(out) == tree(tmp_path / "whole" / "out")
    assert not unfinished.exists()
    assert any("was interrupted" in note for note in listener.notes)
    assert report.placed.get("kept", 0) >= (0 if format == "webdataset" else after)
    for path, was in finished.items():
        now = (out / path.relative_to(unfinished)).lstat()
        assert (now.st_ino, now.st_mtime_ns) == (was.st_ino, was.st_mtime_ns)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_an_interrupted_folder_for_something_else_is_begun_again(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export(workspace, out, format="imagefolder", progress=Interrupted(4))
    export(workspace, out, format="imagefolder", filters=Filters(labels=["bad"]))
    assert pictures(out) == {"bad/z.jpg"}


def test_half_a_file_from_a_crash_is_not_kept(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export(workspace, out, format="imagefolder", files="copy", progress=Interrupted(4))
    half = tmp_path / "out.unfinished" / "bad" / "z.jpg"
    half.write_bytes(half.read_bytes()[:10])
    export(workspace, out, format="imagefolder", files="copy")
    assert (out / "bad" / "z.jpg").read_bytes() == (photos / "z.jpg").read_bytes()


def test_a_folder_planted_as_a_link_leads_nowhere(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(KeyboardInterrupt):
        export(workspace, out, format="imagefolder", progress=Interrupted(1))
    shutil.rmtree(tmp_path / "out.unfinished" / "bad")
    (tmp_path / "out.unfinished" / "bad").symlink_to(outside)
    with pytest.raises(StorageError, match="is in the way"):
        export(workspace, out, format="imagefolder")
    assert list(outside.iterdir()) == []
    assert not out.exists()


def test_a_file_planted_as_a_link_is_replaced_not_written_through(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine.jpg"
    mine.write_bytes(b"mine")
    with pytest.raises(KeyboardInterrupt):
        export(workspace, out, format="imagefolder", files="copy", progress=Interrupted(1))
    planted = tmp_path / "out.unfinished" / "bad" / "z.jpg"
    planted.unlink()
    planted.symlink_to(mine)
    part = tmp_path / "out.unfinished" / ".manifest.csv.part"
    part.unlink(missing_ok=True)
    part.symlink_to(mine)
    export(workspace, out, format="imagefolder", files="copy")
    assert mine.read_bytes() == b"mine"
    assert not (out / "bad" / "z.jpg").is_symlink()
    assert not (out / "manifest.csv").is_symlink()


def test_what_stands_at_the_destination_stays(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    file, folder, link = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.write_text("mine")
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    link.symlink_to(folder)
    for place, message in (
        (file, "is not a folder"),
        (folder, "not empty"),
        (link, "is not a folder"),
    ):
        with pytest.raises(StorageError, match=message):
            export(workspace, place, format="imagefolder")
    with pytest.raises(StorageError, match="not a folder that an export wrote"):
        export(workspace, folder, format="imagefolder", force=True)
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match="curator did not make it"):
        export(workspace, tmp_path / "out", format="imagefolder")
    assert (tmp_path / "out.unfinished" / "thesis.txt").read_text() == "mine"
    assert (file.read_text(), (folder / "notes.txt").read_text()) == ("mine", "mine")
    with pytest.raises(StorageError, match="does not exist"):
        export(workspace, tmp_path / "no" / "out", format="imagefolder")
    with pytest.raises(UsageError, match="is not a name for a new folder"):
        export(workspace, Path("/"), format="imagefolder")


def test_an_empty_folder_is_filled(workspace: Workspace, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert export(workspace, tmp_path / "out", format="imagefolder").rows == 5


@EACH_FORMAT
def test_replacing_an_export_removes_only_what_it_wrote(
    workspace: Workspace, photos: Path, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    export(workspace, out, format=format, **FORMATS[format])
    first = tree(out)
    export(workspace, out, format=format, force=True, **FORMATS[format])
    assert tree(out) == first
    assert not (tmp_path / "out.replaced").exists()
    (out / "notes.txt").write_text("mine")
    listener = Interrupted(NEVER)
    export(workspace, out, format=format, force=True, progress=listener, **FORMATS[format])
    assert tree(out) == first
    assert tree(tmp_path / "out.replaced") == {"notes.txt": b"mine"}
    assert any("no export wrote" in note for note in listener.notes)
    assert tree(photos).keys() == set(NAMES)


def test_a_manifest_with_paths_that_lead_out_removes_nothing_outside(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine.txt"
    export(workspace, out, format="imagefolder")
    mine.write_text("mine")
    listed = (out / "manifest.csv").read_text().replace("bad/z.jpg", "../mine.txt")
    (out / "manifest.csv").write_text(listed)
    export(workspace, out, format="imagefolder", force=True)
    assert mine.read_text() == "mine"


def test_a_full_disk_leaves_no_folder(workspace: Workspace, tmp_path: Path) -> None:
    big = b"\1" * 200_000
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "big.jpg").write_bytes(big)
    ids = fill(workspace, tmp_path / "photos", ["big.jpg"], contents={"big.jpg": big})
    decide(workspace, list(ids.values()), Label.POSITIVE)
    with files_no_larger_than(100_000), pytest.raises(StorageError, match="cannot be written"):
        export(workspace, tmp_path / "out", format="imagefolder", files="copy")
    assert not (tmp_path / "out").exists()
    assert export(workspace, tmp_path / "out", format="imagefolder", files="copy").rows == 1
    assert (tmp_path / "out" / "good" / "big.jpg").read_bytes() == big


def test_a_folder_that_may_not_be_written(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        export(workspace, locked_folder(tmp_path) / "out", format="imagefolder")


def test_two_processes_do_not_make_one_folder(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    with (tmp_path / ".out.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="Another process"):
            export(workspace, tmp_path / "out", format="imagefolder")
    assert export(workspace, tmp_path / "out", format="imagefolder").rows == 5


def test_one_file_for_an_image_with_several_places(workspace: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    contents = write_files(root, ["x.jpg"])
    shutil.copy(root / "x.jpg", root / "y.jpg")
    ids = fill(
        workspace, root, ["x.jpg", "y.jpg"], contents=contents | {"y.jpg": contents["x.jpg"]}
    )
    decide(workspace, list(ids.values()), Label.POSITIVE)
    report = export(workspace, tmp_path / "out", format="imagefolder")
    assert (report.rows, pictures(tmp_path / "out")) == (1, {"good/x.jpg"})


def test_unlabelled_images_have_a_folder_of_their_own(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    fill(workspace, photos, ["n.jpg"], contents=write_files(photos, ["n.jpg"]))
    filters = Filters(include_unlabelled=True)
    report = export(workspace, tmp_path / "out", format="imagefolder", filters=filters)
    assert report.unlabelled == 1
    assert "unlabelled/n.jpg" in pictures(tmp_path / "out")


def test_a_certificate_is_shown_only_for_exactly_its_images(
    workspace: Workspace, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fill(
        workspace, photos, ["p.jpg", "q.jpg"], contents=write_files(photos, ["p.jpg", "q.jpg"])
    )
    promote(workspace, dict.fromkeys(ids.values(), 0.995))
    promised = CertifiedImages(facts={"bound": 0.01}, image_ids=list(ids.values()))
    fewer = CertifiedImages(facts={"bound": 0.01}, image_ids=[ids["p.jpg"]])

    def shown(name: str, *, certified: CertifiedImages, **options: Any) -> Any:
        monkeypatch.setattr(ExportableLabels, "certified", lambda *_: certified)
        report = export(workspace, tmp_path / name, **options)
        about = json.loads(report.sidecar.read_text())
        assert about["certificate"] == report.certificate
        return report.certificate

    assert shown("a.csv", certified=promised) == {"bound": 0.01}
    assert shown("b.csv", certified=fewer) is None
    assert shown("c.csv", certified=promised, filters=Filters(origins=["promoted"])) is None
    assert shown("d", certified=promised, format="croissant") == {"bound": 0.01}
    assert "0.01" in (tmp_path / "d" / "README.md").read_text()
    stale = CertifiedImages(facts={"bound": 0.01, "reason": "old"}, image_ids=[], stale=True)
    assert shown("f", certified=stale, format="croissant") is not None
    for file in ("README.md", "croissant.json"):
        assert "No bound" in (tmp_path / "f" / file).read_text()
    (photos / "q.jpg").unlink()
    assert shown("e", certified=promised, format="croissant") is None
    assert "No bound" in (tmp_path / "e" / "README.md").read_text()


def test_the_card_shows_attributions_as_text(workspace: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    ids = fill(
        workspace,
        root,
        ["x.jpg"],
        contents=write_files(root, ["x.jpg"]),
        licence="Custom terms | see mail",
        attribution="<script>alert(1)</script>\n# Owned",
    )
    decide(workspace, list(ids.values()), Label.POSITIVE)
    export(workspace, tmp_path / "out", format="huggingface")
    text = (tmp_path / "out" / "README.md").read_text()
    head, body = text.split("---\n", 2)[1:]
    assert "<script>" not in body
    assert "\\<script\\>alert\\(1\\)\\</script\\> \\# Owned" in body
    assert 'license: "other"' in head
    assert '"Custom terms | see mail"' in head
    assert str(tmp_path) not in text


def test_what_folders_do_not_take(workspace: Workspace, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="relative to the folder"):
        export(workspace, tmp_path / "out", format="imagefolder", relative_to=tmp_path)
    with pytest.raises(UsageError, match="too small"):
        export(workspace, tmp_path / "out", format="webdataset", shard_bytes=1_000)
    assert not list(tmp_path.glob("*out*"))


def test_a_part_without_a_class_is_told(workspace: Workspace, photos: Path, tmp_path: Path) -> None:
    listener = Interrupted(NEVER)
    export(workspace, tmp_path / "out", format="imagefolder", divide="50/0/50", progress=listener)
    assert any("has no image of bad" in note for note in listener.notes)


def test_a_folder_says_nothing_about_this_machine(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    export(workspace, tmp_path / "out", format="croissant")
    for name, content in tree(tmp_path / "out").items():
        assert str(tmp_path).encode() not in content, name


def test_an_export_among_the_images_is_told(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    listener = Interrupted(NEVER)
    export(workspace, photos / "out", format="imagefolder", progress=listener)
    assert any("lies in the source photos" in note for note in listener.notes)
    other = Interrupted(NEVER)
    export(workspace, tmp_path / "photos-2", format="imagefolder", progress=other)
    assert other.notes == []


def test_a_destination_whose_name_is_no_text(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / os.fsdecode(b'o"u\xe9\nt')
    assert export(workspace, out, format="croissant").rows == 5
    json.loads((out / "croissant.json").read_text())
    text = os.fsdecode(b'm"\xe9\n.csv')
    assert export(workspace, tmp_path / text).rows == 5


def test_killed_it_goes_on(workspace: Workspace, tmp_path: Path) -> None:
    names: list[bytes | str] = [f"{number:04d}.jpg" for number in range(600)]
    stock(workspace, tmp_path / "photos", names)
    out, unfinished = tmp_path / "out", tmp_path / "out.unfinished"
    command = ("-w", workspace.root, "export", out, "--format", "imagefolder", "--files", "copy")
    process = start_curator(*command)
    while process.poll() is None and len(list(unfinished.glob("good/*.jpg"))) < 20:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert not out.exists(), "it was quicker than the test"
    assert run_curator(*command).code == 0
    assert len(pictures(out)) == 600
    export(workspace, tmp_path / "whole", format="imagefolder")
    assert tree(out) == tree(tmp_path / "whole")
    assert not unfinished.exists()


def test_a_disk_that_is_full_says_so_and_goes_on_when_there_is_room(
    workspace: Workspace, tmp_path: Path, small_disk: Path
) -> None:
    names: list[bytes | str] = [f"{number}.jpg" for number in range(8)]
    root = tmp_path / "photos"
    contents: dict[bytes | str, bytes] = {}
    root.mkdir()
    for name in names:
        contents[name] = str(name).encode() * 30_000
        (root / str(name)).write_bytes(contents[name])
    ids = fill(workspace, root, names, contents=contents)
    decide(workspace, list(ids.values()), Label.POSITIVE)
    (small_disk / "filler").write_bytes(bytes(1_200_000))
    with pytest.raises(StorageError, match="cannot be written: No space left"):
        export(workspace, small_disk / "out", format="imagefolder")
    assert not (small_disk / "out").exists()
    (small_disk / "filler").unlink()
    report = export(workspace, small_disk / "out", format="imagefolder")
    assert report.placed["kept"] > 0
    assert len(pictures(small_disk / "out")) == 8
