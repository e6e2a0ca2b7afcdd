"""`simulate` on a real workspace: the real thing on arrays, and no trace in the catalogue."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from curator.base.arrays import positions_in
from curator.base.progress import SILENT, Stage
from curator.catalogue.pool import current_scores, read_pool
from curator.classifiers.heads.frozen import FrozenHeads
from curator.encoding.stored_rows import current_features
from curator.errors import DataError, UsageError
from curator.rounds.neighbour_graph import pool_graph
from curator.simulation.policies import play_thresholds
from curator.simulation.replay import KnownPool, SimulationRun
from curator.simulation.simulate import SimulationRequest, simulate
from tests.rounds.pool import Pool

pytestmark = pytest.mark.slow

SMALL = SimulationRequest(seeds=(20,), max_errors=(0.1,), decisions=120, repetitions=2)
QUICK = SimulationRequest(seeds=(20,), policies=("raw", "calibrated"), repetitions=2)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path, size=400, distance=5.0)


def write_truth(pool: Pool, folder: Path, *, left_out: int = 0) -> Path:
    """The truth about all images but the first few."""
    names = sorted((folder / "pictures").iterdir())
    path = folder / "truth.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        for name, positive in list(zip(names, pool.truth, strict=True))[left_out:]:
            writer.writerow([f"pictures/{name.name}", "good" if positive else "bad"])
    return path


def rows_of_all_tables(pool: Pool) -> dict[str, list[object]]:
    catalogue = pool.opened.catalogue
    with catalogue.read() as connection:
        names = sa.inspect(connection).get_table_names()
        return {
            name: [tuple(row) for row in connection.execute(sa.text(f'SELECT * FROM "{name}"'))]  # noqa: S608
            for name in names
        }


def test_rehearsed_rounds_are_real_rounds(tmp_path: Path) -> None:
    """Scores and promotions, gates included, image by image and round by round."""
    pool = Pool(tmp_path, size=400, distance=5.0, settings={"promotion.promote_above": "0.95"})
    pool.change({"gates.distance": "0.7"})
    pool.label(range(60))
    ids, labelled = pool.image_ids(), np.arange(400) < 60
    features, settings = current_features(pool.opened), pool.opened.settings
    assert features is not None
    real_pool = read_pool(pool.opened.catalogue, features.feature_set_id)
    (chunk,) = real_pool.chunks
    known = KnownPool(rows=chunk.feature_rows, unit_keys=chunk.unit_keys, truth=pool.truth)
    folder = pool.opened.folder("graphs")
    graph = pool_graph(folder, features, real_pool, 0, SILENT)
    assert graph is not None
    rehearsal = SimulationRun(
        known,
        features,
        FrozenHeads(settings),
        neighbours=graph.neighbours,
        vectors=graph.vectors[positions_in(graph.neighbours.rows, known.rows)],
        distance=settings.gates.distance,
    )
    played = rehearsal.rounds(np.arange(60), pool.truth[:60], rounds=2, seed=0)
    for number, scores in enumerate(played, 1):
        (report,) = pool.api.round()
        real = current_scores(pool.opened.catalogue, ids)
        assert scores.probability == pytest.approx(real[~labelled], abs=1e-9)
        assert scores.label_probability == pytest.approx(real[labelled], abs=1e-9)
        standing = play_thresholds(played[:number], settings.promotion)
        assert standing.positive + standing.negative == report.counts.standing_promoted > 0
        assert sum(asdict(report.counts.held_back).values()) > 0
        assert standing.coverage == pytest.approx(report.coverage)
    assert not np.allclose(played[0].probability, played[1].probability)


def test_every_combination_is_played_and_the_workspace_is_left_alone(
    pool: Pool, tmp_path: Path
) -> None:
    pool.label(range(10))
    before = rows_of_all_tables(pool)
    wish = SimulationRequest(
        seeds=(20, 40), max_errors=(0.1,), decisions=150, rounds=(1, 2), repetitions=2
    )
    found = simulate(pool.opened, write_truth(pool, tmp_path), wish)
    assert rows_of_all_tables(pool) == before
    assert len(found.rows) == (2 + 1) * 2 * 2
    assert all(row.repetitions == 2 for row in found.rows)
    assert found.images == 400
    assert found.positive == pool.truth.sum()
    assert found.finished
    assert found.plot.stat().st_size > 5_000
    certified = [row for row in found.rows if row.setting.policy == "certified"]
    assert all(row.decisions <= 150 for row in certified)
    assert max(row.coverage for row in certified) > 0.3
    thresholds = [row for row in found.rows if row.setting.policy == "calibrated"]
    assert all(row.decisions == row.setting.seeds for row in thresholds)


def test_what_was_played_is_not_played_again_and_more_continues(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_truth(pool, tmp_path)
    trained: list[int] = []
    real = SimulationRun.rounds

    def counted(self: SimulationRun, *given: object, **named: object) -> object:
        trained.append(1)
        return real(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulationRun, "rounds", counted)
    first = simulate(pool.opened, truth, QUICK)
    assert len(trained) == 2
    again = simulate(pool.opened, truth, QUICK)
    assert len(trained) == 2
    assert again.rows == first.rows
    more = replace(QUICK, repetitions=3)
    assert simulate(pool.opened, truth, more).rows[0].repetitions == 3
    assert len(trained) == 3
    # A line that was cut short is played again, and only that.
    (kept,) = (tmp_path / "workspace" / ".curator" / "reports" / "simulations").iterdir()
    text = kept.read_text()
    kept.write_text(text[: len(text) - 30])
    assert simulate(pool.opened, truth, more).rows[0].repetitions == 3
    assert len(trained) == 4
    # Other settings, other rehearsals.
    pool.change({"promotion.promote_above": "0.95"})
    simulate(pool.opened, truth, QUICK)
    assert len(trained) == 6


class Impatient:
    """Somebody who presses Ctrl-C after so many repetitions."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def note(self, text: str) -> None: ...

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Stage]:
        if name == "neighbours":
            with SILENT.stage(name, total, unit) as stage:
                yield stage
            return
        yield self

    def expect(self, total: int) -> None: ...

    def advance(self, count: int = 1) -> None:
        self.patience -= 1
        if self.patience == 0:
            raise KeyboardInterrupt


