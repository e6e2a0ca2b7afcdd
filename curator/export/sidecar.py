"""The JSON beside a manifest that says how it came about.

`clean.csv` is accompanied by `clean.csv.json`: what was counted, left out and promised,
under which settings, from whose images under which licences, and the digest that ties it
to the manifest. It holds no time and no host, so that the same work gives the same bytes. A
certificate is passed on only where it speaks about exactly the promoted images of this export.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from curator.base.text import path_text
from curator.base.version import __version__
from curator.base.vocabulary import CurrentLabel, LocationState, Origin
from curator.catalogue.counts import counts, source_counts
from curator.catalogue.rounds import (
    RoundRecord,
    get_round,
    head,
    list_rounds,
    standing_warnings,
)
from curator.export.catalogue_rows import ExportRows
from curator.export.filters import Selection
from curator.export.formats import Format
from curator.export.rows import ExportCounts
from curator.settings.sections import Settings
from curator.workspace import Workspace

SCHEMA = 1
"""Raised when a field changes its meaning or goes away; new fields may come at any time."""

_CHUNK = 1 << 20

_LIBRARIES = ("numpy", "openvino", "pillow", "pillow-heif", "pyarrow", "timm", "torch")


def sidecar_path(destination: Path) -> Path:
    """The name of the sidecar: the whole name of the manifest and `.json`."""
    return destination.with_name(destination.name + ".json")


def sidecar_bytes(content: Mapping[str, Any]) -> bytes:
    """`content` as indented JSON in UTF-8, in the order in which it is given."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def about_export(
    workspace: Workspace,
    selection: Selection,
    tally: ExportCounts,
    rows: ExportRows,
    *,
    name: str,
    format: Format,
    relative_to: Path | None = None,
) -> dict[str, Any]:
    """Everything but the digest of the manifest, which is not known yet.

    `rows` counts the catalogue's rows that were left out, and those whose file is gone; in a
    folder (`format`) there are none of these.
    """
    settings = workspace.settings
    round_id = head(workspace.catalogue)
    current_round = None if round_id is None else get_round(workspace.catalogue, round_id)
    division = selection.division
    certificate, certificate_note = _certificate(selection, tally)
    return {
        "schema": SCHEMA,
        "manifest": {
            "name": os.fsencode(name).decode("utf-8", "backslashreplace"),
            "format": format,
            "rows": tally.rows,
            "images": tally.images,
            "absent": 0 if format.is_folder else rows.absent,
            "relative_to": None if relative_to is None else path_text(os.fsencode(relative_to)),
        },
        "labels": tally.by_label(),
        "unlabelled": tally.unlabelled,
        "splits": tally.by_part(),
        "left_out": _left_out(workspace, selection, rows),
        "filters": selection.filters.as_facts(),
        "division": None
        if division is None
        else {part: getattr(division, part) for part in ("train", "validation", "test", "seed")},
        "classes": {"positive": settings.classes.positive, "negative": settings.classes.negative},
        "thresholds": _thresholds(settings, current_round),
        "certificate": certificate,
        "certificate_note": certificate_note,
        "warnings": standing_warnings(list_rounds(workspace.catalogue)) if tally.promoted else [],
        "round": None if current_round is None else _round(current_round),
        "settings": settings.model_dump(mode="json"),
        "versions": library_versions(),
        "sources": [
            {
                "name": source.name,
                "root": path_text(source.root),
                "licence": source.licence,
                "attribution": source.attribution,
                "rows": tally.rows_of_source[source.name],
                "missing": source.locations.get(LocationState.MISSING, 0),
            }
            for source in source_counts(workspace.catalogue)
        ],
    }


def short(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of it fits into a file's own metadata: no paths of this machine, no settings."""
    shared = ("schema", "labels", "splits", "filters", "division", "classes", "thresholds")
    sources = [
        {key: source[key] for key in ("name", "licence", "attribution", "rows")}
        for source in about["sources"]
        if source["rows"]
    ]
    return {key: about[key] for key in shared} | {
        "certificate": about["certificate"],
        "certificate_note": about["certificate_note"],
        "warnings": about["warnings"],
        "sources": sources,
        "curator": about["versions"]["curator"],
    }


def library_versions() -> dict[str, str]:
    """The versions of what may change a label: curator, Python, and the libraries under it."""
    versions = {"curator": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def digest_of(stream: BinaryIO) -> str:
    """The SHA-256 of what was written so far to `stream`: one that can be read, or has a name."""
    stream.flush()
    if not stream.readable():
        with Path(stream.name).open("rb") as written:
            return hashlib.file_digest(written, "sha256").hexdigest()
    end = stream.tell()
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    stream.seek(end)
    return digest.hexdigest()


def _certificate(selection: Selection, tally: ExportCounts) -> tuple[Any, str]:
    """The certificate of the promoted labels, and why none holds for them (empty if one does)."""
    certified = selection.certified
    if certified is None:
        note = selection.exportable.why_none(selection.scope)
        return None, note if len(tally.promoted) else ""
    is_exact = not selection.is_partial and tally.promoted.are(certified.image_ids)
    # A stale one is shown, and says so: it once spoke about these labels.
    facts = dict(certified.facts) if is_exact or certified.stale else None
    if not len(tally.promoted) or (is_exact and not certified.stale):
        return facts, ""
    if certified.stale:
        return facts, f"stale: {certified.facts['reason']}"
    return facts, (
        "it is about other images than those in here, and says nothing about a part of them"
    )


def _left_out(workspace: Workspace, selection: Selection, rows: ExportRows) -> dict[str, int]:
    """Why → how many: images by their label, then `rows` that were looked at and left out."""
    pool, classes = counts(workspace.catalogue), workspace.settings.classes
    left_out = {} if selection.filters.include_unlabelled else {"unlabelled": pool.unlabelled}
    for label in CurrentLabel:
        by_origin: Mapping[Origin, int] = pool.labels.get(label, {})
        if label not in selection.labels:
            left_out[classes.name_of(label)] = sum(by_origin.values())
        elif selection.origins is not None:
            of_selected = sum(by_origin.get(origin, 0) for origin in selection.origins)
            of_other_origin = sum(by_origin.values()) - of_selected
            left_out["other-origin"] = left_out.get("other-origin", 0) + of_other_origin
    left_out["quarantined"] = sum(pool.quarantined.values())
    left_out["missing"] = pool.missing - rows.returned
    return left_out | {why: number for why, number in sorted(rows.left_out.items()) if number}


def _thresholds(settings: Settings, current_round: RoundRecord | None) -> Any:
    """Those that the labels were given by, not those that were set since."""
    set_now = settings.promotion.model_dump(mode="json")
    return set_now if current_round is None else current_round.settings.get("promotion", set_now)


def _round(record: RoundRecord) -> dict[str, Any]:
    # How long it took says nothing about the labels, and is never the same twice.
    outcome = {name: value for name, value in record.outcome.items() if name != "seconds"}
    return {
        "round": record.round_id,
        "seed": record.seed,
        "model_sha256": record.model_digest,
        "scores_sha256": record.score_digest,
        "coverage": record.coverage,
        "outcome": outcome,
    }
