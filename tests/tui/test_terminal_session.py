"""The whole program in tmux, with real keys, and what `doctor` shows there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curator.base.actor import current_user
from curator.base.vocabulary import Label
from curator.catalogue import audit_answers, audits
from curator.catalogue.audits import AuditRecord
from curator.catalogue.engine import Catalogue
from curator.catalogue.images import image_chunks, image_files
from curator.catalogue.labels import own_decisions
from curator.intake.add import add
from curator.workspace import Workspace, create_workspace
from tests.support import images
from tests.support.command import CHECKOUT, curator
from tests.support.filled import decide, promote

PATIENCE = 90.0


class Session:
    """A tmux session of 100 by 30 cells with one command in it."""

    def __init__(self, base: list[str]) -> None:
        self._base = base

    def keys(self, *keys: str) -> None:
        subprocess.run([*self._base, "send-keys", *keys], check=True)

    def screen(self, *options: str) -> str:
        command = [*self._base, "capture-pane", "-p", *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def wait_for(self, part: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while part not in (seen := self.screen()):
            assert time.monotonic() < deadline, f"{part!r} did not come:\n{seen}"
            time.sleep(0.1)
        return seen


@contextmanager
def in_tmux(tmux: str, folder: Path, *arguments: str, shell: str = "") -> Iterator[Session]:
    base = [tmux, "-S", str(folder / "socket"), "-f", "/dev/null"]
    program = shell or f"{sys.executable} -m curator {' '.join(arguments)}"
    command = f"{program}; echo ended $?; sleep 1000"
    environment = {**os.environ, "COLORTERM": "truecolor"}
    for name in ("NO_COLOR", "TMUX", "TEXTUAL_DRIVER"):
        environment.pop(name, None)
    subprocess.run(
        [*base, "new-session", "-d", "-x", "100", "-y", "30", command],
        cwd=CHECKOUT, check=True, env=environment,
    )  # fmt: skip
    try:
        yield Session(base)
    finally:
        subprocess.run([*base, "kill-server"], check=False)


@pytest.mark.slow
def test_real_keys_in_tmux_label_and_leave(tmux: str, scored: Workspace, tmp_path: Path) -> None:
    with in_tmux(tmux, tmp_path, "-w", str(scored.root), "review", "borderline") as session:
        session.wait_for("P 0.")
        assert "38;2;" in session.screen("-e") or "48;2;" in session.screen("-e")
        time.sleep(1.0)
        for number, key in enumerate(("a", "x", "n", "BSpace", "x"), start=1):
            session.keys(key)
            done = number if number < 4 else number - 2
            session.wait_for(f"{done} done")
            time.sleep(1.0)
        session.keys("q")
        session.wait_for("3 decisions kept")
        session.keys("q")
        seen = session.wait_for("ended 0")
        assert "3 decisions kept: 1 good, 2 bad." in seen
    mine = own_decisions(scored.catalogue, current_user(), limit=10)
    assert [one.label for one in reversed(mine)] == [
        Label.POSITIVE, Label.NEGATIVE, Label.NEGATIVE,
    ]  # fmt: skip


@pytest.mark.slow
def test_suspended_and_brought_back_it_goes_on(
    tmux: str, scored: Workspace, tmp_path: Path
) -> None:
    script = tmp_path / "jobs.sh"
    review = f"{sys.executable} -m curator -w {scored.root} review borderline"
    script.write_text(f"{review}\necho asleep; read answer; fg\n")
    with in_tmux(tmux, tmp_path, shell=f"bash --norc -i {script}") as session:
        session.wait_for("P 0.")
        time.sleep(1.0)
        session.keys("a")
        session.wait_for("1 done")
        session.keys("C-z")
        session.wait_for("asleep")
        session.keys("Enter")
        session.wait_for("1 done")
        time.sleep(1.0)
        session.keys("x")
        session.wait_for("2 done")
        session.keys("q")
        session.wait_for("2 decisions kept")
        session.keys("q")
        session.wait_for("ended 0")
    assert len(own_decisions(scored.catalogue, current_user(), limit=10)) == 2


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_at_the_next_image(
    tmux: str, scored: Workspace, tmp_path: Path
) -> None:
    with in_tmux(tmux, tmp_path, "-w", str(scored.root), "review", "borderline") as session:
        session.wait_for("P 0.")
        time.sleep(1.0)
        session.keys("a")
        session.wait_for("1 done")
    first = own_decisions(scored.catalogue, current_user(), limit=10)
    assert len(first) == 1
    second_folder = tmp_path / "again"
    second_folder.mkdir()
    with in_tmux(tmux, second_folder, "-w", str(scored.root), "review", "borderline") as session:
        session.wait_for("0 done")
        time.sleep(1.0)
        session.keys("u")  # undo reaches back across the kill
        session.wait_for("earlier session")
    assert own_decisions(scored.catalogue, current_user(), limit=10) == []


@pytest.mark.slow
def test_doctor_tries_the_terminal_with_a_picture(
    tmux: str, scored: Workspace, tmp_path: Path
) -> None:
    with in_tmux(tmux, tmp_path, "-w", str(scored.root), "doctor") as session:
        seen = session.wait_for("ended")
        # What doctor says first has scrolled away by now; a sample of each kind of cells ends it.
        assert "ended 0" in seen
        assert "sextant cells:" in seen
        assert any("\N{BLOCK SEXTANT-1}" <= letter <= "\N{BLOCK SEXTANT-23456}" for letter in seen)
        assert "review.cells=sextant" in seen


@pytest.mark.slow
def test_an_audit_until_a_share_is_proved_is_answered_part_by_part(
    tmux: str, tmp_path: Path
) -> None:
    """Typed, agreed to and answered by keys; one slip makes it ask a second part."""
    folder = images.make_folder(tmp_path / "photos", good=170, bad=170)
    made = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    catalogue = made.catalogue
    add(made, [folder])
    ids = [int(each) for chunk in image_chunks(catalogue) for each in chunk]
    good = {each for each, file in image_files(catalogue, ids).items() if b"/good/" in file.path}
    decide(made, sorted(good)[:10], Label.POSITIVE)
    # Both classes are as sure, so that one label for all would not keep the promise.
    unsure = {each: 0.001 + 1e-6 * (each % 17) for each in ids}
    promote(made, {each: 1 - unsure[each] if each in good else unsure[each] for each in ids})
    curator("-w", made.root, "config", "promotion.policy=certified", "promotion.max_error=0.2")
    with in_tmux(tmux, tmp_path, "-w", str(made.root), "audit", "--until", "0.3") as session:
        session.wait_for("[y/N]")
        assert "is expected to end after" in " ".join(session.screen().split())
        session.keys("y", "Enter")
        session.wait_for(" 0 done")
        answered, before, parts, idle = 0, 0, [], 0
        while (record := audits.open_audit(catalogue)) is not None:
            waiting = audit_answers.waiting_ids(catalogue, record, size=None)
            if not waiting:
                # The part is answered: leaving asks for the next, or ends the command.
                seen, idle = session.screen(), idle + 1
                if "ended" in seen:
                    break
                assert idle < PATIENCE, seen
                if "no more images for you" in seen or "decisions kept" in seen:
                    session.keys("q")
                time.sleep(2.0)
                continue
            if record.asking not in parts:
                parts.append(record.asking)
                before = answered
            session.wait_for(f" {answered - before} done")
            right, wrong = ("a", "x") if waiting[0] in good else ("x", "a")
            time.sleep(1.0)
            session.keys(wrong if answered == 2 else right)
            answered = await_answer(catalogue, record, answered)
        assert "ended 0" in session.wait_for("ended")
    assert parts == [0, 1]
    record = audits.open_audit(catalogue)
    assert record is not None
    assert record.answered == answered
    certified = curator("-w", made.root, "certify")
    assert certified.code == 0
    assert "are wrong, at 95% confidence; 1 of" in " ".join(certified.stdout.split())
    catalogue.close()


def await_answer(catalogue: Catalogue, record: AuditRecord, before: int) -> int:
    """How many images have an answer, once there is one more."""
    deadline = time.monotonic() + PATIENCE
    while (now := audit_answers.answers_of(catalogue, record).answered) == before:
        assert time.monotonic() < deadline, "the key was not taken for an answer"
        time.sleep(0.2)
    return now
