"""The review page in a real Chromium: what a reviewer does, and what the catalogue then holds."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest
from PIL import Image

from curator.base.vocabulary import CurrentLabel, GroupKind, Label, Method, Origin
from curator.catalogue import audit_answers, audits, labels
from curator.catalogue.claims import live_sessions
from curator.catalogue.counts import counts
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.catalogue.images import image_files
from curator.catalogue.labels import own_decisions
from curator.cli.review import host_and_port
from curator.intake.add import add
from curator.settings.keys import ACTIONS
from curator.workspace import Workspace, create_workspace
from tests.support.audited import opened
from tests.support.command import curator
from tests.support.filled import decide, promote
from tests.support.images import make_folder
from tests.support.told import SCRIPT, with_hostile_names
from tests.tui.conftest import IMAGES, played
from tests.web.conftest import Visit, review

pytestmark = pytest.mark.slow

OVERFLOW = "document.documentElement.scrollWidth - innerWidth"

CONTRAST = """(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const node of document.body.querySelectorAll("*")) {
    const own = [...node.childNodes].some((part) => part.nodeType === 3 && part.data.trim());
    if (!own || !node.checkVisibility() || node.closest(":disabled, option")) continue;
    const [one, other] = [light(rgb(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) low.push(`${node.outerHTML.slice(0, 90)} ${ratio.toFixed(2)}`);
  }
  return JSON.stringify(low);
})()"""


@played
async def test_a_key_labels_what_is_seen_and_undo_takes_it_back(
    scored: Workspace, visit: Visit
) -> None:
    with review(scored) as (address, _):
        async with visit(address) as page:
            await page.says("0 done")
            await page.press("1", "x")
            await page.says("1 done")
            (decision,) = own_decisions(scored.catalogue, "anna")
            assert (decision.label, decision.method) == (Label.NEGATIVE, Method.SINGLE)
            assert decision.reasons == ("blurred",)
            await page.press("a", "u", "u")
            await page.says("0 done")
            assert not own_decisions(scored.catalogue, "anna")
            await page.click("[data-action=unsure]")
            await page.says("1 done")
            await page.press(" ")  # the button that was clicked is not pressed again: it skips
            await page.press("u")
            await page.says("Back to what you skipped.")
            assert "token" not in await page.tab.evaluate("location.href")
            # Loaded again, the page goes on where it was.
            shown = await page.text("#panel")
            await page.tab.call("Page.reload")
            await page.says("1 done")
            await page.ready()
            assert (await page.text("#panel")).splitlines()[0] == shown.splitlines()[0]
            hosts = {urlsplit(url).netloc for url in page.tab.requests if url.startswith("http")}
            assert hosts == {urlsplit(address).netloc}
            assert page.tab.complaints == []
    (decision,) = own_decisions(scored.catalogue, "anna")
    assert decision.label is Label.UNSURE


@played
async def test_zoom_shows_the_pixels_of_the_file_and_stays_for_the_next_image(
    scored: Workspace, visit: Visit
) -> None:
    width = "document.getElementById('image').getBoundingClientRect().width"
    with review(scored) as (address, _):
        async with visit(address) as page:
            fitted = await page.tab.evaluate(width)
            await page.press("z")
            closer = await page.tab.evaluate(width)
            assert closer > 1.9 * fitted
            await page.press("a")
            assert await page.tab.evaluate(width) == pytest.approx(closer)
            await page.press("Escape")
            assert await page.tab.evaluate(width) == pytest.approx(fitted)
            picture = await page.tab.evaluate("document.getElementById('image').naturalWidth")
            assert picture == 96
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            await (await http.get(address)).text()
            base = address.partition("?")[0]
            image_id = own_decisions(scored.catalogue, "anna")[0].image_id
            async with http.get(f"{base}picture/{image_id}") as answer:
                served = np.asarray(Image.open(io.BytesIO(await answer.read())).convert("RGB"))
            for path in ("picture/999999", "picture/..%2f..%2fetc%2fpasswd", "picture/-1"):
                async with http.get(base + path) as answer:
                    assert answer.status == 404, path
    file = image_files(scored.catalogue, [image_id])[image_id].path
    assert np.array_equal(served, np.asarray(Image.open(file.decode()).convert("RGB")))


@played
async def test_a_sheet_is_marked_by_click_drag_and_key_and_taken_back_whole(
    scored: Workspace, visit: Visit
) -> None:
    with review(scored) as (address, _):
        async with visit(address) as page:
            await page.press("g")
            await page.tab.until("document.querySelectorAll('.tile').length >= 8")
            tiles = await page.tab.evaluate("document.querySelectorAll('.tile').length")
            await page.says(f"{tiles} seen")
            await page.click(".tile:nth-child(2)")  # the other class
            await page.press("ArrowRight", "n")
            where = (
                "(() => {{ const b = document.querySelector('.tile:nth-child({})')"
                ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
            )
            start, end = [await page.tab.evaluate(where.format(n)) for n in (5, 6)]
            await page.tab.drag((round(start[0]), round(start[1])), (round(end[0]), round(end[1])))
            await page.press(" ")
            marks = "[...document.querySelectorAll('.tile')].map((t) => t.dataset.mark).join()"
            shown = (await page.tab.evaluate(marks)).split(",")
            assert shown[:7] == ["", "negative", "unsure", "", "null", "null", ""]
            await page.press("Enter")
            await page.says(f"{tiles - 2} done")
            made = own_decisions(scored.catalogue, "anna", limit=100)
            assert {one.method for one in made} == {Method.SHEET}
            assert sorted(one.label for one in made).count(Label.POSITIVE) == tiles - 4
            await page.press("u")
            await page.says(f"A page of {tiles - 2} taken back.")
            assert not own_decisions(scored.catalogue, "anna", limit=100)
            assert page.tab.complaints == []


@played
async def test_a_blind_audit_shows_no_hint_and_every_answer_counts(
    featured: Workspace, visit: Visit
) -> None:
    promote(featured, dict.fromkeys(range(1, IMAGES + 1), 0.999))
    opened(featured, size=10, anyway=True)
    record = audits.open_audit(featured.catalogue)
    assert record is not None
    drawn = audit_answers.answers_of(featured.catalogue, record).image_ids.tolist()
    with review(featured, "audit") as (address, _):
        async with visit(address) as page:
            for key in ("a", "x", "n", " ", "a", "u"):
                await page.press("g", "i", "d", "s", "/")
                text = await page.text("main")
                for hint in ("P 0", "0.999", "→", "promoted", "round", ".jpg", ".png", "nearest"):
                    assert hint not in text, hint
                await page.press(key)
            page_id = await page.tab.evaluate("sessionStorage.getItem('page')")
            ask = "fetch('{}').then(async (r) => window.got = r.status + ' ' + await r.text());"
            for path in (f"about/{drawn[0]}?page={page_id}", f"report?page={page_id}"):
                await page.tab.evaluate("window.got = ''")
                await page.tab.evaluate(ask.format(path))
                answer = await page.tab.until("window.got")
                assert answer.startswith("409 "), answer
                assert "blind" in answer
    now = audit_answers.answers_of(featured.catalogue, record)
    assert now.labels[:5] == [Label.POSITIVE, Label.NEGATIVE, Label.UNSURE, None, None]
    assert now.skipped.tolist()[:5] == [False, False, False, True, False]
    event = labels.history(featured.catalogue, drawn[1])[-1]
    assert (event.origin, event.method, event.actor) == (Origin.AUDIT, Method.BLIND, "anna")


@played
async def test_two_reviewers_at_one_server_never_have_the_same_image(
    scored: Workspace, visit: Visit, tmp_path: Path
) -> None:
    add(scored, [make_folder(tmp_path / "more", good=20, bad=20, seed=9)])
    with review(scored, "random") as (address, _):
        async with visit(address, "anna") as anna, visit(address, "ben") as ben:
            for _ in range(3):
                await anna.press("a")
                await ben.press("x")
            mine, yours = (own_decisions(scored.catalogue, who, limit=9) for who in ("anna", "ben"))
            assert (len(mine), len(yours)) == (3, 3)
            assert not {one.image_id for one in mine} & {one.image_id for one in yours}
            await ben.press("u")
        assert len(own_decisions(scored.catalogue, "anna", limit=9)) == 3
        assert len(own_decisions(scored.catalogue, "ben", limit=9)) == 2
        await asyncio.sleep(1)
        assert not live_sessions(scored.catalogue), "closed pages keep no image from others"


@played
async def test_one_name_in_two_windows_takes_back_only_its_own(
    scored: Workspace, visit: Visit, tmp_path: Path
) -> None:
    with review(scored) as (address, _):
        async with visit(address, "anna") as first:
            await first.press("a")
            (tmp_path / "profile-anna").rename(tmp_path / "profile-first")
            async with visit(address, "anna") as second:
                await second.press("u")
                await second.says("another window, which is still open")
            assert len(own_decisions(scored.catalogue, "anna")) == 1


@played
@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_lost_connection_loses_and_doubles_no_decision(
    scored: Workspace, visit: Visit, lost: str
) -> None:
    with review(scored) as (address, _):
        async with visit(address) as page:
            tab = page.tab
            if lost == "request":
                offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
                await tab.call("Network.emulateNetworkConditions", offline=True, **offline)
                await tab.press("x")
                await page.says("The connection to curator is lost.")
                assert not own_decisions(scored.catalogue, "anna")
                await tab.press("a")  # nothing can be decided before the answer is there
                await tab.call("Network.emulateNetworkConditions", offline=False, **offline)
            else:
                # The server has done what was asked, twice the page does not learn it.
                await tab.evaluate(
                    "{ const real = window.fetch; let left = 2;"
                    "  window.fetch = async (path, details) => {"
                    "    const response = await real(path, details);"
                    "    if (String(path).endsWith('api/act') && left-- > 0)"
                    "      throw new TypeError('lost');"
                    "    return response; }; }"
                )
                await tab.press("x")
                await page.says("The connection to curator is lost.")
            await page.says("1 done")
            await page.ready()
            (decision,) = own_decisions(scored.catalogue, "anna")
            assert decision.label is Label.NEGATIVE
            assert await tab.evaluate("document.getElementById('offline').hidden")
            # A request that a page had not heard about when it was loaded again.
            request = {"action": "positive", "image": decision.image_id, "key": "0" * 16}
            state = f"sessionStorage.setItem('pending', {json.dumps(json.dumps(request))})"
            await tab.evaluate(state)
            await tab.call("Page.reload")
            await page.says("The image has changed, so nothing was recorded.")
    events = labels.history(scored.catalogue, decision.image_id)
    assert sum(event.actor == "anna" for event in events) == 1


@played
async def test_a_hostile_file_name_is_text_and_nothing_else(tmp_path: Path, visit: Visit) -> None:
    root = tmp_path / "ws"
    workspace = create_workspace(root, positive="good", negative="bad", recipe=None)
    with_hostile_names(workspace, tmp_path)
    settings = root / "curator.toml"
    text = settings.read_text().replace('positive = "good"', f'positive = "good{SCRIPT}"')
    settings.write_text(text.replace("reasons = []", f'reasons = ["{SCRIPT}", "<img src=x>"]'))
    with review(workspace, "promoted") as (address, _):
        async with visit(address) as page:
            seen = ""
            for _ in range(16):
                seen += await page.text("#panel")
                await page.press("ArrowRight")
            await page.press("g", "g", "i", "i")
            seen += await page.text()
            assert await page.tab.evaluate("String(window.pwned)") == "undefined"
            assert await page.tab.evaluate("document.scripts.length") == 1
            assert f"now good{SCRIPT}" in seen
            assert "caf\\udce9" in seen
            # The policy holds even where markup is let in: it does not run.
            await page.tab.evaluate(
                "document.body.insertAdjacentHTML('beforeend',"
                " '<img src=x onerror=\"window.pwned=2\">')"
            )
            await asyncio.sleep(0.5)
            assert await page.tab.evaluate("String(window.pwned)") == "undefined"
    workspace.catalogue.close()


@played
async def test_every_screen_fits_is_readable_and_reached_by_keys(
    featured: Workspace, visit: Visit, tmp_path: Path
) -> None:
    looks: tuple[tuple[int, int, bool], ...] = (
        (390, 844, False), (1280, 800, True), (3840, 2160, False),
    )  # fmt: skip
    with review(featured) as (address, _):
        for width, height, dark in looks:
            async with visit(
                address, f"anna{width}", width=width, height=height, dark=dark
            ) as page:
                for key, part in (("", "P 0"), ("g", "Contact sheet"), ("i", "sha256")):
                    if key:
                        await page.press(key)
                    await page.says(part)
                    assert await page.tab.evaluate(OVERFLOW) <= 0, (width, part)
                    assert json.loads(await page.tab.evaluate(CONTRAST)) == [], (width, part)
                    if key:
                        await page.press("Escape")
                await page.press("d")
                report = "document.getElementById('report').contentDocument"
                await page.tab.until(f"{report}?.querySelectorAll('svg').length > 3")
                await page.press("d")
                stage = await page.tab.evaluate(
                    "(({width: w, height: h}) => w * h / innerWidth / innerHeight)"
                    "(document.getElementById('stage').getBoundingClientRect())"
                )
                assert stage > 0.3, width
                focus = "document.activeElement.dataset.action ?? document.activeElement.id"
                reached = set()
                for _ in range(40):
                    await page.tab.press("Tab")
                    reached.add(await page.tab.evaluate(focus))
                assert {"queue", "positive", "undo", "sheet", "filter", "panel"} <= reached
                assert page.tab.complaints == []


@played
async def test_queue_filter_neighbours_and_flag(featured: Workspace, visit: Visit) -> None:
    decide(featured, [1, 2], Label.POSITIVE, Origin.SEED, Method.IMPORT)
    with review(featured) as (address, _):
        async with visit(address) as page:
            await page.says("nearest good")
            await page.press("/")
            await page.tab.call("Input.insertText", text="score:0.9-1 sort:-score")
            await page.press("Enter")
            await page.says("filter: score:0.9-1 sort:-score")
            await page.press("/")
            await page.tab.call("Input.insertText", text=" nonsense")
            await page.press("Enter")
            await page.says("is not understood")
            await page.press("f")
            await page.tab.call("Input.insertText", text="look again")
            await page.press("Enter")
            await page.says("Flagged.")
            await page.says("⚑ flagged look again")
            await page.press("/")
            await page.tab.call("Input.insertText", text="name:* flag:again")
            await page.press("Enter")
            await page.says("filter: name:* flag:again")
            await page.says("⚑ flagged look again")
            await page.press("s")
            await page.says("most like one")
            await page.press("Escape")
            await page.says("filter: name:* flag:again")
            await page.press("q")
            await page.says("1 flagged.")


SLOW_ACTIONS = """
const real = window.fetch;
const page = sessionStorage.getItem("page");
real("api/progress", {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ page }),
}).then((response) => response.json()).then((answer) => (window.served = answer.text));
window.fetch = async (path, options) => {
  if (path === "api/progress") return new Response('{"text": "encode: 3 of 9 images"}');
  if (path === "api/act") await new Promise((resolve) => setTimeout(resolve, 2500));
  return real(path, options);
};
"""


@played
async def test_a_request_that_takes_long_shows_its_progress(
    scored: Workspace, visit: Visit
) -> None:
    with review(scored) as (address, _):
        async with visit(address) as page:
            await page.tab.evaluate(f"(() => {{ {SLOW_ACTIONS} }})()")
            await page.tab.until("window.served === ''")
            await page.tab.press("n")
            await page.says("encode: 3 of 9 images")
            await page.ready()


@played
async def test_near_duplicates_are_kept_or_dropped(scored: Workspace, visit: Visit) -> None:
    groups = [GroupRecord(name="a", primary=(3, 9, 20)), GroupRecord(name="b", primary=(5, 6))]
    replace_grouping(scored.catalogue, GroupKind.PERCEPTUAL, groups)
    with review(scored, "duplicates") as (address, _):
        async with visit(address) as page:
            await page.says("1 of 3 near-duplicates")
            await page.press("D")
            await page.says("Dropped 2 near-duplicates")
            await page.says("1 of 2 near-duplicates")
            assert counts(scored.catalogue).dropped == 2
            await page.press("u")
            await page.says("2 near-duplicates brought back")
            assert counts(scored.catalogue).dropped == 0
            await page.says("1 of 3 near-duplicates")
            await page.press("K")
            await page.says("1 of 2 near-duplicates")
            await page.click("[data-action=keep_only]")
            await page.says("Dropped 1 near-duplicate;")
    assert counts(scored.catalogue).dropped == 1


@played
async def test_images_of_one_group_are_marked_on_the_sheet(scored: Workspace, visit: Visit) -> None:
    groups = [GroupRecord(name="a", primary=(3, 9, 20)), GroupRecord(name="b", primary=(5, 6))]
    replace_grouping(scored.catalogue, GroupKind.PERCEPTUAL, groups)
    with review(scored, "duplicates") as (address, _):
        async with visit(address) as page:
            await page.press("g")
            if "≈" not in await page.text("#tiles"):
                await page.press("c")
            assert "≈1" in await page.text("#tiles")


async def _asked(http: aiohttp.ClientSession, path: str, **body: Any) -> tuple[int, Any]:
    async with http.post(path, json=body) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


@played
async def test_nothing_is_served_without_the_token_or_to_another_site(scored: Workspace) -> None:
    paths = (
        "", "page.js", "page.css", "picture/1", "about/1", "report", "api/open", "api/act",
        "api/ping", "api/progress", "api/leave", "nothing", "?token=wrong",
    )  # fmt: skip
    with review(scored) as (address, _):
        base = address.partition("?")[0]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            for path in paths:
                for method in ("GET", "POST"):
                    async with http.request(method, base + path) as answer:
                        assert answer.status == 403, path
            async with http.get(address) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "https://" not in await answer.text()
            assert "default-src 'none'" in policy
            for headers in ({"Origin": "http://evil.example"}, {"Host": "[::1"}):
                async with http.get(f"{base}picture/1", headers=headers) as answer:
                    assert answer.status == 403, headers
            async with http.post(f"{base}api/open", data={"page": "0" * 32}) as answer:
                assert answer.status == 415  # what a form of another site could send


@played
async def test_sessions_are_limited_and_a_page_that_leaves_makes_room(scored: Workspace) -> None:
    curator("-w", scored.root, "config", "review.sessions=1")
    with review(scored) as (address, _):
        base = address.partition("?")[0]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            await (await http.get(address)).text()
            first, second = {"page": "1" * 32}, {"page": "2" * 32}
            assert (await _asked(http, f"{base}api/open", **first))[0] == 200
            status, text = await _asked(http, f"{base}api/open", **second)
            assert status == 503
            assert "review.sessions" in text
            assert (await _asked(http, f"{base}api/leave", **first))[0] == 204
            status, state = await _asked(http, f"{base}api/open", **second)
            assert status == 200
            # Malformed requests change nothing and are told.
            for body, expected in (
                ({**second, "key": "x"}, 400), ({"page": "3" * 32, "key": "0" * 16}, 410),
                ({**second, "key": "0" * 16, "action": "accept", "marks": 7}, 400),
                ({**second, "key": "1" * 16, "action": "positive", "reasons": ["no"],
                  "image": state["card"]["id"]}, 400),
            ):  # fmt: skip
                assert (await _asked(http, f"{base}api/act", **body))[0] == expected, body
            for body in (
                {"action": "rm"}, {"action": "positive", "image": 10**9},
                {"action": "flag", "image": 10**30}, {"action": "similar", "image": "1"},
            ):  # fmt: skip
                key = f"{hash(str(body)) % 16**8:016x}"
                _, answer = await _asked(http, f"{base}api/act", **second, key=key, **body)
                assert "problem" in answer
    assert labels.current(scored.catalogue, [1])[1].standing in (None, CurrentLabel.NEGATIVE)


@played
async def test_a_page_that_comes_back_leaves_others_what_they_have_meanwhile(
    scored: Workspace,
) -> None:
    curator("-w", scored.root, "config", "review.sessions=2")
    with review(scored) as (address, _):
        base = address.partition("?")[0]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            await (await http.get(address)).text()
            first, second = ({"page": n * 32, "reviewer": n} for n in "12")
            _, before = await _asked(http, f"{base}api/open", **first)
            await _asked(http, f"{base}api/leave", **first)
            _, meanwhile = await _asked(http, f"{base}api/open", **second)
            assert meanwhile["card"]["id"] == before["card"]["id"]
            _, after = await _asked(http, f"{base}api/open", **first)
            # What was in front stays, for the answer to it may be on its way.
            assert [card["id"] for card in after["ahead"]] == [before["card"]["id"]]
            image = before["card"]["id"]
            for n, page, action in (("1", second, "negative"), ("2", first, "positive")):
                body = {**page, "key": n * 16, "action": action, "image": image}
                _, answer = await _asked(http, f"{base}api/act", **body)
                again = await _asked(http, f"{base}api/act", **body)
                assert again == (200, answer), "the same request has the same answer"
            assert "2 labelled the last image bad" in answer["message"]
    events = labels.history(scored.catalogue, image)
    said = [event.label for event in events if event.actor in ("1", "2")]
    assert said == [Label.NEGATIVE, Label.POSITIVE]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["borderlin"], "There is no queue `borderlin`"),
        (["random", "--filter", "class:ugly"], "there is no class `ugly`"),
        (["random", "--address", "127.0.0.1:http"], "is not a HOST:PORT address"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_served(
    scored: Workspace, arguments: list[str], says: str
) -> None:
    ended = curator("-w", scored.root, "review", *arguments, "--web", expect=2)
    assert says in ended.stderr


@pytest.mark.parametrize(
    ("address", "means"),
    [
        ("", ("127.0.0.1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("here", ("here", 0)),
        (":80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", 0)),
        ("::1", ("::1", 0)),
    ],
)
def test_what_an_address_means(address: str, means: tuple[str, int]) -> None:
    assert host_and_port(address) == means


def test_the_page_names_every_action_of_the_registry() -> None:
    """What a key does in the terminal it does here, or the page has other means for it."""
    page = (Path(__file__).parents[2] / "curator" / "web" / "page" / "page.js").read_text()
    for action in ACTIONS:
        if action.name not in ("palette", "reason"):
            assert f'"{action.name}"' in page or f"{action.name}: [" in page, action.name
