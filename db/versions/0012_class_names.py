"""The names of the classes beside the labels, so that names exchanged in the settings are noticed.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns; the next command that opens the workspace fills them."""
    for name in ("positive_name", "negative_name"):
        op.add_column("workspace_identity", sa.Column(name, sa.String(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
