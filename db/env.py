"""Alembic's entry point: runs migrations on the connection that `curator` hands over.

The caller has begun an immediate transaction and will commit it, so that a catalogue is
migrated completely or not at all. For `alembic revision` a URL can be given with `-x`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context
from sqlalchemy.engine import Connection

from curator.catalogue.models import METADATA


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        transactional_ddl=True,
        render_as_batch=True,
        compare_server_default=True,
    )
    context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _migrate(handed_over)
else:
    url = context.get_x_argument(as_dictionary=True)["url"]
    with sa.create_engine(url).begin() as own:
        _migrate(own)
