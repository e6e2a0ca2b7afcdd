"""Pages of look-alikes: what is on a page, that each is asked once, and what its labels may do."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from curator.base.vocabulary import CurrentLabel, Label, Method, Origin
from curator.catalogue.labels import history
from curator.catalogue.pool import human_labels
from curator.review.clusters import CLUSTERS, PAGE, cluster_pages
from curator.review.session import ReviewSession
from curator.rounds.labels import training_labels
from tests.rounds.pool import Pool
from tests.support.command import curator


def test_a_page_is_of_one_kind_and_no_image_comes_twice() -> None:
    generator = np.random.default_rng(0)
    kinds = np.repeat(np.arange(60), 30)
    centres = generator.normal(size=(60, 64)) * 5
    features = centres[kinds] + generator.normal(size=(1_800, 64))
    ids = np.arange(1_800) * 3
    pages = cluster_pages(ids, features, seed=1)
    assert sorted(np.concatenate(pages).tolist()) == ids.tolist()
    assert max(map(len, pages)) == PAGE
    # All clusters come once before any comes again, the largest first.
    assert [len(page) for page in pages[: CLUSTERS // 2]] == [PAGE] * (CLUSTERS // 2)
    assert np.mean([len(set(kinds[page // 3])) == 1 for page in pages[:CLUSTERS]]) > 0.5
    again = cluster_pages(ids, features, seed=1)
    assert [page.tolist() for page in again] == [page.tolist() for page in pages]
    assert cluster_pages(ids[:0], features[:0], seed=1) == []
    same = cluster_pages(ids[:50], np.ones((50, 4)), seed=1)
    assert [page.tolist() for page in same] == [ids[:24].tolist(), ids[24:48].tolist(), [144, 147]]


@pytest.mark.slow
def test_pages_are_decided_one_by_one_and_their_labels_teach_and_never_measure(
    tmp_path: Path,
) -> None:
    pool = Pool(tmp_path, size=240, distance=12.0)
    ids, truth = pool.image_ids(), pool.truth
    is_good = dict(zip(ids.tolist(), truth.tolist(), strict=True))
    decided: list[int] = []
    with ReviewSession(pool.opened, "clusters", actor="somebody") as session:
        while cards := session.page(CurrentLabel.POSITIVE, 60):
            page = [card.image_id for card in cards]
            assert len(page) <= PAGE and not set(page) & set(decided)
            # The same page under the other class, as a key turns it.
            other = session.page(CurrentLabel.NEGATIVE, 60)
            assert [card.image_id for card in other] == page
            session.skip_on_page(page[:1])
            session.decide_page(
                [
                    (card, Label.POSITIVE if is_good[card.image_id] else Label.NEGATIVE)
                    for card in cards[1:]
                ]
            )
            decided += page
    assert sorted(decided) == sorted(ids.tolist())
    (event,) = history(pool.opened.catalogue, decided[1])
    assert (event.method, event.origin) == (Method.SHEET, Origin.REVIEW)
    labels = training_labels(human_labels(pool.opened.catalogue, 1), 20, 0)
    assert labels.trains.all() and len(labels.trains) > 200
    assert not (labels.calibrates | labels.representative | labels.sampled).any()


@pytest.mark.slow
def test_a_file_of_pages_is_labelled_as_pages(tmp_path: Path) -> None:
    pool = Pool(tmp_path, size=120, distance=12.0)
    file = tmp_path / "pages.csv"
    curator("-w", pool.api.root, "queue", "clusters", "--size", "30", "--output", file)
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["queue"] for row in rows] == ["clusters"] * 30
    for row in rows:
        row["label"] = "good" if pool.truth[int(Path(row["path"]).stem)] else "bad"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pool.api.label(file)
    human = human_labels(pool.opened.catalogue, 1)
    assert len(human.image_ids) == 30
    (event,) = history(pool.opened.catalogue, int(human.image_ids[0]))
    assert (event.method, event.origin) == (Method.SHEET, Origin.REVIEW)
