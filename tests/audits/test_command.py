"""`audit`, `queue audit`, `label --origin audit`, `certify`, `status`, `export`, as typed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import sys
from pathlib import Path

import pytest

from curator.audits.audit import begin
from curator.audits.ledger import spending
from curator.workspace import create_workspace, open_workspace
from tests.support import fashion
from tests.support.audited import Pool, make_pool
from tests.support.command import Outcome, curator, start_curator

pytestmark = pytest.mark.slow


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """A scored pool of 1,200 images, of which 5% may be wrong."""
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    made = make_pool(workspace, tmp_path / "photos", size=1_200, max_error=0.05)
    curator(
        "-w", workspace.root, "config", "promotion.policy=certified", "promotion.max_error=0.05"
    )
    return made


def run(pool: Pool, *arguments: str | Path, expect: int = 0) -> Outcome:
    return curator("-w", pool.workspace.root, *arguments, expect=expect)


def filled_in(pool: Pool, file: Path, *, lies: bool = False) -> Path:
    """The CSV of an audit with its column `label` filled in."""
    from curator.catalogue.images import find_by_paths

    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "sha256", "label", "queue"]
    paths = [row["path"].encode() for row in rows]
    ids = find_by_paths(pool.workspace.catalogue, paths)
    answered = file.with_name("answered.csv")
    with answered.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sha256", "label"])
        for row, path in zip(rows, paths, strict=True):
            good = pool.truth[ids[path]] != (lies and ids[path] % 2 == 0)
            writer.writerow([row["sha256"], "good" if good else "bad"])
    return answered


def answer_all_parts(pool: Pool, tmp_path: Path, *, lies: bool = False) -> int:
    """Answer part by part in CSV files, until the audit asks for no more; how many images."""
    images = 0
    # Opened with a draw that repeats, which no command offers.
    begin(pool.workspace, salt="a salt")
    while waiting := run(pool, "audit", "--json").json()["waiting"]:
        images += waiting
        file = tmp_path / f"{images}.csv"
        run(pool, "queue", "audit", "--output", file)
        run(pool, "label", filled_in(pool, file, lies=lies), "--origin", "audit")
    return images


def test_the_whole_way_without_a_screen(pool: Pool, tmp_path: Path) -> None:
    told = run(pool, "audit", "--size", "120", "--dry-run")
    assert "is expected to certify" in told.stdout
    assert run(pool, "status", "--json").json()["audit"] is None
    opened = run(pool, "audit", "--size", "120", "--no-screen")
    assert "curator label audit.csv," in opened.stderr
    assert "Nothing is opened or spent yet" in opened.stderr
    assert "curator audit" in run(pool, "status").stdout
    assert "no open audit" in run(pool, "certify", expect=3).stderr
    begin(pool.workspace, salt="a salt")
    first = run(pool, "audit", "--json").json()["waiting"]
    early = run(pool, "certify", expect=3)
    assert f"{first} answers about the {first} images" in early.stderr
    assert "Audit 1 is open" in run(pool, "round", expect=3).stderr
    assert first <= answer_all_parts(pool, tmp_path) <= 120
    resumed = run(pool, "audit", "--json").json()
    assert (resumed["resumed"], resumed["waiting"]) == (True, 0)
    closed = run(pool, "certify", "--json").json()
    certificate = closed["certificate"]
    assert (certificate["state"], certificate["attempt"]) == ("valid", 1)
    assert certificate["bound"] <= 0.05
    assert closed["steps"][0]["passed"] is True
    status = run(pool, "status", "--json").json()
    assert status["certificate"]["claim_sha256"] == certificate["claim_sha256"]
    assert status["rounds"][-1]["round"] == 2
    screen = run(pool, "status").stdout
    assert "Certificate" in screen
    assert "valid; attempt 1" in screen
    exported = run(pool, "export", tmp_path / "clean.csv").stdout
    assert "Certificate (valid): at most" in exported
    sidecar = json.loads((tmp_path / "clean.csv.json").read_text())
    assert sidecar["certificate"]["state"] == "valid"
    run(pool, "rollback", "--to", "1")
    stale = run(pool, "export", tmp_path / "again.csv", "--provisional").stdout
    assert "Certificate (stale)" in stale
    assert "was rolled back" in stale
    assert "No problems found" in run(pool, "verify").stderr


AUDIT_KEYS = [
    "audit",
    "resumed",
    "kind",
    "scope",
    "attempt",
    "frame_size",
    "sample",
    "answered",
    "commitment",
    "waiting",
    "max_error",
    "confidence",
    "risk",
    "expected_low",
    "expected_high",
    "chance",
    "fewest",
    "enough",
    "looser",
    "answer",
    "text",
]
CERTIFY_KEYS = [
    "audit",
    "kind",
    "class",
    "attempt",
    "sample",
    "errors",
    "unsure",
    "skipped",
    "unshowable",
    "left",
    "promoted",
    "revoked",
    "text",
    "certificate",
    "closing_commitment",
    "steps",
]


def test_the_json_of_audit_and_certify_keeps_its_keys(pool: Pool, tmp_path: Path) -> None:
    planned = run(pool, "audit", "--size", "120", "--dry-run", "--json").json()
    opened = run(pool, "audit", "--size", "120", "--json").json()
    assert list(planned) == list(opened) == AUDIT_KEYS
    assert [planned[key] for key in ("audit", "resumed", "scope")] == [None, False, "all"]
    answers = answer_all_parts(pool, tmp_path)
    resumed = run(pool, "audit", "--json").json()
    assert list(resumed) == AUDIT_KEYS
    own = ("audit", "resumed", "answered", "waiting", "commitment", "text")
    told_at_planning = ("expected_low", "expected_high", "chance", "fewest", "enough", "looser")
    for key in set(AUDIT_KEYS) - set(own) - set(told_at_planning):
        assert planned[key] == opened[key] == resumed[key], key
    assert [resumed[key] for key in own[:4]] == [1, True, answers, 0]
    assert len(resumed["commitment"]) == 64
    assert [resumed[key] for key in told_at_planning] == [None] * 6
    closed = run(pool, "certify", "--json").json()
    assert list(closed) == CERTIFY_KEYS
    assert (closed["kind"], closed["class"]) == ("promise", "all")
    assert answers <= closed["sample"] == opened["sample"] <= 120


def test_what_cannot_be_proved_is_said_with_what_it_would_take(pool: Pool, tmp_path: Path) -> None:
    run(pool, "audit", "--size", "120", "--no-screen")
    answer_all_parts(pool, tmp_path, lies=True)
    closed = run(pool, "certify", "--json", expect=3).json()
    assert closed["certificate"] is None
    assert "Nothing can be certified" in closed["text"]
    assert "set promotion.confidence to 0.9" in closed["text"]
    assert run(pool, "status", "--json").json()["certificate"] is None


def test_an_audit_that_is_not_worth_it_is_not_opened(pool: Pool) -> None:
    run(pool, "config", "promotion.max_error=0.0001")
    refused = run(pool, "audit", "--size", "100", expect=3)
    assert "Nothing was opened" in refused.stderr or "cannot be certified" in refused.stderr
    assert run(pool, "status", "--json").json()["audit"] is None


def test_giving_up_says_what_it_cost(pool: Pool) -> None:
    assert "no open audit" in run(pool, "audit", "--abandon", expect=3).stderr
    run(pool, "audit", "--size", "120", "--no-screen")
    assert "no open audit" in run(pool, "audit", "--abandon", expect=3).stderr
    run(pool, "queue", "audit")
    assert (
        "goes with no other option"
        in run(pool, "audit", "--abandon", "--size", "3", expect=2).stderr
    )
    given_up = run(pool, "audit", "--abandon", "--yes").stdout
    assert "risk of 0.05" in given_up
    refused = run(pool, "audit", "--size", "120", expect=3)
    assert "spent the whole risk" in refused.stderr
    assert "promotion.confidence to 0.9" in refused.stderr


def test_lines_without_a_screen(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("good\nn\nskip\nquit\n"))
    said = run(pool, "audit", "--size", "120", "--plain", "--yes")
    assert "2 decisions kept" in said.stdout
    assert "P =" not in said.stderr
    assert run(pool, "status", "--json").json()["audit"]["answered"] == 2


def test_it_says_what_it_covers_and_costs_and_asks_before_it_is_opened(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("audit", "--size", "120", "--plain")
    monkeypatch.setattr(sys, "stdin", io.StringIO("good\nquit\n"))
    refused = run(pool, *command, expect=3)
    assert "labels promoted to `good` and `bad`, both together" in refused.stdout
    assert "spends 0.05 of the allowed risk of 0.05" in refused.stdout
    assert "nothing was opened or spent" in refused.stderr and "`--yes` opens it" in refused.stderr
    assert "Nothing was opened or spent." in at_terminal(pool, "n\n", *command)
    assert spending(pool.workspace) == []
    assert "1 decision kept" in at_terminal(pool, "y\ngood\nquit\n", *command)
    assert [spent.risk for spent in spending(pool.workspace)] == [pytest.approx(0.05)]
    # Once it is open there is nothing to agree to.
    assert "Open it?" not in at_terminal(pool, "quit\n", "audit", "--plain")
    run(pool, "audit", "--abandon", "--yes")
    run(pool, "config", "promotion.confidence=0.9", "audit.reserve=0.5")
    planned = run(pool, "audit", "--class", "good", "--dry-run").stdout
    assert "labels promoted to `good`, and no others" in planned
    assert (
        "spends 0.0125 of the allowed risk of 0.1 " in planned
        and "0.0375 is left for later audits" in planned
    )


def at_terminal(pool: Pool, typed: str, *arguments: str) -> str:
    """What a command says to a person who types this, and where it writes its results."""
    ours, theirs = pty.openpty()
    process = start_curator("-w", pool.workspace.root, *arguments, terminal=theirs)
    os.close(theirs)
    os.write(ours, typed.encode())
    said = ""
    with contextlib.suppress(OSError):  # the other end is closed when it ends
        while piece := os.read(ours, 65_536):
            said += piece.decode()
    os.close(ours)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    return said + output


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("promotion.max_error=0", "a number above 0"),
        ("promotion.max_error=0.6", "a number above 0 and at most 0.5"),
        ("promotion.confidence=1", "above 0.5 and below 1"),
        ("promotion.confidence=0.3", "above 0.5 and below 1"),
        ("promotion.policy=certain", "one of `thresholds`, `certified`"),
        ("audit.overlooked=1", "a number from 0 to 0.9"),
    ],
)
def test_settings_that_make_no_promise_are_refused(pool: Pool, setting: str, says: str) -> None:
    refused = run(pool, "config", setting, expect=3)
    assert says.replace("`", "") in refused.stderr.replace("`", "").replace("'", "")
    assert setting.partition("=")[0] in refused.stderr


def test_footwear_is_certified_from_pixels_to_manifest(tmp_path: Path) -> None:
    """Real photographs, real features, real rounds; the truth is used only to answer."""
    folder = fashion.write_folder(tmp_path / "fm", positive=fashion.FOOTWEAR, per_class=90)
    ws = tmp_path / "ws"
    curator("init", ws, "--positive", "good", "--negative", "bad")
    curator("-w", ws, "config", "promotion.policy=certified", "promotion.max_error=0.05")
    curator("-q", "-w", ws, "add", folder)
    for name in ("good", "bad"):
        seeds = sorted((folder / name).iterdir())[::6]
        curator("-q", "-w", ws, "add", *seeds, "--label", name)
    curator("-q", "-w", ws, "round")
    opened = curator("-q", "-w", ws, "audit", "--json").json()
    assert opened["answer"] == "ready"
    begin(open_workspace(ws), salt="a salt")
    while curator("-q", "-w", ws, "audit", "--json").json()["waiting"]:
        file = tmp_path / "audit.csv"
        curator("-q", "-w", ws, "queue", "audit", "--output", file)
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        file.unlink()
        lines = [f"{row['sha256']},{Path(row['path']).parent.name}" for row in rows]
        answers = tmp_path / "answers.csv"
        answers.write_text("\n".join(["sha256,label", *lines]) + "\n")
        curator("-q", "-w", ws, "label", answers, "--origin", "audit")
    certificate = curator("-q", "-w", ws, "certify", "--json").json()["certificate"]
    assert certificate["bound"] <= 0.05
    curator("-q", "-w", ws, "export", tmp_path / "clean.csv")
    with (tmp_path / "clean.csv").open(newline="") as stream:
        promoted = [row for row in csv.DictReader(stream) if row["origin"] == "promoted"]
    assert len(promoted) == certificate["certified"] > 300
    wrong = sum(Path(row["path"]).parent.name != row["label"] for row in promoted)
    assert wrong <= certificate["wrong"]
    # Its salt was chosen, so that the test repeats: the only thing that is found.
    (found,) = curator("-w", ws, "verify", "--json", expect=3).json()["findings"]
    assert "the salt of its draw was chosen" in found["text"]
