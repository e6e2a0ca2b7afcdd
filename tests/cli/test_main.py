"""How commands begin and end: exit codes, help, versions, signals, pipes."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer

from curator import __version__
from curator.cli import main as entry
from curator.errors import DataError, StorageError
from tests.intake.nobody import as_nobody
from tests.support.command import CHECKOUT, curator, run_curator, start_curator
from tests.support.images import make_folder

COMMANDS = sorted(entry.command_names())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    text = " ".join(curator(command, "--help").stdout.split())
    assert "Example" in text
    assert f"curator {command}" in text


def test_help_names_every_command() -> None:
    text = curator("--help").stdout
    assert all(command in text for command in COMMANDS)


@pytest.mark.slow
def test_no_arguments_show_the_help() -> None:
    shown = run_curator(expect=2)
    assert "Usage: curator" in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    "arguments",
    [["add", ""], ["add", ".", ""], ["-w", "", "status"], ["export", "x.csv", "--relative-to", ""]],
)
def test_an_empty_path_is_not_the_current_folder(arguments: list[str]) -> None:
    """As when a variable of a script was not set."""
    assert "the path is empty" in curator(*arguments, expect=2).stderr


def test_a_file_without_rights_is_no_wrong_usage() -> None:
    """It is counted among the others instead."""
    command = typer.main.get_command(entry.application()).commands["add"]  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        closed = Path(folder) / "closed.png"
        closed.touch(mode=0)
        taken = as_nobody(lambda: command.make_context("add", [str(closed)]).params["paths"])
    assert taken == [str(closed)]


def test_the_version() -> None:
    assert curator("--version").stdout == f"curator {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["stats"], "`curator` has no command `stats`.\nDid you mean `status`?"),
        (["certificate"], "Did you mean `check-certificate` or `certify`? See"),
        (["model", "stats"], "`curator model` has no command `stats`."),
        (["status", "--jsn"], "`curator status` has no option `--jsn`.\nDid you mean `--json`?"),
        (["status", "--json=1"], "`--json` takes no value."),
        (["round", "a", "b"], "`curator round` does not take `a b`."),
        (["round", "--rounds"], "`--rounds` needs a value."),
        (["round", "-w"], "`-w` needs a value."),
        (["rollback"], "`curator rollback` needs --to N."),
        (["rollback", "--to", "x"], "--to takes a whole number of at least 0, not `x`."),
        (["plan", "--error", "1,5"], "--error takes a number, not `1,5`."),
        (["init"], "`curator init` needs DIR."),
        (["-q"], "No command was given."),
        (["label", "x.csv", "--origin", "promoted"], "--origin takes one of `seed`, `review`,"),
    ],
)
def test_wrong_usage_is_2_with_a_hint(arguments: list[str], says: str) -> None:
    ended = curator(*arguments, expect=2)
    assert says in ended.stderr
    assert "--help" in ended.stderr
    assert ended.stdout == ""


def test_no_wrong_value_is_answered_in_the_words_of_a_library() -> None:
    """Every option of every command that takes a number or a word of a list."""
    group: Any = typer.main.get_command(entry.application())
    answers = []
    for name, command in group.commands.items():
        for parameter in getattr(command, "params", []):
            kind = parameter.type_descriptor.annotation
            takes = {int, float, *(each for each in (kind,) if get_origin(kind) is Literal)}
            if parameter.param_type_name == "option" and takes & {kind, *get_args(kind)}:
                answers.append(curator(name, parameter.opts[0], "zero", expect=2).stderr)
    assert len(answers) > 25
    takes = r"a (whole )?number( of at least [\d.]+)?|one of `.*`"
    sentence = rf"curator: --[a-z-]+ takes ({takes}), not `zero`\.\n"
    assert [text for text in answers if not re.match(sentence, text)] == []


def test_a_problem_is_3_with_advice_and_no_traceback(tmp_path: Path) -> None:
    ended = curator("-w", tmp_path, "status", expect=3)
    assert f"{tmp_path} is not a workspace" in ended.stderr
    assert "curator init" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


@pytest.mark.slow
def test_no_workspace_above(tmp_path: Path) -> None:
    ended = run_curator("status", cwd=tmp_path, expect=3)
    assert "There is no workspace in" in ended.stderr


def test_names_in_messages_are_made_safe(capsys: pytest.CaptureFixture[str]) -> None:
    code = entry._explain(DataError("bad\x1b[2J name\nline 2: \udce9", "Mend it."))
    assert code == 3
    assert capsys.readouterr().err == "curator: bad\\x1b[2J name\nline 2: \\udce9\nMend it.\n"


BROKEN = """
import sys
import tempfile
from types import ModuleType
from curator.cli import main as entry

