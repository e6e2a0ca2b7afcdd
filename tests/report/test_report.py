"""The report tells what the catalogue knows, to everybody, and lets nobody's text do anything."""

from __future__ import annotations

import io
import json
import os
import re
import threading
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.audits.certificate import certificate_sentence
from curator.audits.certify import certify
from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue import audit_answers
from curator.catalogue.images import image_details
from curator.errors import StorageError, UsageError
from curator.intake.add import add
from curator.report import data
from curator.report.data import collect_report
from curator.report.page import render
from curator.report.pictures import Thumbnail
from curator.report.report import report as write_report
from curator.report.status import status
from curator.rounds.commit import rollback
from curator.workspace import Workspace
from tests.support.audited import answer, make_pool
from tests.support.audited import opened as begin_audit
from tests.support.curated import curate
from tests.support.disk import files_no_larger_than
from tests.support.filled import decide, fill, promote
from tests.support.told import NOTE, Read, with_hostile_names

pytestmark = pytest.mark.slow

FIGURES = {
    "pool", "people", "rounds", "scores", "bands", "reliability", "selection", "work",
    "sources", "quality", "quarantine",
}  # fmt: skip


def test_the_page_and_the_status_tell_the_same(workspace: Workspace, tmp_path: Path) -> None:
    curate(workspace, tmp_path / "photos")
    report, now = collect_report(workspace), status(workspace)
    facts = report.as_json()
    assert (facts["promoted"], facts["unlabelled"]) == (now.counts.promoted, now.counts.unlabelled)
    assert facts["coverage"] == now.counts.coverage
    assert report.pool[-1].people == {"positive": {"seed": 12}, "negative": {"seed": 12}}
    assert report.pool[0].promoted == {"positive": 8, "negative": 8}
    assert facts["next"] == now.advice()
    people = sum(row.decisions for row in report.work), sum(row.minutes or 0 for row in report.work)
    assert people == (now.decisions, now.minutes) == (24, 0.0)
    assert [each["round"] for each in facts["rounds"]] == [each.round_id for each in now.rounds]
    page = Read(render(report))
    assert "16 promoted of 18 images without a human label" in page.text
    assert "16 promotions and 0 revocations in 1 round" in page.text and "1 rounds" not in page.text
    assert "not audited: their error is estimated, not certified" in page.text
    strips = {one.key: one for one in report.strips}
    assert len(strips["surest-positive"].tiles) == 9
    assert len(strips["borderline"].tiles) == 2
    assert len(strips["latest"].tiles) == 12
    assert all(tile.jpeg for strip in report.strips for tile in strip.tiles)
    shown = sum(len(strip.tiles) for strip in report.strips)
    assert len(page.of("img")) == shown
    figures = {str(one.get("id")).removeprefix("figure-") for one in page.of("figure")}
    assert figures == FIGURES


