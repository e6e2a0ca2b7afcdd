"""Sources that people dropped, for `curator log`; earlier drops left no trace but their backups.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add a table; no row changes."""
    op.create_table(
        "source_drop",
        sa.Column("id", KEY, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        *(
            sa.Column(name, KEY, nullable=False)
            for name in ("files", "images", "labelled", "promoted")
        ),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_drop")),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER source_drop_no_change BEFORE UPDATE OR DELETE OR TRUNCATE"
            " ON source_drop FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        return
    for verb in ("update", "delete"):
        op.execute(
            f"CREATE TRIGGER source_drop_no_{verb} BEFORE {verb} ON source_drop BEGIN"
            " SELECT RAISE(ABORT, 'source_drop is append-only'); END"
        )


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
