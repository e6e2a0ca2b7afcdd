"""Rounds that train networks: what judges a label never met it, and rounds repeat."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curator.api import WorkspaceApi, create_workspace, open_workspace
from curator.base.progress import SILENT
from curator.base.vocabulary import NO_CODE
from curator.catalogue import pool, rounds
from curator.classifiers.networks.classifier import load_finetuned
from curator.encoding.pixel_packs import is_pack
from curator.errors import DataError, LearnError
from curator.rounds.run import run_rounds
from curator.settings.file import write_settings
from curator.statistics.folds import fold_of
from tests.support import images
from tests.support.command import curator

pytestmark = pytest.mark.slow

DISCRIMINATOR = """
from torch import nn


def discriminator():
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2),
        nn.Conv2d(8, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2),
        nn.Conv2d(16, 1, 8, 1, 0, bias=False), nn.Sigmoid(),
    )
"""

SETTINGS = {
    "classifier.kind": "finetune",
    "classifier.model": "faces_comics_mlp",
    "training.epochs": "15",
    "training.learning_rate": "0.003",
    "training.batch_size": "16",
    "training.validation_share": "0.2",
    "promotion.score": "raw",
    "promotion.promote_above": "0.7",
    "promotion.promote_below": "0.3",
    "promotion.revoke_below": "0.6",
    "promotion.revoke_above": "0.4",
    "runtime.threads": "1",
    "runtime.device": "cpu",
}

# After some rounds images are still undecided: when all have a label, no further round runs.
STRICT = {"promotion.promote_above": "0.98", "promotion.promote_below": "0.02"}


def workspace(
    folder: Path, settings: dict[str, str] | None = None, *, flip: int = -1
) -> WorkspaceApi:
    """Forty labelled and eighty unlabelled discs and stripes; labels of half `flip` are wrong."""
    seeds = images.make_folder(folder / "seeds", good=20, bad=20, seed=1)
    images.make_folder(folder / "pool", good=40, bad=40, seed=2)
    made = create_workspace(folder / "workspace", positive="good", negative="bad", recipe=None)
    write_settings(made.root, SETTINGS | (settings or {}))
    made.close()
    made = open_workspace(folder / "workspace")
    made.add(seeds / "good", label="good")
    made.add(seeds / "bad", label="bad")
    made.add(folder / "pool")
    if flip >= 0:
        swap_labels(made, flip, folder)
    return made


def swap_labels(made: WorkspaceApi, half: int, folder: Path) -> None:
    """Turn the labels of one half into their opposites."""
    from curator.base.vocabulary import CurrentLabel, code_of
    from curator.catalogue.images import image_files

    human = pool.human_labels(made._workspace.catalogue, None)
    mine = human.image_ids[fold_of(human.unit_keys, 4, 0) % 2 == half]
    files = image_files(made._workspace.catalogue, mine.tolist())
    good = dict(zip(human.image_ids, human.standing == code_of(CurrentLabel.POSITIVE), strict=True))
    lines = [f"{files[i].path.decode()},{'bad' if good[i] else 'good'}" for i in mine.tolist()]
    listing = folder / "swapped.csv"
    listing.write_text("path,label\n" + "\n".join(lines) + "\n")
    made.label(listing, replace=True)


def networks(made: WorkspaceApi) -> list[dict[str, np.ndarray]]:
    opened = made._workspace
    head = rounds.head(opened.catalogue)
    assert head is not None
    digest = rounds.get_round(opened.catalogue, head).model_digest
    assert digest is not None
    found = load_finetuned(opened.folder("models") / f"{digest}.safetensors", digest)
    return [{name: value.numpy() for name, value in state.items()} for state in found.states]


def checkpoints(made: WorkspaceApi) -> list[str]:
    folder = made._workspace.folder("models") / "training"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def scores(made: WorkspaceApi) -> np.ndarray:
    opened = made._workspace
    ids = np.concatenate([chunk.image_ids for chunk in pool.pool_chunks(opened.catalogue, None)])
    return pool.current_scores(opened.catalogue, ids)


def test_rounds_promote_and_the_same_commands_give_the_same_scores(tmp_path: Path) -> None:
    found = []
    for name in ("first", "second"):
        with workspace(tmp_path / name, STRICT) as made:
            reports = list(made.round(rounds=2))
            assert reports[0].training.pseudo_positive + reports[0].training.pseudo_negative == 0
            assert reports[1].training.pseudo_positive + reports[1].training.pseudo_negative > 0
            assert reports[0].counts.promoted_positive > 0
            assert set(reports[0].seconds) >= {"pack", "survey", "train", "score", "commit"}
            assert reports[0].training.estimate.sample == 40
            found.append(scores(made))
    np.testing.assert_array_equal(found[0], found[1])


def test_a_network_knows_nothing_of_the_half_that_it_judges(tmp_path: Path) -> None:
    """Whatever people said of half 0, network 0 is the same to the bit, two rounds on."""
    states = []
    for name, flip in (("right", -1), ("wrong", 0)):
        with workspace(tmp_path / name, flip=flip) as made:
            # Labels that are half wrong hold promotions back, which would end the rounds.
            list(made.round(rounds=2, accept_warning=True))
            states.append(networks(made))
    for key in states[0][0]:
        np.testing.assert_array_equal(states[0][0][key], states[1][0][key])
    assert any((states[0][1][key] != states[1][1][key]).any() for key in states[0][1])


def test_networks_that_go_on_meet_other_batches_than_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curator.classifiers.networks import train

    chances: list[int] = []
    real = train.epoch_batches

    def watched(*given: Any, seed: int, epoch: int) -> Any:
        chances.append(seed)
        return real(*given, seed=seed, epoch=epoch)

    monkeypatch.setattr(train, "epoch_batches", watched)
    settings = STRICT | {"classifier.warm_start": "true", "training.epochs": "1"}
    with workspace(tmp_path, settings) as made:
        list(made.round(rounds=3))
    assert len(chances) == len(set(chances)) == 6


def test_pseudo_labels_come_from_a_network_that_was_not_taught_with_them(tmp_path: Path) -> None:
    with workspace(tmp_path) as made:
        opened = made._workspace
        parts, answer = [], tmp_path / "answer.csv"
        for name in ("good-0000.png", "good-0003.png", "good-0006.png"):
            # Once every image has a label, only something new is a reason for a round.
            answer.write_text(f"path,label\n{tmp_path / 'pool' / 'good' / name},good\n")
            made.label(answer)
            (report,) = made.round()
            digest = rounds.get_round(opened.catalogue, report.round_id or 0).model_digest or ""
            path = opened.folder("models") / f"{digest}.safetensors"
            parts.append(load_finetuned(path, digest).part)
    assert parts == [0, 1, 0]


@pytest.mark.parametrize("judges", ["halves", "set-aside"])
def test_what_networks_promoted_they_take_back_when_people_teach_otherwise(
    tmp_path: Path, judges: str
) -> None:
    """Pseudo-labels say the old thing; still no network repeats what it was taught."""
    settings = {"training.judges": judges, "splits.calibration_share": "0.5"}
    if judges == "halves":
        settings["splits.calibration_share"] = "0"
    with workspace(tmp_path, settings) as made:
        promoted = made.round()[0].counts.standing_promoted
        assert promoted > 10
        for half in (0, 1):
            swap_labels(made, half, tmp_path)
        # Swapped labels show that what was promoted is wrong, which would end the rounds.
        after = list(made.round(rounds=2, accept_warning=True))
        assert sum(one.counts.revoked for one in after) > 0.8 * promoted


def test_labels_set_aside_judge_one_network(tmp_path: Path) -> None:
    settings = {"training.judges": "set-aside", "splits.calibration_share": "0.5"}
    with workspace(tmp_path, settings) as made:
        reports = list(made.round(rounds=2))
        assert len(networks(made)) == 1
        human = pool.human_labels(made._workspace.catalogue, None)
        aside = int((human.split == 1).sum())
        assert reports[0].training.estimate.sample == aside
        training = reports[0].training
        assert training.human_positive + training.human_negative == 40 - aside
        assert np.isfinite(scores(made)).all()


def test_nothing_set_aside_is_said_with_its_cure(tmp_path: Path) -> None:
    with (
        workspace(tmp_path, {"training.judges": "set-aside"}) as made,
        pytest.raises(LearnError, match=r"only 0 labels are set aside.*calibration_share"),
    ):
        list(made.round())


def test_an_empty_class_is_said_with_its_cure(tmp_path: Path) -> None:
    images.make_folder(tmp_path / "pictures", good=8, bad=8)
    made = create_workspace(tmp_path / "workspace", positive="good", negative="bad", recipe=None)
    write_settings(made.root, SETTINGS)
    made.close()
    with open_workspace(tmp_path / "workspace") as again:
        again.add(tmp_path / "pictures" / "good", label="good")
        again.add(tmp_path / "pictures" / "bad")
        with pytest.raises(DataError, match=r"labelled bad.*--label bad"):
            list(again.round())


def test_the_pack_is_known_to_the_catalogue_and_verifies(tmp_path: Path) -> None:
    from curator.catalogue.features import list_feature_sets, row_count

    with workspace(tmp_path) as made:
        list(made.round())
        packs = [one for one in list_feature_sets(made._workspace.catalogue) if is_pack(one)]
        assert len(packs) == 1
        assert row_count(made._workspace.catalogue, packs[0].feature_set_id) == 120
        assert not made.verify(files=False).findings
        assert NO_CODE == -1


class Interrupting:
    """Keeps the sentences, and is interrupted at one of them."""

    def __init__(self, at: str = "") -> None:
        self.told: list[str] = []
        self._at = at

    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Any:
        return SILENT.stage(name, total, unit)

    def note(self, text: str) -> None:
        self.told.append(text)
        if self._at and text.startswith(self._at):
            raise KeyboardInterrupt


def test_a_round_that_was_cut_off_in_the_middle_of_a_network_goes_on_there(tmp_path: Path) -> None:
    with workspace(tmp_path / "whole") as made:
        list(made.round())
        whole = scores(made)
    with workspace(tmp_path / "cut") as made:
        with pytest.raises(KeyboardInterrupt):
            list(run_rounds(made._workspace, progress=Interrupting("Network 2, epoch 4")))
        assert rounds.head(made._workspace.catalogue) is None
        assert checkpoints(made) == ["network-0.pt", "network-1.pt"]
        resumed = Interrupting()
        list(run_rounds(made._workspace, progress=resumed))
        epochs = [text.partition(":")[0] for text in resumed.told if text.startswith("Network")]
        assert epochs[0] == "Network 2, epoch 5"
        assert not checkpoints(made), "a committed round leaves no checkpoints"
        np.testing.assert_array_equal(scores(made), whole)


def test_a_discriminator_of_the_users_is_trained_asked_and_looked_into(tmp_path: Path) -> None:
    """Code and weights lie in the workspace; its sigmoid and its bias-free layer are no matter."""
    from safetensors.torch import save_file

    settings = {
        "classifier.model": "my_gan:discriminator",
        "classifier.image_size": "32",
        "classifier.weights": "gan.safetensors",
        "training.epochs": "5",
    }
    with workspace(tmp_path, settings) as made:
        root = made.root
        (root / "my_gan.py").write_text(DISCRIMINATOR)
        code: dict[str, Any] = {}
        exec(DISCRIMINATOR, code)
        save_file(code["discriminator"]().state_dict(), root / "gan.safetensors")
    done = curator("-w", root, "round", "--rounds", "2", "--json", "--trust")
    assert "Running user code: `my_gan:discriminator`" in done.stderr
    assert done.json()[0]["estimate"]["errors"] < 12
    said = curator("-w", root, "predict", tmp_path / "pool", "--json").json()
    claims = [one["probability"] for one in said]
    assert min(claims) < 0.4 < 0.6 < max(claims)
    some = tmp_path / "workspace" / ".." / "pool" / "good" / "good-0000.png"
    seen = curator("-w", root, "inspect", some, "--json").json()
    assert len(seen["maps"]) == 3
    assert Path(seen["activation"]).is_file()
    (root / "my_gan.py").rename(root / "elsewhere.py")
    sys.modules.pop("my_gan")
    refused = curator("-w", root, "round", expect=3)
    assert "could not be created: ModuleNotFoundError" in refused.stderr


def test_pixels_are_no_longer_read_from_the_files_once_they_are_packed(tmp_path: Path) -> None:
    with workspace(tmp_path) as made:
        made.pack()
        for name in ("pool", "seeds"):
            shutil.rmtree(tmp_path / name)
        assert made.round()[0].training.human_positive == 20
        assert np.isfinite(scores(made)).all()