def broken() -> None:
    {0}

module = sys.modules["curator.cli.broken"] = ModuleType("broken")
module.broken = broken
entry._COMMANDS["Maintain"] += ("broken.broken",)

sys.exit(entry.main(["broken"]))
"""


def run_broken(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BROKEN.format(line)], cwd=CHECKOUT, capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_bug_is_1_with_traceback_and_a_sentence() -> None:
    ended = run_broken("raise ZeroDivisionError('oops')")
    assert ended.returncode == 1
    assert "ZeroDivisionError: oops" in ended.stderr
    assert "this is a bug in curator" in ended.stderr


@pytest.mark.slow
def test_a_full_disk_is_3_with_advice() -> None:
    ended = run_broken("raise OSError(28, 'No space left on device', 'there')")
    assert ended.returncode == 3
    assert "there: No space left on device" in ended.stderr
    assert "Make room" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_an_unexplained_refusal_of_the_system_is_a_bug() -> None:
    assert run_broken("raise OSError(5, 'Input/output error')").returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_130_and_says_that_state_is_saved(number: signal.Signals) -> None:
    ended = run_broken(f"import os, time; os.kill(os.getpid(), {int(number)}); time.sleep(30)")
    assert ended.returncode == 130
    assert "saved" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_nobody_reading_the_output_is_no_error(tmp_path: Path) -> None:
    curator("init", tmp_path / "ws")
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "-m", "curator", "-w", tmp_path / "ws", "config"],
        cwd=CHECKOUT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    _, said = process.communicate(timeout=60)
    assert said == ""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.slow
def test_closed_streams_are_no_bug_and_nothing_else_gets_their_numbers(tmp_path: Path) -> None:
    curator("init", tmp_path / "w")
    image = next((make_folder(tmp_path / "p", good=1, bad=0) / "good").iterdir())
    (tmp_path / "l.csv").write_text(f"path,label\n{image},good\n")
    base = f"PYTHONPATH={CHECKOUT} {sys.executable} -m curator -w {tmp_path / 'w'}"
    for command, closed, code in (
        (f"add {tmp_path / 'p'}", "2>&-", 0),
        (f"label {tmp_path / 'l.csv'}", ">&-", 3),  # what it did is kept, its answer is lost
        ("status", ">&- 2>&- <&-", 0),
    ):
        ended = subprocess.run(f"{base} {command} {closed}", shell=True, capture_output=True)
        assert (ended.returncode, b"Traceback" in ended.stderr) == (code, False), ended
    assert "No problems found" in curator("-w", tmp_path / "w", "verify", "--files").stderr
    assert curator("-w", tmp_path / "w", "status", "--json").json()["labels"]["good"]["seed"] == 1


def test_output_that_finds_no_room_says_so() -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "curator", "--version"],
            cwd=CHECKOUT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert process.returncode == 3
    assert "Standard output: No space left" in process.stderr
    assert "Make room" in process.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_prints(shell: str) -> None:
    # Typer asks the process tree for the shell; a test must not depend on who runs it.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = run_curator("--show-completion", shell, **named).stdout
    assert "_CURATOR_COMPLETE" in script
    assert f"complete_{shell}" in script


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_of_a_named_shell_needs_no_guess(shell: str) -> None:
    script = run_curator(_CURATOR_COMPLETE=f"source_{shell}").stdout
    assert "_CURATOR_COMPLETE" in script
    assert f"complete_{shell}" in script
    guide = (CHECKOUT / "docs/guide.md").read_text(encoding="utf-8")
    assert f"_CURATOR_COMPLETE=source_{shell} curator" in guide


def completions(words: str) -> list[str]:
    """What bash would offer for the last of `words`."""
    done = run_curator(
        _CURATOR_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
    )
    return done.stdout.splitlines()


@pytest.mark.slow
def test_commands_and_settings_complete() -> None:
    assert completions("curator stat") == ["status"]
    assert "promotion.promote_above" in completions("curator config promotion.p")
    assert all(key.startswith("runtime.") for key in completions("curator config runtime."))


@pytest.mark.slow
def test_a_process_says_the_same_as_a_call(tmp_path: Path) -> None:
    curator("init", tmp_path / "ws")
    called = curator("-w", tmp_path / "ws", "status", "--json")
    assert run_curator("-w", tmp_path / "ws", "status", "--json").json() == called.json()


def test_storage_errors_have_their_code() -> None:
    assert StorageError.exit_code == 3


@pytest.mark.slow
def test_quiet_says_nothing(tmp_path: Path) -> None:
    process = start_curator("-q", "init", tmp_path / "ws")
    assert process.communicate(timeout=60) == ("", "")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["status"], "status"),
        (["-w", "add", "status", "--json"], "status"),
        (["--workspace=x", "-q", "history", "add"], "history"),
        (["--workspace", "x", "import", "status"], "import"),
        (["model", "export"], "model"),
        (["stauts", "status"], None),
        (["--help"], None),
        (["-w"], None),
        ([], None),
    ],
)
def test_the_requested_command_is_built_alone(words: list[str], name: str | None) -> None:
    assert entry._requested(words) == name


@pytest.mark.parametrize("name", ["status", "export", "add", "model"])
def test_a_command_built_alone_helps_as_in_the_whole(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = typer.main.get_command(entry.application())
    whole.main([name, "--help"], prog_name="curator", standalone_mode=False)
    expected = capsys.readouterr().out
    assert f"curator {name}" in expected
    assert entry.main([name, "--help"]) == 0
    assert capsys.readouterr().out == expected


def test_the_workspace_and_quiet_may_follow_the_command(tmp_path: Path) -> None:
    curator("init", tmp_path / "ws", "-q")
    before = curator("-w", tmp_path / "ws", "status", "--json")
    assert curator("status", "-w", tmp_path / "ws", "--json").stdout == before.stdout
    assert curator("status", f"--workspace={tmp_path / 'ws'}", "--json").stdout == before.stdout
    assert curator("status", "-w", expect=2).stdout == ""
    # After `--` words are names of files.
    assert "-w" in curator("add", "-w", tmp_path / "ws", "--", "-w", expect=3).stderr


def test_undo_is_no_command_and_says_what_undoes_what() -> None:
    told = curator("undo", expect=2).stderr
    for command in (
        "`u`",
        "curator unlabel --batch",
        "curator rollback --to N",
        "curator drop SOURCE",
    ):
        assert command in told


@pytest.mark.slow
def test_every_command_that_changes_something_ends_with_the_next_one(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "photos", good=12, bad=12)
    at = ("-w", tmp_path / "ws")

    def next_after(*words: str | Path) -> str:
        told = curator(*at, *words).stderr
        assert told.count("Next: ") == 1, told
        return told.partition("Next: ")[2].strip()

    assert "Next:" in curator("init", tmp_path / "ws").stderr
    assert next_after("add", folder).endswith("curator review diverse")
    listed = tmp_path / "look.csv"
    assert next_after("queue", "diverse", "--output", listed).endswith(f"curator label {listed}")
    rows = list(csv.DictReader(listed.read_text().splitlines()))
    with listed.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            name = Path(row["path"]).parent.name
            writer.writerow({**row, "label": name})
    assert next_after("label", listed).endswith("curator round")
    assert next_after("export", tmp_path / "clean.csv").endswith("curator report")
    # A program, or whoever wants quiet, is told nothing.
    assert "Next" not in curator(*at, "export", tmp_path / "b.csv", "--json").stderr
    assert "Next" not in curator(*at, "export", tmp_path / "c.csv", "-q").stderr
