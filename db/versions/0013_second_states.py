"""On PostgreSQL a second copy of `image_state`: a round fills it while people label.

Readers use the copy that `in_use` names, and the commit of a round exchanges the two
(`curator/catalogue/postgres.py`). On SQLite nothing changes: a file has one writer at a time.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a schema with three tables; no row changes.

    The copy has no foreign keys: every row is derived from events, and `curator verify` does so.
    """
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("CREATE SCHEMA curator_second")
    op.execute("CREATE TABLE curator_second.image_state (LIKE image_state INCLUDING ALL)")
    op.execute("CREATE TABLE curator_second.changed (image_id BIGINT PRIMARY KEY)")
    op.execute("CREATE TABLE curator_second.in_use (is_second BOOLEAN NOT NULL)")
    op.execute("INSERT INTO curator_second.in_use VALUES (false)")
