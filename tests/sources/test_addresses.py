"""URLs of sources: one form, nothing secret, and three parts in every refusal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import UsageError
from curator.sources import files
from curator.sources.addresses import canonical, joined, named
from tests.support.command import curator


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("s3://bucket", b"s3://bucket"),
        ("S3://bucket/a b/?c#d/", b"s3://bucket/a b/?c#d"),
        ("https://Host.example/A b/ü%41/", b"https://host.example/A%20b/%C3%BCA"),
        ("http://host:8000/", b"http://host:8000"),
        ("https://host/100%25", b"https://host/100%25"),
    ],
)
def test_a_url_has_one_form(text: str, kept: bytes) -> None:
    assert canonical(text) == kept
    assert canonical(kept.decode()) == kept


@pytest.mark.parametrize(
    "text",
    [
        "https://me:secret@host/a", "https://host/a?sig=secret", "https://host/a#secret",
        "s3://key:secret@bucket/a", "https:///a", "s3://", "https://host/../a", "s3://b/../a",
        "s3://b//a", "https://host/%2e%2e/a", "ftp://host/secret", "http://[bad/a", "https://a b/c",
    ],
)  # fmt: skip
def test_what_no_source_can_have_is_refused_and_nothing_secret_is_said(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        canonical(text)
    assert "secret" not in str(raised.value) and raised.value.advice


@given(st.text(min_size=1).filter(lambda name: not {"/", "\0"} & set(name)))
def test_any_name_has_one_url(name: str) -> None:
    name = name.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if name in (".", ".."):
        return
    url = joined(b"https://host/a", name)
    assert url.count(b"/") == 4 and url.isascii() and named(url) == url


def test_a_url_of_an_extra_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curator("init", tmp_path / "ws")
    files._of_scheme.cache_clear()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    refused = curator("-w", tmp_path / "ws", "add", "s3://bucket/a", expect=2).stderr
    assert "s3fs" in refused and "pip install 'curator[s3]'" in refused


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/a", "https://host/a?X-Amz-Signature=secret"]
)
def test_a_refused_url_leaves_nothing_behind(tmp_path: Path, url: str) -> None:
    curator("init", tmp_path / "ws")
    assert "secret" not in curator("-w", tmp_path / "ws", "add", url, expect=2).stderr
    assert not any(
        b"secret" in path.read_bytes() for path in (tmp_path / "ws").rglob("*") if path.is_file()
    )
