"""The shape of the catalogue: every table, with every constraint named.

Vocabularies are checked by the schema itself, events and rounds are append-only by
trigger, and the indexes serve the questions that must be answered at once (counts, the
next images to review, the history of one image) on a million images. Migrations in
`db/versions` make exactly this shape; a test compares the two.
"""

from curator.catalogue.models.base import Base
from curator.catalogue.models.images import Image, ImageSignature, Location, Preview, Source
from curator.catalogue.models.labels import Grouping, ImageGroup, ImageState, LabelEvent, Membership
from curator.catalogue.models.review import (
    Audit,
    AuditFrame,
    AuditItem,
    Certificate,
    Claim,
    Flag,
    FrameMember,
    Lease,
    Skip,
)
from curator.catalogue.models.rounds import (
    Block,
    FeatureRow,
    FeatureSetRow,
    Head,
    HeadMove,
    Round,
    ScoreGeneration,
    ScoreRow,
    StagedDecision,
)

__all__ = [
    "Audit",
    "AuditFrame",
    "AuditItem",
    "Base",
    "Block",
    "Certificate",
    "Claim",
    "FeatureRow",
    "FeatureSetRow",
    "Flag",
    "FrameMember",
    "Grouping",
    "Head",
    "HeadMove",
    "Image",
    "ImageGroup",
    "ImageSignature",
    "ImageState",
    "LabelEvent",
    "Lease",
    "Location",
    "Membership",
    "Preview",
    "Round",
    "ScoreGeneration",
    "ScoreRow",
    "Skip",
    "Source",
    "StagedDecision",
]
