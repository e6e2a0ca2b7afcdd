"""Settings: read, refused with a helpful sentence, changed with comments kept, documented."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import SettingsError, UsageError
from curator.settings.file import (
    as_toml,
    change_settings,
    check_settings,
    describe_setting,
    parse_settings,
    read_settings,
    setting_keys,
    write_settings,
)
from curator.settings.sections import REMOVED_SETTINGS, PromotionSettings, Settings
from tests.support.command import CHECKOUT, curator

TEXT = """\
# mine
[promotion]
promote_above = 0.98  # high

[classes]
positive = "face"
"""


def test_what_is_not_written_has_its_default() -> None:
    settings = parse_settings(TEXT, "curator.toml")
    assert settings.promotion.promote_above == 0.98
    assert settings.promotion.promote_below == 0.03
    assert settings.classes.positive == "face"
    assert settings.classes.negative == "bad"


def test_an_empty_file_takes_every_default() -> None:
    assert parse_settings("", "curator.toml") == Settings()


def test_every_default_is_valid_and_documented() -> None:
    for key in setting_keys():
        about = describe_setting(key)
        assert about.meaning.endswith("."), key
        assert about.values, key
        value = tomllib.loads(f"value = {about.default}")["value"]
        section, name = key.split(".")
        check_settings({section: {name: value}}, "default")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[promotion]\npromote_abov = 0.9\n", "Did you mean `promotion.promote_above`?"),
        ("[promotions]\npromote_above = 0.9\n", "there is no setting `promotions`"),
        ("[promotion]\npromote_above = 1.5\n", "promotion.promote_above"),
        ("[promotion]\npromote_above = 0.5\nrevoke_below = 0.6\n", "the thresholds must rise"),
        ("[classes]\npositive = 'bad'\n", "need names that differ in more than case"),
        ("[classes]\npositive = ''\n", "classes.positive"),
        ("[classifier]\nimage_size = 3\n", "classifier.image_size"),
        ("[runtime]\nseed = 'x'\n", "runtime.seed"),
        ("promotion = 3\n", "promotion"),
        ("[catalogue]\nurl = 'postgresql://me:x/y@host/images'\n", "PGPASSWORD"),
        ("[catalogue]\nurl = 'postgresql://host/images?a=1&SSLPassword=x/y'\n", "PGPASSWORD"),
        ("[classifier]\nimage_size = 3\n", "must be `auto`, or a whole number from 16 to 2048."),
        ("[promotion\n", "is not valid TOML"),
        ("x = " + "[" * 3000 + "]" * 3000, "nested too deeply"),
    ],
)
def test_bad_content_is_refused_with_its_place(content: str, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings(content, "curator.toml")
    assert says in str(refused.value)
    assert "curator.toml" in str(refused.value)
    assert "x/y" not in str(refused.value)


@pytest.mark.parametrize("key", list(setting_keys()))
def test_a_wrong_value_is_answered_with_the_values_that_there_are(key: str) -> None:
    """In the words of the reference, never in those of a library."""
    section, name = key.split(".")
    for value in (object(), [object()], -1e300, "\0 \n"):
        try:
            check_settings({section: {name: value}}, "curator.toml")
        except SettingsError as error:
            expected = f"curator.toml: `{key}` must be {describe_setting(key).values}."
            own = f"curator.toml: {section}: "
            assert error.problem == expected or error.problem.startswith(own)
            # What refuses some texts says which it takes.
            vague = expected.endswith("must be text.") and error.problem == expected
            assert not (vague and value == "\0 \n")
        else:
            assert value == "\0 \n", "text takes any text"


@pytest.mark.parametrize(
    ("positive", "says"),
    [
        ("  ", "blank"), (" face", "spaces at an end"), ("fa\u200bce", "cannot be seen"),
        ("Bad", "differ in"), ("ＢＡＤ", "differ in"), ("unsure", "means something else"),
        ("Negative", "means something else"),
    ],
)  # fmt: skip
def test_class_names_that_could_be_mistaken_are_refused(positive: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        check_settings({"classes": {"positive": positive}}, "curator.toml")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "latin", "missing"])
def test_what_is_no_settings_file_is_said_and_nothing_waits_for_it(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "curator.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "latin":
        path.write_bytes('[classes]\npositive = "café"\n'.encode("latin-1"))
    says = {
        "folder": "is a folder", "pipe": "a device or a pipe", "loop": "cannot be read",
        "latin": "is not UTF-8 from byte 26 on", "missing": "is missing",
    }[kind]  # fmt: skip
    for act in (lambda: read_settings(path), lambda: write_settings(tmp_path, {"x.y": "1"})):
        with pytest.raises(SettingsError) as refused:
            act()
        assert says in refused.value.problem
        assert refused.value.advice
    (tmp_path / ".curator").mkdir()
    outcome = curator("-w", tmp_path, "config", "runtime.seed=1", expect=3)
    assert says in outcome.stderr


@pytest.mark.parametrize("key", REMOVED_SETTINGS)
def test_a_removed_setting_is_named_with_the_reason(key: str) -> None:
    section, name = key.split(".")
    with pytest.raises(SettingsError, match="was removed") as refused:
        parse_settings(f"[{section}]\n{name} = 0\n", "curator.toml")
    assert key in str(refused.value)
    assert REMOVED_SETTINGS[key] in str(refused.value)
    with pytest.raises(UsageError, match="was removed"):
        change_settings("", {key: "0"}, "curator.toml")


def test_a_change_keeps_comments_and_order() -> None:
    changed = change_settings(
        TEXT, {"promotion.promote_above": "0.97", "runtime.seed": "7"}, "curator.toml"
    )
    assert changed.startswith("# mine\n[promotion]\npromote_above = 0.97  # high\n")
    assert parse_settings(changed, "curator.toml").runtime.seed == 7


def test_words_need_no_quotes_and_lists_take_commas() -> None:
    changed = change_settings(
        "", {"classes.positive": "face", "classes.reasons": "profile, several faces"}, "here"
    )
    settings = parse_settings(changed, "here")
    assert settings.classes.positive == "face"
    assert settings.classes.reasons == ("profile", "several faces")


def test_an_invalid_change_is_refused() -> None:
    with pytest.raises(SettingsError, match="thresholds must rise"):
        change_settings(TEXT, {"promotion.promote_below": "0.99"}, "curator.toml")


@pytest.mark.slow
@given(st.text(min_size=1))
def test_any_class_name_survives_being_written(name: str) -> None:
    """Or is refused, and then nothing is written."""
    try:
        changed = change_settings("", {"classes.negative": as_toml(name)}, "here")
    except SettingsError as error:
        assert name != name.strip() or not name.isprintable() or "`" in error.problem
    else:
        assert parse_settings(changed, "here").classes.negative == name


@pytest.mark.slow
def test_the_reference_says_what_the_code_says() -> None:
    checked = subprocess.run(
        [sys.executable, CHECKOUT / "docs" / "make_settings.py", "--check"],
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
def test_a_drifted_reference_is_noticed(tmp_path: Path) -> None:
    script = tmp_path / "make_settings.py"
    for name in (script.name, "pages.py"):
        (tmp_path / name).write_text((CHECKOUT / "docs" / name).read_text())
    (tmp_path / "settings.md").write_text("# Settings\n")
    command = [sys.executable, script, "--check"]
    environment = {"PYTHONPATH": str(CHECKOUT)}
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 1
    subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True)
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0


def test_lower_thresholds_that_nobody_set_stay_beside_the_upper_ones() -> None:
    strict = PromotionSettings(promote_above=0.95, promote_below=0.1)
    assert (strict.revoke_below, strict.revoke_above) == (0.95, 0.1)
    usual = PromotionSettings()
    assert (usual.revoke_below, usual.revoke_above) == (0.98, 0.04)
    with pytest.raises(ValueError, match="the thresholds must rise"):
        PromotionSettings(promote_above=0.95, revoke_below=0.98)
