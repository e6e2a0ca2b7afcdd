"""Searching and drawing curves: what is kept, what is applied, what the words say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from curator.base.vocabulary import Origin
from curator.classifiers.networks.training_set import nested_subset, validation_members
from curator.errors import DataError, SettingsError, UsageError
from curator.settings.file import read_settings
from curator.tuning import tune as tuning
from curator.tuning.curve import (
    PowerLaw,
    _enough,
    curve_of_epochs,
    curve_of_sizes,
    falls,
    fit_power_law,
)
from curator.tuning.trials import study_labels
from curator.tuning.tune import loss_chart, parse_space, tune
from tests.classifiers.networks.pictures import labelled, picture_size
from tests.rounds.pool import Pool
from tests.support.command import curator

pytestmark = pytest.mark.slow


def test_tune_finds_a_better_learning_rate_and_applies_it(tmp_path: Path) -> None:
    with labelled(tmp_path, {"splits.test_share": "0.2"}) as made:
        report = tune(
            made._workspace,
            space=["training.learning_rate=0.0000001,0.003,0.00001"],
            search="grid",
            apply=True,
        )
        assert report.winner == {"training.learning_rate": 0.003}
        losses = {one.settings["training.learning_rate"]: one.loss or 9 for one in report.tried}
        assert losses[0.003] < losses[0.00001] < losses[0.0000001]
        assert report.test is not None and 10 <= report.test.sample <= 35
        assert report.plot is not None and picture_size(report.plot)[0] > 600
        written = read_settings(made.root / "curator.toml")
        assert written.training.learning_rate == 0.003


def test_an_interrupted_search_goes_on_and_looks_at_the_test_split_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with labelled(tmp_path, {"splits.test_share": "0.2"}) as made:
        trained: list[str] = []
        real = tuning.train_on

        def counted(*given: object, **more: object) -> object:
            trained.append("training")
            if len(trained) == 3:
                raise KeyboardInterrupt
            return real(*given, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(tuning, "train_on", counted)
        wanted = {"space": ["training.learning_rate=log:0.0001..0.01"], "trials": 4}
        with pytest.raises(KeyboardInterrupt):
            tune(made._workspace, **wanted)  # type: ignore[arg-type]
        first = tune(made._workspace, **wanted)  # type: ignore[arg-type]
        assert len(first.tried) == 4
        # Two before the interruption, the third again, the fourth, and the winner's own.
        assert len(trained) == 6
        again = tune(made._workspace, **wanted)  # type: ignore[arg-type]
        assert len(trained) == 6
        assert again.test == first.test
        assert again.winner == first.winner


def test_staged_search_gives_fewer_candidates_more_labels(tmp_path: Path) -> None:
    settings = {"tune.candidates": "[4, 2, 1]", "tune.shares": "[0.25, 0.5, 1.0]"}
    with labelled(tmp_path, settings) as made:
        report = tune(
            made._workspace,
            space=["training.learning_rate=0.00001,0.0001,0.001,0.003"],
            search="staged",
        )
    by_stage = {stage: [one for one in report.tried if one.stage == stage] for stage in (1, 2, 3)}
    assert [len(by_stage[stage]) for stage in (1, 2, 3)] == [4, 2, 1]
    labels = [by_stage[stage][0].labels for stage in (1, 2, 3)]
    assert labels == sorted(labels) and labels[0] < labels[2] / 2
    best = sorted(by_stage[1], key=lambda one: one.loss or 0.0)[:2]
    assert [one.settings for one in by_stage[2]] == [one.settings for one in best]


def test_lines_of_a_candidate_in_several_stages_have_names_of_their_own() -> None:
    record = {"epoch": 1, "seconds": 0.5, "validation_loss": 0.4}

    def trial(labels: int) -> FrozenTrial:
        return create_trial(
            params={"a.b": 0.1},
            distributions={"a.b": FloatDistribution(0.0, 1.0)},
            value=0.4,
            user_attrs={"labels": labels, "history": [record]},
        )

    staged = loss_chart([trial(1200), trial(4800)], "epoch")
    assert [one.name for one in staged.lines] == ["b 0.1, 1,200 labels", "b 0.1, 4,800 labels"]
    assert [one.name for one in loss_chart([trial(1200)], "seconds").lines] == ["b 0.1"]


def test_a_candidate_that_cannot_be_trained_does_not_end_the_search(tmp_path: Path) -> None:
    with labelled(tmp_path) as made:
        report = tune(
            made._workspace,
            space=["classifier.model=faces_comics_mlp,no_such_network"],
            search="grid",
        )
    failed = [one for one in report.tried if one.failed]
    assert [one.settings for one in failed] == [{"classifier.model": "no_such_network"}]
    assert "no model named" in failed[0].failed
    assert report.winner == {"classifier.model": "faces_comics_mlp"}


@pytest.mark.parametrize(
    ("space", "error", "says"),
    [
        ("training.learning_rat=0.1,0.2", UsageError, "training.learning_rate"),
        ("training.learning_rate=-1,0.2", SettingsError, "a number above 0"),
        ("training.learning_rate", UsageError, "is not a setting with its values"),
        ("training.learning_rate=0.2..0.1", UsageError, "empty range"),
        ("training.learning_rate=log:0..0.1", UsageError, "empty range"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(
    tmp_path: Path, space: str, error: type[Exception], says: str
) -> None:
    with labelled(tmp_path, each=2) as made, pytest.raises(error) as refused:
        tune(made._workspace, space=[space])
    assert says in str(refused.value)


def test_too_few_labels_are_said_with_their_cure(tmp_path: Path) -> None:
    with labelled(tmp_path, each=5) as made, pytest.raises(DataError, match="has 5"):
        tune(made._workspace)


def test_spaces_are_read_as_they_are_written() -> None:
    family, rate, whole = parse_space(
        ["classifier.model=cnn_c{1,2}_w{32,64},mlp", "a.b=log:0.1..10", "c.d=1..5"]
    )
    assert family.choices == ("cnn_c1_w32", "cnn_c1_w64", "cnn_c2_w32", "cnn_c2_w64", "mlp")
    assert (rate.low, rate.high, rate.logarithmic, rate.whole) == (0.1, 10.0, True, False)
    assert (whole.low, whole.high, whole.whole) == (1.0, 5.0, True)


def test_curves_are_measured_drawn_and_put_into_words(tmp_path: Path) -> None:
    with labelled(tmp_path, each=70) as made:
        epochs = curve_of_epochs(made._workspace, epochs=5, repetitions=2)
        sizes = curve_of_sizes(made._workspace, sizes=3, repetitions=2)
    assert epochs.epochs == (1, 2, 3, 4, 5)
    assert f"{epochs.enough} epoch" in epochs.verdict
    assert list(sizes.sizes) == sorted(sizes.sizes)
    assert sizes.sizes[-1] >= 3.5 * sizes.sizes[0]
    assert "labels the accuracy is" in sizes.verdict
    for curve in (epochs, sizes):
        assert picture_size(curve.plot)[0] > 600


def test_enough_is_what_repetitions_cannot_tell_from_the_best() -> None:
    """A lucky epoch late on must not make forty of them look needed; a sure gain must."""
    rng = np.random.default_rng(0)
    falling = np.r_[np.linspace(0.3, 0.15, 7), np.full(33, 0.15)]
    noisy = [falling + rng.normal(0, 0.01, (6, 40)) for _ in range(99)]
    assert 6 <= np.median([_enough(one) for one in noisy]) <= 11
    best = [np.argmax(one.mean(axis=0) <= one.mean(axis=0).min() + 0.001) + 1 for one in noisy]
    assert np.median(best) > 18
    sure = np.r_[np.full(20, 0.15), np.full(20, 0.12)]
    assert _enough(sure + rng.normal(0, 0.002, (6, 40))) > 20
    assert _enough(np.array([[0.3, 0.2, 0.1502, 0.15]])) == 3


def test_the_command_prints_plots_and_json(tmp_path: Path) -> None:
    labelled(tmp_path, each=20).close()
    root = tmp_path / "workspace"
    shown = curator("-w", root, "curve", "epochs", "--epochs", "2", "--repetitions", "1")
    assert "└──" in shown.stdout and "● training" in shown.stdout
    found = curator("-w", root, "tune", "training.learning_rate=0.001,0.002", "--search", "grid",
                    "--json")  # fmt: skip
    assert len(json.loads(found.stdout)["tried"]) == 2
    table = curator("-w", root, "tune", "training.learning_rate=0.001,0.002", "--search", "grid")
    assert "Winner: training.learning_rate=" in table.stdout


def test_a_law_is_found_again_and_its_uncertainty_covers_the_truth() -> None:
    sizes = np.array([100.0, 200, 400, 800, 1600, 3200])
    truth = PowerLaw(scale=2.0, rate=0.5, floor=0.01)
    rng = np.random.default_rng(0)
    noisy = truth.at(sizes) * rng.normal(1, 0.05, (6, len(sizes)))
    fitted = fit_power_law(sizes, noisy, judged=5000)
    assert fitted is not None
    assert fitted.law.rate == pytest.approx(0.5, abs=0.15)
    low, high = fitted.interval(np.array([12_800.0]))
    assert low[0] <= truth.at(np.array([12_800.0]))[0] <= high[0]
    exact = fit_power_law(sizes, truth.at(sizes)[None], judged=5000)
    assert exact is not None
    assert exact.law.at(np.array([50_000.0]))[0] == pytest.approx(
        truth.at(np.array([50_000.0]))[0], rel=0.02
    )
    assert fit_power_law(sizes[:2], noisy[:, :2], judged=5000) is None


@pytest.mark.parametrize("floor", [0.0, 0.08])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(floor: float) -> None:
    """Four times beyond the sizes, with the same 600 images judging all repetitions."""
    sizes = np.array([140.0, 280, 560, 1120, 2240])
    truth = PowerLaw(scale=1.0, rate=0.4, floor=floor)
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(40):
        sample = rng.binomial(600, truth.at(sizes[-1:])[0]) / 600 / truth.at(sizes[-1:])[0]
        noisy = truth.at(sizes) * sample * rng.normal(1, 0.04, (5, len(sizes)))
        fitted = fit_power_law(sizes, noisy, judged=600, draws=40)
        assert fitted is not None
        low, high = fitted.interval(4 * sizes[-1:])
        inside += int(low[0] <= truth.at(4 * sizes[-1:])[0] <= high[0])
    assert inside >= 33


def test_validation_takes_whole_groups_and_both_classes() -> None:
    rng = np.random.default_rng(1)
    units = rng.integers(0, 60, 300)
    positive = units % 3 == 0
    watched = validation_members(units, positive, 0.25, seed=4)
    assert not set(units[watched]) & set(units[~watched])
    assert watched[positive].any() and watched[~positive].any()
    assert 0.15 < watched.mean() < 0.35
    assert not validation_members(units, positive, 0.0, seed=4).any()
    small, large = (nested_subset(units, positive, share, seed=4) for share in (0.2, 0.6))
    assert (large | ~small).all() and small.sum() < large.sum()


@pytest.fixture
def hard(tmp_path: Path) -> Iterator[Pool]:
    """Classes that overlap: even the best rule is wrong on 16% of the images."""
    pool = Pool(tmp_path, size=900, distance=2.0)
    pool.label(range(400))
    yield pool
    pool.api.close()


def test_heads_have_a_curve_of_error_and_coverage_by_labels(hard: Pool) -> None:
    curve = hard.api.curve_of_sizes()
    assert curve.sizes[-1] == pytest.approx(300, abs=15)
    assert curve.repetitions == 10
    assert 0.14 < curve.error[-1] < curve.error[0] < 0.4
    assert len(curve.coverage) == len(curve.sizes)
    assert all(0 <= share <= 1 for share in curve.coverage)
    # What a large sample of images that it was not trained on shows.
    (report,) = hard.api.round(dry_run=True)
    assert curve.coverage[-1] == pytest.approx(report.coverage, abs=0.15)
    assert "of your labels" in curve.verdict
    shown = curator("-w", hard.api.root, "curve", "--repetitions", "2").stdout
    assert "share promoted" in shown
    assert "have no epochs" in curator("-w", hard.api.root, "curve", "epochs", expect=3).stderr


def test_a_random_sample_has_a_curve_and_chooses_no_settings(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=300, distance=2.0)
    pool.label(range(200), origin=Origin.CALIBRATION)
    assert pool.api.curve_of_sizes(repetitions=2).sizes[-1] == pytest.approx(150, abs=10)
    with pytest.raises(DataError, match=r"from seeds and reviews; .* has 0"):
        study_labels(pool.api._workspace, chooses=True)
    pool.api.close()


def test_nothing_is_predicted_from_noise(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=500, distance=0.0)
    pool.label(range(300))
    curve = pool.api.curve_of_sizes(repetitions=5)
    pool.api.close()
    assert curve.predicted == {}
    assert "does not fall by more than chance" in curve.verdict
    rng = np.random.default_rng(0)
    flat = [falls(rng.binomial(100, 0.2, (5, 4)) / 100, judged=300) for _ in range(400)]
    assert np.mean(flat) < 0.06
    steep = np.array([0.3, 0.2, 0.15, 0.1])
    assert falls(rng.binomial(100, steep, (5, 4)) / 100, judged=300)
