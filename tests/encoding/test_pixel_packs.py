"""Packs of pixels: damaged rows are made again, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from curator.base.arrays import IntArray
from curator.base.vocabulary import LocationState, Quarantine
from curator.catalogue import features as catalogued
from curator.catalogue.counts import counts
from curator.catalogue.models import Location
from curator.encoding.pixel_packs import network_request, pack, pixel_input, ready_pixels
from curator.encoding.stored_rows import StoredRows, open_rows
from curator.maintenance.verify import verify
from curator.storage.rows import DamagedRowsError
from curator.workspace import Workspace
from tests.support.encoded import image_id


def packed(workspace: Workspace, only: IntArray | None = None) -> StoredRows:
    request = network_request(workspace.settings, workspace.root)
    return ready_pixels(workspace, pixel_input(workspace.catalogue, request), only=only)


def as_jpegs(workspace: Workspace) -> Workspace:
    settings = workspace.settings
    small = settings.model_copy(update={"pack": settings.pack.model_copy(update={"max_bytes": 1})})
    return replace(workspace, settings=small)


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_damaged_rows_are_named_and_made_again(ready: Workspace, codec: str) -> None:
    workspace = ready if codec == "raw" else as_jpegs(ready)
    first = pack(workspace)
    assert (first.codec, first.added, first.rebuilt) == (codec, 30, False)
    stored = packed(workspace)
    file, rows = stored.reader.file, np.arange(30)
    before = stored.gather(rows).copy()
    content = file.path.read_bytes()
    for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), content[1:], b""):
        file.path.write_bytes(damaged)
        opened = open_rows(workspace, stored.record)
        with pytest.raises(DamagedRowsError, match="curator pack"):
            opened.gather(rows)
        (finding,) = verify(workspace).findings
        assert str(file.path) in finding.text
        again = pack(workspace)
        assert again.rebuilt and again.images == 30 and 1 <= again.added <= 30
        np.testing.assert_array_equal(packed(workspace).gather(rows), before)
        assert verify(workspace).clean
        if codec == "raw":
            assert file.path.read_bytes() == content
        content = file.path.read_bytes()
    assert pack(workspace, rebuild=True).added == 30
    np.testing.assert_array_equal(packed(workspace).gather(rows), before)


def test_a_pack_from_before_digests_is_made_again(ready: Workspace) -> None:
    pack(ready)
    with ready.catalogue.write() as connection:
        connection.exec_driver_sql("DELETE FROM feature_block")
    again = pack(ready)
    assert (again.rebuilt, again.added) == (True, 30)
    assert verify(ready).clean


def test_an_image_without_a_file_goes_to_quarantine_as_it_does_when_encoding(
    ready: Workspace, pictures: Path
) -> None:
    first = sorted(pictures.rglob("*.jpg"))[0]
    lost = image_id(ready, first)
    first.unlink()
    with ready.catalogue.write() as connection:
        gone = sa.update(Location).where(Location.c.image_id == lost)
        connection.execute(gone.values(state=LocationState.MISSING))
    packed(ready, only=np.array([lost]))
    assert counts(ready.catalogue).quarantined == {Quarantine.VANISHED: 1}
    assert len(catalogued.list_feature_sets(ready.catalogue)) == 1
