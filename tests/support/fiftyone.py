"""FiftyOne in an environment of its own: it needs MongoDB, which a test does without.

`pip install fiftyone mongomock` into a virtual environment and name its Python in
`CURATOR_FIFTYONE`; no test environment has the gigabyte that FiftyOne takes.
"""

from __future__ import annotations

import os
from typing import Any

from tests.support.needs import skip_unavoidably


def fiftyone_python() -> str:
    """The Python that has FiftyOne, or a skip."""
    python = os.environ.get("CURATOR_FIFTYONE", "")
    if not python:
        skip_unavoidably("FiftyOne, whose Python CURATOR_FIFTYONE names")
    return python


def import_fiftyone() -> Any:
    """FiftyOne with its database in memory; importers, schemas and exporters are its own."""
    os.environ["FIFTYONE_DATABASE_URI"] = "mongodb://localhost"
    os.environ["FIFTYONE_DATABASE_VALIDATION"] = "false"
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    import mongoengine
    import mongomock
    import pymongo
    from mongomock.store import ServerStore

    store, connect = ServerStore(), mongoengine.connect

    class MemoryClient(mongomock.MongoClient):
        """A client of the one database in memory."""

        _closed = False

        def __init__(self, *arguments: Any, appname: str = "", **options: Any) -> None:
            super().__init__(*arguments, **{"_store": store} | options)

    pymongo.MongoClient = MemoryClient
    mongoengine.connect = lambda name, **options: connect(
        name, mongo_client_class=MemoryClient, **options
    )
    import fiftyone

    return fiftyone
