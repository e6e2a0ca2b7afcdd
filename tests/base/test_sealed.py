"""Files with a digest of their content: what is not what was written counts as missing."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator.base.sealed import (
    cut_to_seal,
    read_sealed,
    seal_file,
    seal_line,
    unsealed_line,
    write_sealed,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=60), st.data())
def test_any_other_bytes_are_noticed(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    path, notes = tmp_path / "sealed", []
    write_sealed(path, "key", content)
    whole = path.read_bytes()
    assert read_sealed(path, "key", notes.append) == content
    assert read_sealed(path, "other key") is None
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    changed = whole[:start] + data.draw(st.binary(max_size=20)) + whole[end:]
    path.write_bytes(changed)
    assert (read_sealed(path, "key", notes.append) == content) == (changed == whole)
    assert len(notes) == (changed != whole)
    path.unlink()
    assert read_sealed(path, "key", notes.append) is None


def test_a_line_keeps_its_seal() -> None:
    sealed = seal_line("key", '{"error": 0.25}')
    assert unsealed_line("key", sealed) == '{"error": 0.25}'
    for other in (sealed.replace("0.25", "0.35"), sealed[:-1], sealed[1:], "", "\n"):
        assert unsealed_line("key", other) is None
    assert unsealed_line("other", sealed) is None


def test_a_file_that_grows_is_cut_to_what_was_sealed(tmp_path: Path) -> None:
    path, notes = tmp_path / "journal", []
    cut_to_seal(path, notes.append)
    path.write_bytes(b"one\ntwo\n")
    seal_file(path)
    path.write_bytes(b"one\ntwo\nthr")
    cut_to_seal(path, notes.append)
    assert (path.read_bytes(), notes) == (b"one\ntwo\n", [])
    for damaged in (b"one\ntwx\n", b"one\n", b""):
        path.write_bytes(damaged)
        cut_to_seal(path, notes.append)
        assert not path.exists()
    assert len(notes) == 3
