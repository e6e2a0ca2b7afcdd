"""The projection of a pool: fitted once, kept, and fitted again only where the user says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.classifiers.encoders import encoder, projection
from curator.encoding import encoder_choice, projections
from curator.encoding.encode import encode, ready_features
from curator.encoding.encoder_choice import find_encoded
from curator.encoding.projections import refit_advice
from curator.encoding.stored_rows import StoredRows, current_features, open_rows
from curator.errors import UsageError
from curator.maintenance.verify import verify
from curator.workspace import Workspace, create_workspace
from tests.encoding.test_encode import Notes
from tests.support import images
from tests.support.encoded import (
    add_folder,
    by_image,
    features_of,
    image_id,
    with_tiny_encoder,
)

pytestmark = pytest.mark.slow


def test_the_features_do_not_depend_on_the_order_of_adding(
    ready: Workspace, weights: Path, pictures: Path, tmp_path: Path
) -> None:
    made = create_workspace(tmp_path / "other", positive="good", negative="bad", recipe=None)
    add_folder(made, pictures / "good")
    add_folder(made, pictures)
    other = with_tiny_encoder(made, weights)
    first, second = features_of(ready), features_of(other)
    assert first.fingerprint == second.fingerprint
    assert first.keeps_variance
    path = sorted((pictures / "bad").glob("*.jpg"))[3]
    assert (
        by_image(ready, first)[image_id(ready, path)]
        == (by_image(other, second)[image_id(other, path)])
    )
    made.catalogue.close()


def of_an_earlier_version(workspace: Workspace) -> StoredRows:
    """Features of the last layer, with what an earlier version recorded of them."""
    settings = workspace.settings.classifier.model_copy(update={"layers": "final"})
    final = replace(
        workspace, settings=workspace.settings.model_copy(update={"classifier": settings})
    )
    record = features_of(final).record
    details = json.loads(json.dumps(dict(record.details)))
    del details["request"]["layers"]
    for name in ("layers", "projection", "instructions"):
        del details["identity"][name]
    with workspace.catalogue.write() as connection:
        statement = "UPDATE feature_set SET details = ? WHERE id = ?"
        values = (json.dumps(details), record.feature_set_id)
        connection.exec_driver_sql(statement, values)
    found = find_encoded(workspace)
    assert found is not None
    return open_rows(workspace, found)


def test_a_workspace_of_an_earlier_version_keeps_its_features_until_it_is_told_to(
    ready: Workspace, tmp_path: Path
) -> None:
    old = of_an_earlier_version(ready)
    before = by_image(ready, old)
    add_folder(ready, images.make_folder(tmp_path / "more", good=5, bad=4, seed=9))
    notes = Notes()
    features = ready_features(ready, notes)
    assert (features.feature_set_id, features.dimension) == (old.feature_set_id, 96)
    assert not features.keeps_variance
    after = by_image(ready, features)
    assert len(after) == 39
    assert {image: after[image] for image in before} == before
    assert any("curator encode --refit" in note for note in notes.texts)
    report = encode(ready, refit=True)
    assert report.encoded == 39
    moved = ready_features(ready)
    assert moved.feature_set_id == report.feature_set_id != old.feature_set_id
    assert moved.keeps_variance
    assert verify(ready).clean


def test_a_pool_that_has_grown_or_changed_is_advised_to_fit_again_and_one_that_has_not_is_not(
    ready: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(ready)

    def advice() -> str:
        record = find_encoded(ready)
        assert record is not None
        return refit_advice(ready.catalogue, ready.settings.classifier, record)

    assert advice() == ""
    add_folder(ready, images.make_folder(tmp_path / "more", good=20, bad=20, seed=9))
    first = features_of(ready)
    assert "fitted on 30 images, and the pool has 70 now" in advice()
    report = encode(ready, refit=True)
    assert (report.encoded, report.dimension) == (70, 69)
    assert advice() == ""
    assert encode(ready, refit=True).encoded == 0
    assert report.fingerprint != first.fingerprint

    monkeypatch.setattr(projections, "ENOUGH", 50)
    monkeypatch.setattr(projections, "JUDGED_FROM", 20)
    # A network with random weights sees little difference between pictures and noise.
    monkeypatch.setattr(projections, "UNLIKE", 1.2)
    monkeypatch.setattr(projection, "HELD_OUT_FROM", 50)
    add_folder(ready, images.make_folder(tmp_path / "again", good=10, bad=10, seed=5))
    encode(ready, refit=True)
    add_folder(ready, images.make_folder(tmp_path / "like", good=10, bad=10, seed=6))
    encode(ready)
    assert advice() == ""
    noise = tmp_path / "noise"
    noise.mkdir()
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(noise / f"{number}.png")
    add_folder(ready, noise)
    encode(ready)
    assert "that came after their fit" in advice()


def test_features_of_another_instruction_set_are_another_set(
    ready: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = encode(ready)
    with monkeypatch.context() as elsewhere:
        for module in (encoder_choice, encoder):
            elsewhere.setattr(module, "instruction_set", lambda device: "riscv64")
        assert current_features(ready) is None
        there = encode(ready)
    assert there.fingerprint != here.fingerprint
    assert encode(ready).fingerprint == here.fingerprint


def test_refit_is_refused_where_there_is_no_projection(ready: Workspace, weights: Path) -> None:
    for changes in ({"layers": "final"}, {"model": "features:mine"}):
        with pytest.raises(UsageError, match="--refit fits a projection"):
            encode(with_tiny_encoder(ready, weights, **changes), refit=True)