def test_interrupted_it_says_what_is_finished_and_goes_on_later(pool: Pool, tmp_path: Path) -> None:
    truth = write_truth(pool, tmp_path)
    wish = replace(QUICK, repetitions=4)
    partly = simulate(pool.opened, truth, wish, progress=Impatient(2))
    assert not partly.finished
    assert {row.repetitions for row in partly.rows} == {2}
    whole = simulate(pool.opened, truth, wish)
    assert whole.finished
    assert {row.repetitions for row in whole.rows} == {4}


def test_images_without_truth_are_left_out_and_counted(pool: Pool, tmp_path: Path) -> None:
    truth = write_truth(pool, tmp_path, left_out=100)
    with truth.open("a") as stream:
        stream.write("pictures/nowhere.png,good\npictures/00000.png,unsure\n")
    found = simulate(pool.opened, truth, QUICK)
    assert (found.images, found.without_truth) == (300, 100)
    assert (found.unknown, found.unsure) == (1, 1)


def says(
    pool: Pool, truth: Path, wish: SimulationRequest, kind: type[Exception] = UsageError
) -> str:
    with pytest.raises(kind) as caught:
        simulate(pool.opened, truth, wish)
    return str(caught.value)


def test_wishes_that_make_no_sense_are_refused(pool: Pool, tmp_path: Path) -> None:
    truth = write_truth(pool, tmp_path)
    assert "0 seeds are too few" in says(pool, truth, SimulationRequest(seeds=(0, 100)))
    assert "no policy `guess`" in says(pool, truth, SimulationRequest(policies=("guess",)))
    assert "--flipped 0.7" in says(pool, truth, SimulationRequest(flipped=0.7))
    assert "--slips -0.1" in says(pool, truth, SimulationRequest(slips=-0.1))
    assert "leave none for the audit" in says(
        pool, truth, SimulationRequest(seeds=(50,), decisions=50)
    )
    for error in (0.0, 0.6):
        text = says(pool, truth, SimulationRequest(max_errors=(error,)), DataError)
        assert f"at most {error:g} wrong labels cannot be tested" in text
    assert "too few to simulate 300 seeds" in says(
        pool, truth, SimulationRequest(seeds=(300,)), DataError
    )
    too_many = SimulationRequest(seeds=(100,), decisions=300)
    assert "an audit of 200" in says(pool, truth, too_many, DataError)
    unknown = SimulationRequest(seeds=(20,), features=("dino",))
    assert "no features named dino" in says(pool, truth, unknown, DataError)


def test_truth_that_does_not_do_is_refused(pool: Pool, tmp_path: Path) -> None:
    path = write_truth(pool, tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(x for x in lines if x.endswith("good"))]))
    assert "are good" in says(pool, path, SMALL, DataError)
    path.write_text("path,label\npictures/nowhere.png,good\n")
    assert "none of its 1 rows labels an image" in says(pool, path, SMALL, DataError)
    path.write_text("path,label\npictures/00000.png,good\npictures/00000.png,bad\n")
    assert "line 3 gives an image the other class" in says(pool, path, SMALL, DataError)
    path.write_text("path,label\npictures/00000.png,fine\n")
    assert "there is no label `fine`" in says(pool, path, SMALL, DataError)


def test_without_features_it_says_what_to_do(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=30, settings={"classifier.model": "features:drawn"})
    pool.change({"classifier.model": "features:other"})
    assert "curator encode" in says(pool, write_truth(pool, tmp_path), SMALL, DataError)


def test_a_class_too_rare_for_the_seeds_is_counted_not_hidden(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=400, share=0.02)
    found = simulate(pool.opened, write_truth(pool, tmp_path), SMALL)
    assert all(row.untrained > 0 for row in found.rows)
    assert "too few images of one class" in found.advice


def test_from_python_the_wish_is_given_by_name(pool: Pool, tmp_path: Path) -> None:
    truth = write_truth(pool, tmp_path)
    found = pool.api.simulate(truth, seeds=(20,), policies=("raw",), repetitions=1)
    (row,) = found.rows
    assert (row.setting.seeds, row.setting.policy, row.repetitions) == (20, "raw", 1)
    with pytest.raises(TypeError):
        pool.api.simulate(truth, seed=20)
