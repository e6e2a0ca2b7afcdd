"""FiftyOne's dataset on disk (`fiftyone.types.FiftyOneDataset`): `metadata.json`, `samples.json`.

A sample has the label in the field `ground_truth`, what the manifest says of the image in fields of
the same names, and in `exported_label` the label again: what people change in FiftyOne is told from
what they leave by comparing both (`intake.answers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curator.export.rows import NUMBERS, ExportFile
from curator.export.shards import facts_of

DATASET = "metadata.json"
SAMPLES = "samples.json"
IMAGES = "data"

LABEL = "ground_truth"
EXPORTED_LABEL = "exported_label"

_VERSION = "1.0.0"
"""The release whose form of a dataset this is; FiftyOne migrates it to its own when it imports."""

_FIELDS = "fiftyone.core.fields"
_STRING, _INTEGER, _FLOAT, _ID, _TIME, _LIST, _EMBEDDED = (
    f"{_FIELDS}.{name}Field"
    for name in ("String", "Int", "Float", "ObjectId", "DateTime", "List", "EmbeddedDocument")
)
_TYPES = {float: _FLOAT, int: _INTEGER, str: _STRING}


def fiftyone_metadata(about: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The dataset without its samples: its name, its classes, and the types of their fields."""
    fields = [
        _field("id", _ID, db_field="_id"),
        _field("filepath", _STRING),
        _list("tags", _STRING),
        _embedded("metadata", "fiftyone.core.metadata.ImageMetadata", _image_fields()),
        _field("created_at", _TIME),
        _field("last_modified_at", _TIME),
        _embedded(LABEL, "fiftyone.core.labels.Classification", _classification_fields()),
        *(_field(name, _TYPES[NUMBERS.get(name, str)]) for name in _CURATOR_FIELDS),
    ]
    classes = [about["classes"]["positive"], about["classes"]["negative"]]
    labels = [*classes, *(label for label in about["labels"] if label not in classes)]
    return {
        "name": name,
        "version": _VERSION,
        "media_type": "image",
        "sample_fields": fields,
        "frame_fields": [],
        "default_classes": labels,
        "classes": {LABEL: labels},
        "info": {"curator": about["versions"]["curator"], "manifest": about["manifest"]["sha256"]},
        "app_config": {},
        "tags": [],
        "description": None,
        "group_media_types": {},
        "mask_targets": {},
        "default_mask_targets": {},
        "skeletons": {},
        **{kind: {} for kind in ("annotation_runs", "brain_methods", "evaluations", "runs")},
        "saved_views": [],
        "workspaces": [],
    }


_CURATOR_FIELDS = (
    EXPORTED_LABEL, "sha256", "origin", "probability", "promoted_probability", "round", "group",
    "split", "source",
)  # fmt: skip


def fiftyone_sample(file: ExportFile) -> dict[str, Any]:
    """A file of an export, at its new path, as a sample; its ids follow from its SHA-256."""
    row = file.row
    facts = facts_of(file) | {EXPORTED_LABEL: row.label}
    label = None
    if row.label is not None:
        label = {
            "_id": {"$oid": row.sha256[24:48]},
            "_cls": "Classification",
            "tags": [],
            "label": row.label,
        }
    return {
        "_id": {"$oid": row.sha256[:24]},
        "filepath": row.path,
        "tags": [row.split] if row.split else [],
        "_media_type": "image",
        # Where FiftyOne draws a random view, it orders by this number.
        "_rand": int(row.sha256[:13], 16) / 16**13,
        "metadata": {
            "_cls": "ImageMetadata",
            "width": row.width,
            "height": row.height,
            "num_channels": 3,
        },
        LABEL: label,
        **{name: facts[name] for name in _CURATOR_FIELDS},
    }


def _image_fields() -> list[dict[str, Any]]:
    numbers = ("size_bytes", "width", "height", "num_channels")
    return [_field("mime_type", _STRING), *(_field(name, _INTEGER) for name in numbers)]


def _classification_fields() -> list[dict[str, Any]]:
    return [
        _field("id", _ID, db_field="_id"),
        _list("tags", _STRING),
        _field("label", _STRING),
        _field("confidence", _FLOAT),
        _list("logits", _FLOAT),
    ]


def _field(name: str, kind: str, **details: Any) -> dict[str, Any]:
    about: dict[str, Any] = {
        "embedded_doc_type": None,
        "subfield": None,
        "fields": [],
        "db_field": name,
    }
    return {"name": name, "ftype": kind, **about, "description": None, "info": None} | details


def _list(name: str, kind: str) -> dict[str, Any]:
    return _field(name, _LIST, subfield=kind)


def _embedded(name: str, kind: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return _field(name, _EMBEDDED, embedded_doc_type=kind, fields=fields)
