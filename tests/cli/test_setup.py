"""`init` and `config`: a workspace is made once, and its settings stay the user's own file."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from curator.workspace import recipes
from tests.support.command import curator, run_curator

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    curator("init", tmp_path / "ws")
    return tmp_path / "ws"


def test_init_makes_a_commented_settings_file_with_the_names(tmp_path: Path) -> None:
    made = curator("init", tmp_path / "ws", "--positive", "face", "--negative", "no face")
    text = (tmp_path / "ws" / "curator.toml").read_text()
    assert 'positive = "face"' in text
    assert 'negative = "no face"' in text
    assert "# A round gives an image a label" in text
    assert (tmp_path / "ws" / ".curator" / "catalogue.sqlite").is_file()
    assert "curator -w" in made.stderr
    assert made.stdout == ""


@pytest.mark.slow
def test_init_in_a_folder_that_holds_images_leaves_them_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"mine")
    curator("init", tmp_path)
    assert (tmp_path / "a.jpg").read_bytes() == b"mine"


def test_a_workspace_with_names_that_are_refused_now_keeps_its_labels_under_new_ones(
    workspace: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "photos" / "a.png"
    photo.parent.mkdir()
    Image.new("RGB", (64, 64), "red").save(photo)
    curator("-w", workspace, "add", photo.parent, "--label", "good")
    settings = workspace / "curator.toml"
    named = settings.read_text()
    settings.write_text(named.replace('"good"', '"Bad"'))
    refused = curator("-w", workspace, "status", expect=3)
    assert "curator.toml" in refused.stderr
    assert "labels belong to the class and stay" in refused.stderr
    unchanged = settings.read_text()
    curator("-w", workspace, "config", "classes.negative=BAD", expect=3)
    assert settings.read_text() == unchanged
    settings.write_text(named.replace('"good"', '"fine"'))
    labels = curator("-w", workspace, "status", "--json").json()["labels"]
    assert labels["fine"]["seed"] == 1


def test_renamed_classes_are_said_and_names_are_not_exchanged_under_labels(
    workspace: Path, tmp_path: Path
) -> None:
    curator("-w", workspace, "config", "classes.positive=bad", "classes.negative=good")
    curator("-w", workspace, "config", "classes.positive=good", "classes.negative=bad")
    photo = tmp_path / "photos" / "1.png"
    photo.parent.mkdir()
    Image.new("RGB", (64, 64), "red").save(photo)
    curator("-w", workspace, "add", photo.parent, "--label", "good")
    settings = (workspace / "curator.toml").read_bytes()
    for changes in (
        ("classes.positive=bad", "classes.negative=good"),
        ("classes.positive=bad", "classes.negative=other"),
        ("classes.positive=other", "classes.negative=good"),
    ):
        refused = curator("-w", workspace, "config", *changes, expect=3)
        assert "would exchange what these labels mean" in refused.stderr
        assert (workspace / "curator.toml").read_bytes() == settings
    said = curator("-w", workspace, "config", "classes.positive=fine").stdout
    assert "`fine` is the name of the positive class now, in place of `good`: 1 image." in said
    # By hand, too: another name is taken, that of the other class is not.
    file = workspace / "curator.toml"
    named = file.read_text()
    for text in (
        named.replace('"bad"', '"good"').replace('"fine"', '"bad"'),
        named.replace('"fine"', '"BAD"').replace('"bad"', '"poor"'),
    ):
        file.write_text(text)
        for command in (("status",), ("export", tmp_path / "m.csv"), ("label", tmp_path / "l.csv")):
            refused = curator("-w", workspace, *command, expect=3)
            assert "would exchange what these labels mean" in refused.stderr
        advice = re.findall(r"`curator (config [^`]+)`", refused.stderr)[0]
        curator("-w", workspace, *shlex.split(advice))
        assert curator("-w", workspace, "status", "--json").json()["labels"]["fine"]["seed"] == 1
    file.write_text(file.read_text().replace('"fine"', '"third"'))
    curator("-w", workspace, "status")
    file.write_text(file.read_text().replace('"bad"', '"fine"'))
    assert curator("-w", workspace, "status", "--json").json()["labels"]["third"]["seed"] == 1


@pytest.mark.parametrize("remains", ["curator.toml", ".curator"])
def test_init_never_touches_a_workspace(workspace: Path, remains: str) -> None:
    for name in {"curator.toml", ".curator"} - {remains}:
        (workspace / name).rename(workspace / f"{name}.away")
    before = sorted(path.name for path in workspace.iterdir())
    refused = curator("init", workspace, expect=3)
    assert "already contains a workspace" in refused.stderr
    assert sorted(path.name for path in workspace.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--positive", "bad"], "`bad` and `bad` need names that differ in more than case"),
        (["--positive", "Ja", "--negative", "ja"], "differ in more than case"),
        (["--positive", "caf\u00e9", "--negative", "cafe\u0301"], "differ in more than case"),
        (["--positive", "\uff21", "--negative", "a"], "differ in more than case"),
        (["--positive", ""], "classes.positive"),
        (["--positive", "  "], "blank"),
        (["--negative", "bad "], "spaces at an end"),
        (["--negative", "b\u200bad"], "cannot be seen"),
        (["--negative", "two\nlines"], "cannot be seen"),
        (["--negative", "unsure"], "that word means something else"),
        (["--negative", "Unsure"], "that word means something else"),
        (["--negative", "unlabelled"], "that word means something else"),
        (["--positive", "negative"], "that word means something else"),
        (["--negative", "Positive"], "that word means something else"),
        (["--negative", "undo"], "that word means something else"),
    ],
)
def test_init_refuses_names_that_cannot_be_told_apart(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    assert says in curator("init", tmp_path / "ws", *arguments, expect=3).stderr
    assert not (tmp_path / "ws").exists()


def test_init_from_a_recipe(tmp_path: Path) -> None:
    name, file = next(iter(recipes().items()))
    curator("init", tmp_path / "ws", "--recipe", name)
    assert (tmp_path / "ws" / "curator.toml").read_text() == file.read_text()


def test_an_unknown_recipe_is_wrong_usage(tmp_path: Path) -> None:
    refused = curator("init", tmp_path / "ws", "--recipe", "solarcell", expect=2)
    assert "There is no recipe `solarcell`" in refused.stderr
    assert not (tmp_path / "ws").exists()


def test_init_where_a_file_lies(tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("")
    assert "cannot be written" in curator("init", tmp_path / "ws", expect=3).stderr


def test_a_workspace_is_found_from_below(workspace: Path) -> None:
    below = workspace / "a" / "b"
    below.mkdir(parents=True)
    shown = run_curator("config", "runtime.seed", "--json", cwd=below).json()
    assert shown[0]["value"] == "0"


def test_config_lists_every_setting(workspace: Path) -> None:
    lines = curator("-w", workspace, "config").stdout.splitlines()
    assert "promotion.promote_above = 0.99" in lines
    assert 'classes.positive = "good"' in lines


def test_config_shows_a_section_and_explains_a_key(workspace: Path) -> None:
    rows = curator("-w", workspace, "config", "promotion", "--json").json()
    assert {row["key"].split(".")[0] for row in rows} == {"promotion"}
    text = curator("-w", workspace, "config", "promotion.promote_above").stdout
    assert "a number from 0 to 1; default 0.99." in text


def test_config_changes_the_file_and_keeps_its_comments(workspace: Path) -> None:
    before = (workspace / "curator.toml").read_text()
    curator("-w", workspace, "config", "promotion.promote_above=0.95", "runtime.device=cpu")
    after = (workspace / "curator.toml").read_text()
    kept = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in after.splitlines() if line.startswith("#")] == kept
    shown = curator("-w", workspace, "config", "promotion", "runtime", "--json").json()
    assert {(row["key"], row["value"]) for row in shown} >= {
        ("promotion.promote_above", "0.95"),
        ("runtime.device", '"cpu"'),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["promotion.promote_abov=0.9"], 2, "Did you mean `promotion.promote_above`?"),
        (["promotion.promote_abov"], 2, "Did you mean `promotion.promote_above`?"),
        (["promotion.promote_above=2"], 3, "a number from 0 to 1"),
        (["promotion.promote_below=0.999"], 3, "the thresholds must rise"),
        (["promotion.promote_above", "runtime.seed=1"], 2, "write KEY=VALUE"),
        (["runtime.seed=1", "runtime.sed=2"], 2, "Did you mean `runtime.seed`?"),
        (["runtime.seed", "a b"], 2, "write `curator config 'runtime.seed=a b'`"),
    ],
)
def test_config_refuses_and_changes_nothing(
    workspace: Path, arguments: list[str], code: int, says: str
) -> None:
    before = (workspace / "curator.toml").read_bytes()
    assert says in curator("-w", workspace, "config", *arguments, expect=code).stderr
    assert (workspace / "curator.toml").read_bytes() == before
    assert not list(workspace.glob(".curator.toml*"))


def test_a_broken_settings_file_is_named_with_its_line(workspace: Path) -> None:
    (workspace / "curator.toml").write_text("[runtime\n")
    refused = curator("-w", workspace, "status", expect=3)
    assert "curator.toml is not valid TOML" in refused.stderr
    assert "line 1" in refused.stderr


def test_a_lost_settings_file_says_what_to_do(workspace: Path) -> None:
    (workspace / "curator.toml").unlink()
    refused = curator("-w", workspace, "status", expect=3)
    assert "curator.toml is missing" in refused.stderr
    assert "an empty file takes every default" in refused.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="cannot be had here: root may write anywhere")
def test_config_in_a_read_only_workspace(workspace: Path) -> None:
    workspace.chmod(0o555)
    try:
        refused = curator("-w", workspace, "config", "runtime.seed=1", expect=3)
    finally:
        workspace.chmod(0o755)
    assert "cannot be written" in refused.stderr


def test_what_is_delivered_is_settled_at_init_by_the_name_of_the_class(tmp_path: Path) -> None:
    names = ("--positive", "face", "--negative", "no face")
    refused = curator("init", tmp_path / "ws", *names, "--deliver", "good", expect=2)
    assert "Choose from both, each, face, no face" in refused.stderr
    curator("init", tmp_path / "ws", *names, "--deliver", "no face")
    told = curator("-w", tmp_path / "ws", "config", "classes.deliver").stdout
    assert 'classes.deliver = "negative"' in told
    assert "delivers `no face`" in curator("-w", tmp_path / "ws", "status").stdout


@pytest.mark.parametrize("words", [["--recipe"], ["new", "--recipe"]])
def test_a_recipe_without_a_name_lists_them(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = curator("init", *words).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(recipes())
    assert all(line.endswith(".") for line in lines)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_model_that_does_not_exist_is_refused_at_once(workspace: Path) -> None:
    before = (workspace / "curator.toml").read_text()
    refused = curator("-w", workspace, "config", "classifier.model=resnet51", expect=3)
    assert "timm has no model named `resnet51`" in refused.stderr
    assert "`resnet50`" in refused.stderr
    assert (workspace / "curator.toml").read_text() == before
    curator("-w", workspace, "config", "classifier.model=glasses_cnn_64")
    curator("-w", workspace, "config", "classifier.model=features:mine")
