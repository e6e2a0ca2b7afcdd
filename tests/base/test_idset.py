"""Sets of image ids."""

from __future__ import annotations

from curator.base.idset import IdSet


def test_a_set_of_ids() -> None:
    ids = IdSet([3, 70_000, 3])
    assert (3 in ids, 4 in ids, 10**9 in ids) == (True, False, False)
    assert len(ids) == 2
    assert list(ids) == [3, 70_000]
    ids.add(9)
    assert ids.are([70_000, 9, 3])
    assert ids.are(IdSet([3, 9, 70_000]))
    assert not ids.are([3, 9])