def test_what_was_revoked_quarantined_and_set_is_told(workspace: Workspace, tmp_path: Path) -> None:
    ids = curate(workspace, tmp_path / "photos")
    (tmp_path / "photos/street/torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    (tmp_path / "photos/street/none.png").touch()
    add(workspace, [tmp_path / "photos"])
    street = [one for file, one in ids.items() if file.startswith("street/good")]
    number = promote(workspace, dict.fromkeys(street, 0.6), revoke=street[1:4])
    report = collect_report(workspace)
    assert [(each.round_id, each.revoked) for each in report.status.rounds] == [(1, 0), (number, 3)]
    strips = {one.key: one for one in report.strips}
    assert {tile.sha256 for tile in strips["revoked"].tiles} == {
        one.sha256.hex() for one in image_details(workspace.catalogue, street[1:4]).values()
    }
    assert {tile.caption for tile in strips["revoked"].tiles} == {
        ("P 0.6000", "unlabelled", f"revoked by round {number}")
    }
    assert sum(report.quarantine.values()) == 2
    assert report.quarantine["empty"] == 1
    page = Read(render(report))
    assert "none.png" in page.text
    assert "torn.jpg" in page.text
    settings = {row["key"]: row["value"] for row in report.settings}
    assert settings["promotion.promote_above"] == "0.99"
    assert report.versions["curator"] == version("curator")


@pytest.mark.parametrize("state", ["empty", "unlabelled", "labelled"])
def test_a_workspace_that_has_not_come_far_has_its_page(
    workspace: Workspace, tmp_path: Path, state: str
) -> None:
    if state != "empty":
        ids = fill(workspace, tmp_path / "gone", ["a.jpg", "b.jpg", "c.jpg"])
        if state == "labelled":
            decide(workspace, list(ids.values())[:2], Label.POSITIVE)
    report = collect_report(workspace)
    page = Read(render(report))
    for words in report.status.advice().split("`"):
        assert words in page.text
    assert "There are no scores" in page.text
    assert "No round has run yet." in page.text
    assert page.text.count("NaN") == page.text.count("nan%") == 0
    json.dumps(report.as_json(), allow_nan=False)


def test_nothing_that_somebody_wrote_becomes_markup(workspace: Workspace, tmp_path: Path) -> None:
    hostile, _ = with_hostile_names(workspace, tmp_path)
    report = collect_report(hostile)
    html = render(report)
    page = Read(html)
    assert not page.of("script")
    assert not page.of("a") or all(str(one["href"]).startswith("#") for one in page.of("a"))
    handlers = [name for _, given in page.tags for name in given if name.startswith("on")]
    assert handlers == []
    assert not [given for _, given in page.tags if "style" in given]
    for image in page.of("img"):
        assert str(image["src"]).startswith("data:image/jpeg;base64,")
    assert len(page.of("style")) == 1
    # All of it is there to be read.
    assert NOTE in page.text
    assert "caf\\udce9 \\udcff.jpg" in page.text
    assert "javascript:window.pwned=1;\\n\\x1b[31m.jpg" in page.text
    assert "\u202e" not in html
    assert "bad`$x_{" in page.text
    html.encode()


@pytest.mark.slow
def test_the_page_may_ask_nobody_and_run_nothing(workspace: Workspace, tmp_path: Path) -> None:
    curate(workspace, tmp_path / "photos")
    html = render(collect_report(workspace))
    policy = next(str(one["content"]) for one in Read(html).of("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "script" not in policy
    assert "unsafe" not in policy
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", html))
    assert addresses == set()


@pytest.mark.slow
def test_it_is_the_same_page_again(workspace: Workspace, tmp_path: Path) -> None:
    curate(workspace, tmp_path / "photos")
    assert render(collect_report(workspace)) == render(collect_report(workspace))


@pytest.mark.slow
def test_images_that_vanished_are_shown_from_their_previews(
    workspace: Workspace, tmp_path: Path
) -> None:
    curate(workspace, tmp_path / "photos")
    for file in (tmp_path / "photos").rglob("*.*"):
        if file.is_file():
            file.unlink()
    tiles = [tile for strip in collect_report(workspace).strips for tile in strip.tiles]
    assert tiles
    assert all(tile.jpeg and "stored preview" in tile.remark for tile in tiles)
    for pack in workspace.folder("previews").glob("*.pack"):
        pack.unlink()
    report = collect_report(workspace)
    tiles = [tile for strip in report.strips for tile in strip.tiles]
    assert not any(tile.jpeg for tile in tiles)
    assert Read(render(report)).text.count("no picture") >= len(tiles)


@pytest.mark.slow
def test_previews_are_enough_and_no_file_is_decoded(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curator.review import pictures

    curate(workspace, tmp_path / "photos")
    opened: list[bytes] = []
    monkeypatch.setattr(pictures, "read_file", lambda path, limit: opened.append(path))
    assert sum(len(strip.tiles) for strip in collect_report(workspace).strips) > 20
    assert opened == []


@pytest.mark.slow
def test_images_of_an_open_audit_are_never_shown(workspace: Workspace, tmp_path: Path) -> None:
    curate(workspace, tmp_path / "photos")
    before = {tile.sha256 for strip in collect_report(workspace).strips for tile in strip.tiles}
    opened = begin_audit(workspace, size=8, anyway=True).record
    assert opened is not None
    drawn = set(audit_answers.answers_of(workspace.catalogue, opened).image_ids.tolist())
    blind = {one.sha256.hex() for one in image_details(workspace.catalogue, sorted(drawn)).values()}
    report = collect_report(workspace)
    after = {tile.sha256 for strip in report.strips for tile in strip.tiles}
    assert blind & before
    assert not blind & after
    assert report.audits[0].audit_id == opened.audit_id
    assert (
        f"is open, with 0 of {opened.sample:,} images answered"
        in report.as_json()["no_certificate"]
    )


@pytest.mark.slow
def test_it_says_what_stands_while_a_round_commits(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = list(fill(workspace, tmp_path, [f"{n}.jpg" for n in range(12)]).values())
    decide(workspace, ids[:2], Label.POSITIVE)
    promote(workspace, dict.fromkeys(ids[2:6], 0.999))
    real = data.pool_over_rounds

    def meanwhile(*arguments: object) -> object:
        other = threading.Thread(target=promote, args=(workspace, dict.fromkeys(ids[6:], 0.999)))
        other.start()
        other.join(30)
        assert not other.is_alive()  # the round did not have to wait for the report
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(data, "pool_over_rounds", meanwhile)
    report = collect_report(workspace)
    assert (report.status.counts.promoted, len(report.status.rounds)) == (4, 1)
    assert sum(report.pool[-1].promoted.values()) == 4
    assert len(next(one for one in report.strips if one.key == "latest").tiles) == 4
    assert status(workspace).counts.promoted == 10


@pytest.mark.slow
def test_it_is_written_in_one_step_and_over_nothing(workspace: Workspace, tmp_path: Path) -> None:
    made = write_report(workspace)
    assert made.destination == workspace.root / "report.html"
    assert made.size == made.destination.stat().st_size
    with pytest.raises(StorageError, match="exists already"):
        write_report(workspace)
    assert write_report(workspace, force=True).size == made.size
    with pytest.raises(UsageError, match="is a folder"):
        write_report(workspace, tmp_path)
    with pytest.raises(StorageError, match="does not exist"):
        write_report(workspace, tmp_path / "nowhere" / "page.html")
    target = tmp_path / "full.html"
    with files_no_larger_than(4_096), pytest.raises(StorageError, match="cannot be written"):
        write_report(workspace, target)
    assert not target.exists()
    assert not [one for one in tmp_path.iterdir() if one.name.endswith(".part")]


@pytest.mark.slow
def test_a_certificate_is_told_as_status_tells_it(workspace: Workspace, tmp_path: Path) -> None:
    pool = make_pool(workspace, tmp_path / "photos", size=1_200, max_error=0.05)
    begin_audit(pool.workspace, size=120)
    answer(pool.workspace, pool.says)
    issued = certify(pool.workspace).certificate
    assert issued is not None
    report = collect_report(pool.workspace)
    facts = report.as_json()
    assert facts["no_certificate"] == ""
    (certificate,) = facts["certificates"]
    assert certificate["valid"]
    sentence = certificate["sentence"]
    assert sentence == certificate_sentence(issued, pool.workspace.settings.classes)
    text = Read(render(report)).text
    assert sentence[1:] in text
    assert "certified error" in text
    decide(pool.workspace, [next(iter(pool.truth))], Label.UNSURE, Origin.REVIEW, Method.SINGLE)
    rollback(pool.workspace, to=1, block=False, actor="tester")
    later = collect_report(pool.workspace)
    facts = later.as_json()
    assert not facts["certificates"][0]["valid"]
    assert "was rolled back" in facts["no_certificate"]
    assert "estimated error, no certificate" in Read(render(later)).text


@pytest.mark.slow
def test_the_largest_page_stays_below_its_limit(workspace: Workspace, tmp_path: Path) -> None:
    """As many pictures as there can be, each as incompressible as it can be."""
    from curator.report.pictures import GROUPS, MATES, QUALITY, SIDE, TILES

    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=QUALITY)
    curate(workspace, tmp_path / "photos")
    report = collect_report(workspace)
    tile = Thumbnail(
        name="n" * 255, sha256="0" * 64, caption=("c" * 120,) * 4, jpeg=stream.getvalue(),
        width=SIDE, height=SIDE,
    )  # fmt: skip
    most = [(TILES, 6), (MATES, GROUPS)]
    strips = tuple(
        replace(report.strips[0], key=f"s{size}-{number}", tiles=(tile,) * size)
        for size, count in most
        for number in range(count)
    )
    now = report.status
    rounds = [replace(now.rounds[0], round_id=number) for number in range(2_000)]
    sources = [replace(now.sources[0], name=f"{number}") for number in range(5_000)]
    many = replace(now, rounds=rounds, sources=sources)
    page = render(replace(report, strips=strips, status=many))
    assert 2_000_000 < len(page.encode()) < 5_000_000
    assert "more rows" in page


@pytest.mark.slow
def test_facts_hold_no_pixels_and_all_else(workspace: Workspace, tmp_path: Path) -> None:
    curate(workspace, tmp_path / "photos")
    told = json.loads(json.dumps(collect_report(workspace).as_json(), allow_nan=False))
    assert told["promoted"] == 16
    tile = next(one for one in told["strips"] if one["tiles"])["tiles"][0]
    assert "jpeg" not in tile
    assert os.path.sep not in tile["name"]
    assert {"key", "value", "usual"} == set(told["settings"][0])
