"""Looking into the network of one image: the one that judges it, and encoders with heads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from curator.catalogue.images import image_chunks, image_details
from curator.catalogue.pool import unit_key
from curator.prediction.inside import Insight
from curator.statistics.folds import fold_of
from curator.workspace import Workspace
from tests.classifiers.networks.pictures import after_a_round, labelled

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Two small convolutional networks, trained for an epoch, that judge each other's half."""
    with after_a_round(tmp_path_factory.mktemp("inside")) as opened:
        yield opened


def test_the_network_that_judges_an_image_is_the_one_that_is_asked(trained: Workspace) -> None:
    from curator.classifiers.networks.classifier import load_finetuned
    from curator.classifiers.networks.gradcam import log_odds_of
    from curator.encoding.pixel_packs import spec_of
    from curator.prediction.inside import _file, _pixels
    from curator.prediction.predict import current_model

    model = current_model(trained)
    networks = load_finetuned(model.path, model.digest).networks(trained.root)
    insight, judges = Insight(trained), set()
    ids = [int(one) for chunk in image_chunks(trained.catalogue) for one in chunk][:12]
    for image_id in ids:
        half = int(fold_of(np.array([unit_key(trained.catalogue, image_id)]), 4, 0)[0]) % 2
        pixels = _pixels(trained, _file(trained, image_id), spec_of(model.feature_set))
        odds = log_odds_of(networks[half], pixels)
        assert insight.sight(image_id).probability == pytest.approx(1 / (1 + np.exp(-odds)))
        judges.add(half)
    assert judges == {0, 1}


def test_an_encoder_and_its_heads_can_be_looked_into_as_well(tmp_path: Path) -> None:
    settings = {"classifier.kind": "frozen", "classifier.model": "tf_efficientnet_lite0"}
    with labelled(tmp_path, settings, each=10) as made:
        made.round()
        opened = made._workspace
        some = next(iter(image_details(opened.catalogue, range(1, 5))))
        seen = Insight(opened).sight(some)
    assert seen.activation is not None
    assert len(seen.maps) > 10
