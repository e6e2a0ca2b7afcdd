"""Real servers that hold pictures: a web server that lists folders, and an S3-compatible store.

Both can be told to fail: `faults` decides about each request, given its number.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from curator.sources import files

BUCKET = "pictures"


@dataclass
class Faults:
    """What goes wrong with a server from now on; how many requests it has had, by method."""

    every: int = 0
    """Each so many-th request is answered with 503."""
    seconds: float = 0.0
    """Every answer takes so long."""
    gone_after: int = -1
    """After so many requests connections are cut; -1 for never."""
    paths: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, path: str) -> str:
        """`fail`, `gone` or nothing for the next request."""
        with self._lock:
            self.paths.append(path)
            number = len(self.paths)
        time.sleep(self.seconds)
        if 0 <= self.gone_after < number:
            return "gone"
        return "fail" if self.every and number % self.every == 0 else ""


@dataclass
class Server:
    """A running server: the URL of its pictures, and its faults."""

    url: str
    faults: Faults
    put: Callable[[str, bytes], None]
    delete: Callable[[str], None]

    def upload(self, folder: Path) -> None:
        """All files of a folder, under the URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(path.relative_to(folder).as_posix(), path.read_bytes())


def web_handler(root: Path, faults: Faults) -> type[SimpleHTTPRequestHandler]:
    """Python's own file server, with keep-alive and faults."""

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(root))

        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            fault = faults.next(f"{self.command} {self.path}")
            if fault == "gone":
                self.close_connection = True
                return False
            if fault:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return not fault

        def log_message(self, format: str, *arguments: Any) -> None: ...

    return Handler


@contextmanager
def listening(handler: type[SimpleHTTPRequestHandler]) -> Iterator[str]:
    """A web server with this handler; its address without a slash."""
    files._of_scheme.cache_clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
        files._of_scheme.cache_clear()


@contextmanager
def web_server(root: Path) -> Iterator[Server]:
    """Python's file server over `root`, whose folder `pictures` is the source."""
    folder, faults = root / BUCKET, Faults()
    folder.mkdir(parents=True, exist_ok=True)

    def put(name: str, content: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    with listening(web_handler(root, faults)) as address:
        yield Server(f"{address}/{BUCKET}", faults, put, lambda name: (folder / name).unlink())


@contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Moto's S3, with a bucket; programs find it through the environment."""
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    faults = Faults()
    inner = DomainDispatcherApplication(create_backend_app)

    class Quiet(WSGIRequestHandler):
        def log(self, *arguments: Any) -> None: ...

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        fault = faults.next(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if fault == "gone":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionError
        if fault:
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
        return inner(environ, start_response)

    files._of_scheme.cache_clear()
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key-of-the-test",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)

    def put(name: str, content: bytes) -> None:
        client.put_object(Bucket=BUCKET, Key=f"all/{name}", Body=content)

    def delete(name: str) -> None:
        client.delete_object(Bucket=BUCKET, Key=f"all/{name}")

    try:
        yield Server(f"s3://{BUCKET}/all", faults, put, delete)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
        client.close()
        files._of_scheme.cache_clear()
