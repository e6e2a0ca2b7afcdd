"""Bringing a catalogue's schema up to date; the only place that loads Alembic.

All steps from the old revision to the new one are one transaction: a migration that is
killed or fails leaves the catalogue as it was. Two processes that open an old catalogue
at once wait for each other, and the second finds nothing to do.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Engine

from curator.catalogue import sqlite
from curator.errors import CatalogueError


def upgrade(engine: Engine, folder: Path, revision: str) -> None:
    """Run the migrations in `folder` up to `revision`.

    Raises CatalogueError if rows would refer to nothing afterwards.
    """
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    with engine.connect() as plain:
        sqlite.suspend_foreign_keys(plain)
        connection = plain.execution_options(curator_write=True)
        with connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            problems = sqlite.foreign_key_problems(connection)
            if problems:
                raise CatalogueError(
                    f"The catalogue cannot be brought up to date: {problems[0]}.",
                    "Nothing was changed. Keep a copy of it, and report this.",
                )
        plain.invalidate()
