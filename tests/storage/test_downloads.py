"""Downloaded files are kept within a limit, and compared before they are used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from curator.base.values import ImageFile
from curator.imaging.problems import ImageProblem
from curator.storage.downloads import DownloadCache
from tests.support.servers import web_server


def test_the_oldest_go_and_a_damaged_one_is_downloaded_again(tmp_path: Path) -> None:
    cache = DownloadCache(tmp_path / "cache", max_bytes=2_500)
    contents = [bytes([number]) * 1_000 for number in range(4)]
    with web_server(tmp_path / "web") as server:
        files = []
        for number, content in enumerate(contents):
            server.put(f"{number}.jpg", content)
            files.append(
                ImageFile(
                    image_id=number,
                    sha256=hashlib.sha256(content).digest(),
                    path=f"{server.url}/{number}.jpg".encode(),
                    size=1_000,
                    mtime_ns=0,
                )
            )
        for time, file in enumerate(files):
            assert cache.read(file, 10_000) == contents[file.image_id]
            os.utime(cache.path(file), (time, time))
        assert [cache.path(file).exists() for file in files] == [False, False, True, True]
        cache.path(files[3]).write_bytes(b"damaged")
        asked = len(server.faults.paths)
        assert cache.read(files[3], 10_000) == contents[3]
        assert cache.read(files[3], 10_000) == contents[3]
        assert len(server.faults.paths) == asked + 1
        server.put("3.jpg", b"another image")
        cache.path(files[3]).unlink()
        with pytest.raises(ImageProblem, match="another image"):
            cache.read(files[3], 10_000)
        assert not cache.path(files[3]).exists()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        linked = DownloadCache(tmp_path / "link", max_bytes=2_500)
        assert linked.read(files[2], 10_000) == contents[2]
        assert not list((tmp_path / "elsewhere").iterdir())
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 2_500
