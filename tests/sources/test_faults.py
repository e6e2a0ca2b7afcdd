"""Servers that fail, are slow, go away or change: nothing is lost, and nothing looks deleted."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from curator.base.vocabulary import LocationState
from curator.catalogue.files import walk_locations
from curator.catalogue.sources import list_sources
from curator.sources import files
from curator.workspace import open_workspace
from tests.support import encoder
from tests.support.command import curator
from tests.support.images import make_folder
from tests.support.servers import Server


def states(ws: Path) -> dict[bytes, LocationState]:
    with open_workspace(ws).catalogue as catalogue:
        (source,) = list_sources(catalogue)
        return {file.path: file.state for file in walk_locations(catalogue, source.source_id)}


def encode(ws: Path, expect: int = 0) -> str:
    weights = ws.parent / "tiny.safetensors"
    if not weights.exists():
        curator("-w", ws, "config", *encoder.settings(encoder.write_weights(weights)))
    return curator("-q", "-w", ws, "encode", expect=expect).stderr


def add(ws: Path, *arguments: str, expect: int = 0) -> Any:
    done = curator("-q", "-w", ws, "add", *arguments, "--json", expect=expect)
    return done.json() if not expect else done.stderr


@pytest.mark.slow
def test_requests_that_fail_are_repeated(ws: Path, server: Server) -> None:
    server.faults.every = 5
    report = add(ws, server.url)
    # Chance may let all attempts at one file fail: then it is counted, and read the next time.
    failed = sum(report["quarantined"].values())
    assert report["added"] + failed == 20 and failed <= 2 and not report["ignored"]
    server.faults.every = 0
    again = add(ws, server.url)
    assert again["known"] + again["added"] == 20 and not again["quarantined"]


@pytest.mark.slow
def test_a_slow_server_is_waited_for(ws: Path, server: Server) -> None:
    server.faults.seconds = 0.2
    assert add(ws, server.url)["added"] == 20


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_counted_and_read_by_the_next_add(
    ws: Path, web: Server, tmp_path: Path
) -> None:
    file = tmp_path / "web" / "pictures" / "good" / "good-0001.jpg"
    file.chmod(0)
    if os.access(file, os.R_OK):  # root may read it: then a folder in its place cannot be read
        content = file.read_bytes()
        file.unlink()
        file.symlink_to("/proc/self/mem")
    else:
        content = b""
    report = add(ws, web.url)
    assert report["added"] == 19 and sum(report["quarantined"].values()) == 1
    listed = curator("-w", ws, "queue", "quarantine", "--json").stdout
    assert f"{web.url}/good/good-0001.jpg" in listed
    if content:
        file.unlink()
        file.write_bytes(content)
    file.chmod(0o644)
    assert add(ws, web.url)["added"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("requests", [1, 30])
def test_a_server_that_goes_away_ends_add_and_nothing_looks_deleted(
    ws: Path, server: Server, requests: int
) -> None:
    server.faults.gone_after = requests
    error = add(ws, server.url, expect=3)
    assert "no answer" in error or "no connection" in error
    assert "run it again; it continues where it stopped" in error
    server.faults.gone_after = -1
    files._of_scheme.cache_clear()
    report = add(ws, server.url)
    assert report["added"] + report["known"] == 20
    before = states(ws)
    server.faults.gone_after = len(server.faults.paths)
    files._of_scheme.cache_clear()
    add(ws, server.url, expect=3)
    assert states(ws) == before
    assert set(before.values()) == {LocationState.PRESENT}


@pytest.mark.slow
def test_a_server_that_goes_away_ends_encode_which_goes_on_later(ws: Path, server: Server) -> None:
    add(ws, server.url)
    server.faults.gone_after = len(server.faults.paths) + 8
    error = encode(ws, expect=3)
    assert "cannot be read" in error and "run it again" in error
    assert not json.loads(curator("-w", ws, "status", "--json").stdout).get("quarantined")
    server.faults.gone_after = -1
    files._of_scheme.cache_clear()
    encode(ws)
    assert not curator("-w", ws, "verify", "--json").json()["findings"]


@pytest.mark.slow
def test_what_changed_or_went_is_noticed(ws: Path, server: Server, pictures: Path) -> None:
    add(ws, server.url)
    asked = len(server.faults.paths)
    assert add(ws, server.url)["known"] == 20
    again = [path for path in server.faults.paths[asked:] if path.startswith("GET")]
    assert not any(path.endswith((".jpg", ".png")) for path in again), "nothing is read twice"
    other = make_folder(pictures.parent / "other", good=1, bad=0, seed=99)
    time.sleep(1.1)  # web servers tell times in seconds
    server.put("good/good-0001.jpg", next(other.rglob("*.png")).read_bytes())
    server.delete("good/good-0002.jpg")
    report = add(ws, server.url)
    assert (report["changed"], report["missing"], report["known"]) == (1, 1, 18)
    assert states(ws)[b"good/good-0002.jpg"] is LocationState.MISSING


@pytest.mark.slow
def test_an_empty_listing_of_a_known_source_is_refused(
    ws: Path, server: Server, pictures: Path
) -> None:
    add(ws, server.url)
    before = states(ws)
    for path in pictures.rglob("*"):
        if path.is_file():
            server.delete(path.relative_to(pictures).as_posix())
    server.put("login.html", b"<html>please log in")
    error = add(ws, server.url, expect=3)
    assert "lists no file of" in error and "curator drop" in error
    assert {path: state for path, state in states(ws).items() if path in before} == before


@pytest.mark.slow
def test_nothing_secret_is_kept_or_said(ws: Path, store: Server) -> None:
    add(ws, store.url)
    encode(ws)
    store.faults.gone_after = 0
    files._of_scheme.cache_clear()
    said = add(ws, store.url, expect=3)
    for path in ws.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"secret-of-the-test" not in content and b"key-of-the-test" not in content, path
    assert "of-the-test" not in said


@pytest.mark.slow
def test_review_reads_a_file_once(ws: Path, web: Server) -> None:
    from curator.review.cards import load_image_cards
    from curator.review.pictures import EVERYTHING, Pictures

    add(ws, web.url)
    workspace = open_workspace(ws)
    with workspace.catalogue as catalogue:
        card = load_image_cards(catalogue, [1], why={})[1]
        asked = len(web.faults.paths)
        for _ in range(2):
            shown = Pictures(workspace)
            assert shown.whole(card).pixels is not None
            assert shown.close_up(card, EVERYTHING, 40, 40).pixels is not None
            local = shown.local_path(card)
            assert local is not None and Path(os.fsdecode(local)).is_file()
            shown.close()
        assert len(web.faults.paths) == asked + 1
        Path(os.fsdecode(local)).write_bytes(b"damaged")
        web.faults.gone_after = 0
        files._of_scheme.cache_clear()
        shown = Pictures(workspace)
        gone = shown.whole(card)
        assert gone.pixels is not None and "this is the stored preview" in gone.remark
        shown.close()


@pytest.mark.slow
def test_a_folder_that_is_uploaded_is_relocated(ws: Path, pictures: Path, server: Server) -> None:
    add(ws, str(pictures), "--source", "pictures")
    server.delete("bad/bad-0003.png")
    done = curator("-w", ws, "relocate", "pictures", server.url, "--json").json()
    assert (done["present"], done["missing"], done["changed"]) == (19, 1, 0)
    report = add(ws, server.url)
    assert (report["known"], report["added"], report["changed"]) == (19, 0, 0)
    assert f"`pictures` at {server.url}" in curator("-w", ws, "doctor").stdout
    nowhere = curator("-w", ws, "relocate", "pictures", f"{server.url}/no", expect=3).stderr
    assert "There is nothing at" in nowhere
    curator("-w", ws, "drop", "pictures", "--yes")


@pytest.mark.slow
def test_links_to_files_of_a_server_are_refused_before_work(ws: Path, server: Server) -> None:
    add(ws, server.url)
    target = ws.parent / "folder"
    more = ("--format", "imagefolder", "--include-unlabelled", "--files", "symlink")
    refused = curator("-w", ws, "export", target, *more, expect=2).stderr
    assert "downloaded" in refused and not target.exists()


def test_threads_share_a_server(web: Server) -> None:
    source = files.files_of(web.url.encode())
    url = f"{web.url}/good/good-0001.jpg".encode()
    sizes: list[int] = []

    def read() -> None:
        with source.opened(url) as descriptor:
            sizes.append(os.fstat(descriptor).st_size)

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(sizes) == 16 and len(set(sizes)) == 1 and sizes[0]
