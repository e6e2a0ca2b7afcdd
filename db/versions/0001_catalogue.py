"""The catalogue as it began: sources, images, groups, events, rounds, scores, audits.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.BigInteger()  # microseconds since 1970, UTC
APPEND_ONLY = ("label_event", "round", "head_move")
QUARANTINE_KNOWN = (
    "quarantine IN ('empty', 'not-an-image', 'unsupported', 'truncated', 'corrupt', 'too-large',"
    " 'unreadable', 'vanished', 'changing')"
)
APPLICATION_ID = 0x43555241


def upgrade() -> None:
    _feature_set()
    _grouping()
    _image()
    _lease()
    _source()
    _claim()
    _feature_row()
    _flag()
    _image_group()
    _image_signature()
    _location()
    _preview()
    _round()
    _skip()
    _frame()
    _head_move()
    _label_event()
    _membership()
    _score_generation()
    _audit()
    _block()
    _frame_member()
    _head()
    _image_state()
    _score()
    _staged_decision()
    _audit_item()
    _certificate()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION '% is append-only', TG_TABLE_NAME"
            " USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        for table in APPEND_ONLY:
            op.execute(
                f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            )
    else:
        for table in APPEND_ONLY:
            for verb in ("update", "delete"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN"
                    f" SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        op.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    op.execute("INSERT INTO head (id, round_id, generation_id) VALUES (1, NULL, NULL)")


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")


def _feature_set() -> None:
    op.create_table(
        "feature_set",
        sa.Column("id", KEY, nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("dimension", KEY, nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.CheckConstraint("dimension > 0", name=op.f("ck_feature_set_dimension_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feature_set")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_feature_set_fingerprint")),
    )


def _grouping() -> None:
    op.create_table(
        "grouping",
        sa.Column("id", KEY, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("version", KEY, nullable=False),
        sa.Column("is_current", KEY, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("group_count", KEY, nullable=False),
        sa.Column("member_count", KEY, nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.CheckConstraint("kind IN ('perceptual', 'user')", name=op.f("ck_grouping_kind_known")),
        sa.CheckConstraint("is_current IN (0, 1)", name=op.f("ck_grouping_is_current_boolean")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grouping")),
        sa.UniqueConstraint("kind", "version", name=op.f("uq_grouping_kind_version")),
    )
    op.create_index(
        "uq_grouping_current",
        "grouping",
        ["kind"],
        unique=True,
        sqlite_where=sa.text("is_current = 1"),
        postgresql_where=sa.text("is_current = 1"),
    )


def _image() -> None:
    op.create_table(
        "image",
        sa.Column("id", KEY, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("size", KEY, nullable=False),
        sa.Column("width", KEY, nullable=True),
        sa.Column("height", KEY, nullable=True),
        sa.Column("format", sa.String(), nullable=True),
        sa.Column("mode", sa.String(), nullable=True),
        sa.Column("perceptual_hash", KEY, nullable=True),
        sa.Column("quarantine", sa.String(), nullable=True),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.CheckConstraint(QUARANTINE_KNOWN, name=op.f("ck_image_quarantine_known")),
        sa.CheckConstraint("length(sha256) = 32", name=op.f("ck_image_sha256_is_32_bytes")),
        sa.CheckConstraint(
            "quarantine IS NOT NULL OR (coalesce(width, 0) > 0 AND coalesce(height, 0) > 0)",
            name=op.f("ck_image_usable_has_size"),
        ),
        sa.CheckConstraint("size >= 0", name=op.f("ck_image_size_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
        sa.UniqueConstraint("sha256", name=op.f("uq_image_sha256")),
    )
    op.create_index(
        "ix_image_quarantine",
        "image",
        ["quarantine"],
        unique=False,
        sqlite_where=sa.text("quarantine IS NOT NULL"),
        postgresql_where=sa.text("quarantine IS NOT NULL"),
    )


def _lease() -> None:
    op.create_table(
        "lease",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", KEY, nullable=False),
        sa.Column("process_started", sa.Double(), nullable=False),
        sa.Column("acquired_at", MOMENT, nullable=False),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )


def _source() -> None:
    op.create_table(
        "source",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("licence", sa.String(), nullable=False),
        sa.Column("attribution", sa.String(), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
        sa.UniqueConstraint("root", name=op.f("uq_source_root")),
    )


def _claim() -> None:
    op.create_table(
        "claim",
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_claim_image_id_image")),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_claim")),
    )
    op.create_index("ix_claim_expires", "claim", ["expires_at"], unique=False)
    op.create_index("ix_claim_session", "claim", ["session"], unique=False)


def _feature_row() -> None:
    op.create_table(
        "feature_row",
        sa.Column("feature_set_id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("array_row", KEY, nullable=False),
        sa.CheckConstraint("array_row >= 0", name=op.f("ck_feature_row_row_not_negative")),
        sa.ForeignKeyConstraint(
            ["feature_set_id"],
            ["feature_set.id"],
            name=op.f("fk_feature_row_feature_set_id_feature_set"),
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_feature_row_image_id_image")
        ),
        sa.PrimaryKeyConstraint("feature_set_id", "image_id", name=op.f("pk_feature_row")),
        sa.UniqueConstraint(
            "feature_set_id", "array_row", name=op.f("uq_feature_row_feature_set_id_array_row")
        ),
        sqlite_with_rowid=False,
    )


def _flag() -> None:
    op.create_table(
        "flag",
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("flagged_at", MOMENT, nullable=False),
        sa.Column("resolved_at", MOMENT, nullable=True),
        sa.Column("resolved_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_flag_image_id_image")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flag")),
    )
    op.create_index("ix_flag_image", "flag", ["image_id"], unique=False)
    op.create_index(
        "ix_flag_open",
        "flag",
        ["flagged_at"],
        unique=False,
        sqlite_where=sa.text("resolved_at IS NULL"),
        postgresql_where=sa.text("resolved_at IS NULL"),
    )


def _image_group() -> None:
    op.create_table(
        "image_group",
        sa.Column("id", KEY, nullable=False),
        sa.Column("grouping_id", KEY, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("representative_id", KEY, nullable=True),
        sa.ForeignKeyConstraint(
            ["grouping_id"], ["grouping.id"], name=op.f("fk_image_group_grouping_id_grouping")
        ),
        sa.ForeignKeyConstraint(
            ["representative_id"], ["image.id"], name=op.f("fk_image_group_representative_id_image")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_group")),
        sa.UniqueConstraint("grouping_id", "name", name=op.f("uq_image_group_grouping_id_name")),
    )
    op.create_index(
        "ix_image_group_representative",
        "image_group",
        ["representative_id"],
        unique=False,
        sqlite_where=sa.text("representative_id IS NOT NULL"),
        postgresql_where=sa.text("representative_id IS NOT NULL"),
    )


def _image_signature() -> None:
    op.create_table(
        "image_signature",
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_image_signature_image_id_image")
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_image_signature")),
    )


def _location() -> None:
    op.create_table(
        "location",
        sa.Column("id", KEY, nullable=False),
        sa.Column("source_id", KEY, nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("size", KEY, nullable=False),
        sa.Column("mtime_ns", KEY, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("image_id", KEY, nullable=True),
        sa.Column("quarantine", sa.String(), nullable=True),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.CheckConstraint(QUARANTINE_KNOWN, name=op.f("ck_location_quarantine_known")),
        sa.CheckConstraint(
            "state IN ('present', 'changed', 'missing')", name=op.f("ck_location_state_known")
        ),
        sa.CheckConstraint(
            "image_id IS NOT NULL OR quarantine IS NOT NULL",
            name=op.f("ck_location_image_or_reason"),
        ),
        sa.CheckConstraint("length(path) > 0", name=op.f("ck_location_path_not_empty")),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_location_image_id_image")
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["source.id"], name=op.f("fk_location_source_id_source")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_location")),
    )
    op.create_index("ix_location_image", "location", ["image_id", "state"], unique=False)
    op.create_index(
        "ix_location_quarantine",
        "location",
        ["quarantine"],
        unique=False,
        sqlite_where=sa.text("quarantine IS NOT NULL"),
        postgresql_where=sa.text("quarantine IS NOT NULL"),
    )
    op.create_index("ix_location_source", "location", ["source_id", "state"], unique=False)
    op.create_index(
        "uq_location_path",
        "location",
        ["source_id", "path"],
        unique=True,
        sqlite_where=sa.text("state <> 'changed'"),
        postgresql_where=sa.text("state <> 'changed'"),
    )


def _preview() -> None:
    op.create_table(
        "preview",
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("pack", KEY, nullable=False),
        sa.Column("start", KEY, nullable=False),
        sa.Column("length", KEY, nullable=False),
        sa.CheckConstraint(
            "pack >= 0 AND start >= 0 AND length > 0", name=op.f("ck_preview_place_valid")
        ),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_preview_image_id_image")),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_preview")),
    )
    op.create_index("ix_preview_place", "preview", ["pack", "start"], unique=False)


def _round() -> None:
    op.create_table(
        "round",
        sa.Column("id", KEY, nullable=False),
        sa.Column("parent_id", KEY, nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("seed", KEY, nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("feature_set_id", KEY, nullable=True),
        sa.Column("perceptual_grouping_id", KEY, nullable=True),
        sa.Column("user_grouping_id", KEY, nullable=True),
        sa.Column("model_digest", sa.String(), nullable=True),
        sa.Column("score_digest", sa.String(), nullable=True),
        sa.Column("promoted_positive", KEY, nullable=False),
        sa.Column("promoted_negative", KEY, nullable=False),
        sa.Column("revoked", KEY, nullable=False),
        sa.Column("standing_promoted", KEY, nullable=False),
        sa.Column("without_human", KEY, nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=False),
        sa.CheckConstraint("kind IN ('train', 'certify')", name=op.f("ck_round_kind_known")),
        sa.CheckConstraint(
            "parent_id IS NULL OR parent_id < id", name=op.f("ck_round_parent_is_earlier")
        ),
        sa.ForeignKeyConstraint(
            ["feature_set_id"], ["feature_set.id"], name=op.f("fk_round_feature_set_id_feature_set")
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["round.id"], name=op.f("fk_round_parent_id_round")),
        sa.ForeignKeyConstraint(
            ["perceptual_grouping_id"],
            ["grouping.id"],
            name=op.f("fk_round_perceptual_grouping_id_grouping"),
        ),
        sa.ForeignKeyConstraint(
            ["user_grouping_id"], ["grouping.id"], name=op.f("fk_round_user_grouping_id_grouping")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        sqlite_autoincrement=True,
    )


def _skip() -> None:
    op.create_table(
        "skip",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("skipped_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_skip_image_id_image")),
        sa.PrimaryKeyConstraint("session", "queue", "image_id", name=op.f("pk_skip")),
        sqlite_with_rowid=False,
    )


def _frame() -> None:
    op.create_table(
        "frame",
        sa.Column("id", KEY, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size", KEY, nullable=False),
        sa.Column("round_id", KEY, nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.CheckConstraint("size > 0", name=op.f("ck_frame_size_positive")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_frame_round_id_round")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_frame")),
        sa.UniqueConstraint("digest", name=op.f("uq_frame_digest")),
    )


def _head_move() -> None:
    op.create_table(
        "head_move",
        sa.Column("id", KEY, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("from_id", KEY, nullable=True),
        sa.Column("to_id", KEY, nullable=True),
        sa.Column("blocked", KEY, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("moved_at", MOMENT, nullable=False),
        sa.CheckConstraint("kind IN ('commit', 'rollback')", name=op.f("ck_head_move_kind_known")),
        sa.CheckConstraint("blocked >= 0", name=op.f("ck_head_move_blocked_not_negative")),
        sa.ForeignKeyConstraint(["from_id"], ["round.id"], name=op.f("fk_head_move_from_id_round")),
        sa.ForeignKeyConstraint(["to_id"], ["round.id"], name=op.f("fk_head_move_to_id_round")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head_move")),
    )


def _label_event() -> None:
    op.create_table(
        "label_event",
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("reasons", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=True),
        sa.Column("session", sa.String(), nullable=True),
        sa.Column("target_id", KEY, nullable=True),
        sa.Column("round_id", KEY, nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "(kind = 'retract') = (target_id IS NOT NULL)",
            name=op.f("ck_label_event_retract_has_target"),
        ),
        sa.CheckConstraint(
            "(kind IN ('promote', 'revoke')) = (method = 'round')",
            name=op.f("ck_label_event_method_fits_kind"),
        ),
        sa.CheckConstraint(
            "(kind IN ('promote', 'revoke')) = (origin = 'promoted')",
            name=op.f("ck_label_event_origin_fits_kind"),
        ),
        sa.CheckConstraint(
            "(kind IN ('promote', 'revoke')) = (round_id IS NOT NULL)",
            name=op.f("ck_label_event_rounds_name_theirs"),
        ),
        sa.CheckConstraint(
            "kind <> 'promote' OR label <> 'unsure'", name=op.f("ck_label_event_promote_is_a_class")
        ),
        sa.CheckConstraint(
            "kind IN ('assert', 'retract', 'promote', 'revoke')",
            name=op.f("ck_label_event_kind_known"),
        ),
        sa.CheckConstraint(
            "label IN ('positive', 'negative', 'unsure')", name=op.f("ck_label_event_label_known")
        ),
        sa.CheckConstraint(
            "method IN ('single', 'sheet', 'blind', 'import', 'round')",
            name=op.f("ck_label_event_method_known"),
        ),
        sa.CheckConstraint(
            "origin IN ('seed', 'review', 'calibration', 'audit', 'promoted')",
            name=op.f("ck_label_event_origin_known"),
        ),
        sa.CheckConstraint(
            "probability BETWEEN 0 AND 1", name=op.f("ck_label_event_probability_in_range")
        ),
        sa.CheckConstraint("target_id < id", name=op.f("ck_label_event_target_is_earlier")),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_label_event_image_id_image")
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["round.id"], name=op.f("fk_label_event_round_id_round")
        ),
        sa.ForeignKeyConstraint(
            ["target_id"], ["label_event.id"], name=op.f("fk_label_event_target_id_label_event")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_event")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_label_event_actor",
        "label_event",
        ["actor", "id"],
        unique=False,
        sqlite_where=sa.text("kind = 'assert'"),
        postgresql_where=sa.text("kind = 'assert'"),
    )
    op.create_index("ix_label_event_image", "label_event", ["image_id", "id"], unique=False)
    op.create_index(
        "ix_label_event_round",
        "label_event",
        ["round_id", "image_id", "kind"],
        unique=False,
        sqlite_where=sa.text("round_id IS NOT NULL"),
        postgresql_where=sa.text("round_id IS NOT NULL"),
    )
    op.create_index(
        "uq_label_event_target",
        "label_event",
        ["target_id"],
        unique=True,
        sqlite_where=sa.text("target_id IS NOT NULL"),
        postgresql_where=sa.text("target_id IS NOT NULL"),
    )


def _membership() -> None:
    op.create_table(
        "membership",
        sa.Column("group_id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("grouping_id", KEY, nullable=False),
        sa.Column("is_primary", KEY, nullable=False),
        sa.CheckConstraint("is_primary IN (0, 1)", name=op.f("ck_membership_is_primary_boolean")),
        sa.ForeignKeyConstraint(
            ["group_id"], ["image_group.id"], name=op.f("fk_membership_group_id_image_group")
        ),
        sa.ForeignKeyConstraint(
            ["grouping_id"], ["grouping.id"], name=op.f("fk_membership_grouping_id_grouping")
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_membership_image_id_image")
        ),
        sa.PrimaryKeyConstraint("group_id", "image_id", name=op.f("pk_membership")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_membership_image", "membership", ["image_id"], unique=False)
    op.create_index(
        "uq_membership_primary",
        "membership",
        ["grouping_id", "image_id"],
        unique=True,
        sqlite_where=sa.text("is_primary = 1"),
        postgresql_where=sa.text("is_primary = 1"),
    )


def _score_generation() -> None:
    op.create_table(
        "score_generation",
        sa.Column("id", KEY, nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("round_id", KEY, nullable=True),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"], ["round.id"], name=op.f("fk_score_generation_round_id_round")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_score_generation")),
        sa.UniqueConstraint("token", name=op.f("uq_score_generation_token")),
        sqlite_autoincrement=True,
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", KEY, nullable=False),
        sa.Column("frame_id", KEY, nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("attempt", KEY, nullable=False),
        sa.Column("design", sa.JSON(), nullable=False),
        sa.Column("seed", KEY, nullable=False),
        sa.Column("max_error", sa.Double(), nullable=False),
        sa.Column("level", sa.Double(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("closed_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "scope IN ('all', 'positive', 'negative')", name=op.f("ck_audit_scope_known")
        ),
        sa.CheckConstraint(
            "state IN ('open', 'closed', 'abandoned')", name=op.f("ck_audit_state_known")
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_audit_attempt_positive")),
        sa.CheckConstraint("level > 0 AND level < 1", name=op.f("ck_audit_level_in_range")),
        sa.CheckConstraint(
            "max_error > 0 AND max_error < 1", name=op.f("ck_audit_max_error_in_range")
        ),
        sa.ForeignKeyConstraint(["frame_id"], ["frame.id"], name=op.f("fk_audit_frame_id_frame")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sa.UniqueConstraint(
            "frame_id", "scope", "attempt", name=op.f("uq_audit_frame_id_scope_attempt")
        ),
    )


def _block() -> None:
    op.create_table(
        "block",
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("move_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_block_image_id_image")),
        sa.ForeignKeyConstraint(
            ["move_id"], ["head_move.id"], name=op.f("fk_block_move_id_head_move")
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_block")),
    )


def _frame_member() -> None:
    op.create_table(
        "frame_member",
        sa.Column("frame_id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("place", KEY, nullable=False),
        sa.Column("shell", KEY, nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "label IN ('positive', 'negative')", name=op.f("ck_frame_member_label_known")
        ),
        sa.CheckConstraint(
            "place >= 0 AND shell >= 0", name=op.f("ck_frame_member_place_not_negative")
        ),
        sa.CheckConstraint(
            "probability BETWEEN 0 AND 1", name=op.f("ck_frame_member_probability_in_range")
        ),
        sa.ForeignKeyConstraint(
            ["frame_id"], ["frame.id"], name=op.f("fk_frame_member_frame_id_frame")
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_frame_member_image_id_image")
        ),
        sa.PrimaryKeyConstraint("frame_id", "image_id", name=op.f("pk_frame_member")),
        sa.UniqueConstraint("frame_id", "place", name=op.f("uq_frame_member_frame_id_place")),
        sqlite_with_rowid=False,
    )


def _head() -> None:
    op.create_table(
        "head",
        sa.Column("id", KEY, nullable=False),
        sa.Column("round_id", KEY, nullable=True),
        sa.Column("generation_id", KEY, nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_head_only_one")),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["score_generation.id"],
            name=op.f("fk_head_generation_id_score_generation"),
        ),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_head_round_id_round")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head")),
    )


def _image_state() -> None:
    op.create_table(
        "image_state",
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("usable", KEY, nullable=False),
        sa.Column("standing", sa.String(), nullable=True),
        sa.Column("origin", sa.String(), nullable=True),
        sa.Column("event_id", KEY, nullable=True),
        sa.Column("round_id", KEY, nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column(
            "certainty",
            sa.Double(),
            sa.Computed("abs(probability - 0.5)", persisted=False),
            nullable=True,
        ),
        sa.Column("unit_key", KEY, nullable=False),
        sa.Column("split", sa.String(), nullable=True),
        sa.Column("pinned_split", sa.String(), nullable=True),
        sa.Column("pinned_key", KEY, nullable=True),
        sa.Column("pinned_by", KEY, nullable=True),
        sa.CheckConstraint(
            "(origin IS NOT NULL AND origin = 'promoted') = (round_id IS NOT NULL)",
            name=op.f("ck_image_state_promoted_has_round"),
        ),
        sa.CheckConstraint(
            "origin IN ('seed', 'review', 'calibration', 'audit', 'promoted')",
            name=op.f("ck_image_state_origin_known"),
        ),
        sa.CheckConstraint(
            "pinned_split IN ('train', 'calibration', 'test')",
            name=op.f("ck_image_state_pinned_split_known"),
        ),
        sa.CheckConstraint(
            "split IN ('train', 'calibration', 'test', 'withheld')",
            name=op.f("ck_image_state_split_known"),
        ),
        sa.CheckConstraint(
            "standing IN ('positive', 'negative', 'unsure', 'conflict')",
            name=op.f("ck_image_state_standing_known"),
        ),
        sa.CheckConstraint(
            "(pinned_split IS NULL) = (pinned_key IS NULL)"
            " AND (pinned_split IS NULL) = (pinned_by IS NULL)",
            name=op.f("ck_image_state_pin_is_whole"),
        ),
        sa.CheckConstraint(
            "(standing IS NULL) = (origin IS NULL) AND (standing IS NULL) = (event_id IS NULL)",
            name=op.f("ck_image_state_standing_has_event"),
        ),
        sa.CheckConstraint("usable IN (0, 1)", name=op.f("ck_image_state_usable_boolean")),
        sa.ForeignKeyConstraint(
            ["event_id"], ["label_event.id"], name=op.f("fk_image_state_event_id_label_event")
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_image_state_image_id_image")
        ),
        sa.ForeignKeyConstraint(
            ["pinned_by"], ["label_event.id"], name=op.f("fk_image_state_pinned_by_label_event")
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["round.id"], name=op.f("fk_image_state_round_id_round")
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_image_state")),
    )
    op.create_index(
        "ix_image_state_pinned",
        "image_state",
        ["unit_key", "pinned_split"],
        unique=False,
        sqlite_where=sa.text("pinned_split IS NOT NULL"),
        postgresql_where=sa.text("pinned_split IS NOT NULL"),
    )
    op.create_index(
        "ix_image_state_promoted",
        "image_state",
        ["certainty", "image_id"],
        unique=False,
        sqlite_where=sa.text("origin = 'promoted'"),
        postgresql_where=sa.text("origin = 'promoted'"),
    )
    op.create_index(
        "ix_image_state_standing", "image_state", ["usable", "standing", "origin"], unique=False
    )
    op.create_index("ix_image_state_unit", "image_state", ["unit_key"], unique=False)
    op.create_index(
        "ix_image_state_withheld",
        "image_state",
        ["image_id"],
        unique=False,
        sqlite_where=sa.text("split = 'withheld'"),
        postgresql_where=sa.text("split = 'withheld'"),
    )


def _score() -> None:
    op.create_table(
        "score",
        sa.Column("generation_id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("raw", sa.Double(), nullable=False),
        sa.Column("distance", sa.Double(), nullable=True),
        sa.Column(
            "undecided",
            sa.Double(),
            sa.Computed("abs(probability - 0.5)", persisted=False),
            nullable=False,
        ),
        sa.CheckConstraint(
            "probability BETWEEN 0 AND 1", name=op.f("ck_score_probability_in_range")
        ),
        sa.CheckConstraint("raw BETWEEN 0 AND 1", name=op.f("ck_score_raw_in_range")),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["score_generation.id"],
            name=op.f("fk_score_generation_id_score_generation"),
        ),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_score_image_id_image")),
        sa.PrimaryKeyConstraint("generation_id", "image_id", name=op.f("pk_score")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_score_distance",
        "score",
        ["generation_id", "distance", "image_id"],
        unique=False,
        sqlite_where=sa.text("distance IS NOT NULL"),
        postgresql_where=sa.text("distance IS NOT NULL"),
    )
    op.create_index(
        "ix_score_undecided", "score", ["generation_id", "undecided", "image_id"], unique=False
    )


def _staged_decision() -> None:
    op.create_table(
        "staged_decision",
        sa.Column("generation_id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('promote', 'revoke')", name=op.f("ck_staged_decision_kind_known")
        ),
        sa.CheckConstraint(
            "label IN ('positive', 'negative')", name=op.f("ck_staged_decision_label_known")
        ),
        sa.CheckConstraint(
            "probability BETWEEN 0 AND 1", name=op.f("ck_staged_decision_probability_in_range")
        ),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["score_generation.id"],
            name=op.f("fk_staged_decision_generation_id_score_generation"),
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_staged_decision_image_id_image")
        ),
        sa.PrimaryKeyConstraint("generation_id", "image_id", name=op.f("pk_staged_decision")),
        sqlite_with_rowid=False,
    )


def _audit_item() -> None:
    op.create_table(
        "audit_item",
        sa.Column("audit_id", KEY, nullable=False),
        sa.Column("position", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("stratum", KEY, nullable=False),
        sa.Column("inclusion_probability", sa.Double(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("event_id", KEY, nullable=True),
        sa.CheckConstraint(
            "event_id IS NULL OR (outcome IS NOT NULL AND outcome = 'answered')",
            name=op.f("ck_audit_item_event_means_answered"),
        ),
        sa.CheckConstraint(
            "outcome IN ('answered', 'skipped', 'unshowable')",
            name=op.f("ck_audit_item_outcome_known"),
        ),
        sa.CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1",
            name=op.f("ck_audit_item_inclusion_in_range"),
        ),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audit.id"], name=op.f("fk_audit_item_audit_id_audit")
        ),
        sa.ForeignKeyConstraint(
            ["event_id"], ["label_event.id"], name=op.f("fk_audit_item_event_id_label_event")
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_audit_item_image_id_image")
        ),
        sa.PrimaryKeyConstraint("audit_id", "position", name=op.f("pk_audit_item")),
        sa.UniqueConstraint("audit_id", "image_id", name=op.f("uq_audit_item_audit_id_image_id")),
    )
    op.create_index("ix_audit_item_image", "audit_item", ["image_id"], unique=False)


def _certificate() -> None:
    op.create_table(
        "certificate",
        sa.Column("id", KEY, nullable=False),
        sa.Column("audit_id", KEY, nullable=False),
        sa.Column("round_id", KEY, nullable=True),
        sa.Column("place_limit", KEY, nullable=False),
        sa.Column("certified", KEY, nullable=False),
        sa.Column("max_error", sa.Double(), nullable=False),
        sa.Column("bound", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("sample", KEY, nullable=False),
        sa.Column("errors", KEY, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("stale_reason", sa.String(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("issued_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "state IN ('valid', 'stale', 'withdrawn')", name=op.f("ck_certificate_state_known")
        ),
        sa.CheckConstraint("bound >= 0 AND bound <= 1", name=op.f("ck_certificate_bound_in_range")),
        sa.CheckConstraint(
            "confidence > 0 AND confidence < 1", name=op.f("ck_certificate_confidence_in_range")
        ),
        sa.CheckConstraint(
            "errors >= 0 AND errors <= sample", name=op.f("ck_certificate_errors_in_sample")
        ),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audit.id"], name=op.f("fk_certificate_audit_id_audit")
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["round.id"], name=op.f("fk_certificate_round_id_round")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate")),
    )
    op.create_index("ix_certificate_audit", "certificate", ["audit_id"], unique=False)
