"""What an export says about itself: counts, promises, settings, and whose images they are.

It holds no time and no host, so that the same work gives the same bytes. A certificate is
passed on only where it speaks about exactly the promoted images of this export.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curator.audits.certificate import CertifiedImages
from curator.base.text import path_text
from curator.base.vocabulary import CurrentLabel, LocationState, Origin
from curator.catalogue.counts import Counts, counts, source_counts
from curator.catalogue.rounds import RoundRecord, get_round, head
from curator.export.sidecar import SCHEMA, ExportCounts, library_versions
from curator.export.slow_rows import Filters, ImageChoice
from curator.settings.sections import ClassesSettings, Settings
from curator.workspace import Workspace


def certificate_for(
    certified: CertifiedImages | None, choice: ImageChoice, tally: ExportCounts
) -> Any:
    """The certificate's facts if it speaks about exactly what was exported, else None.

    A stale one is shown, and says so: it once spoke about these labels.
    """
    if certified is None:
        return None
    exact = not choice.is_partial and tally.promoted.are(certified.image_ids)
    return dict(certified.facts) if exact or certified.stale else None


def certificate_note(
    certified: CertifiedImages | None, choice: ImageChoice, tally: ExportCounts
) -> str:
    """Why no certificate holds for the promoted labels of this export; empty if one does."""
    if not len(tally.promoted):
        return ""
    if certified is None:
        return "no audit has said anything about promoted labels"
    if certified.stale:
        return f"stale: {certified.facts['reason']}"
    if choice.is_partial or not tally.promoted.are(certified.image_ids):
        return "it is about other images than those in here, and says nothing about a part of them"
    return ""


def left_out(workspace: Workspace, choice: ImageChoice, rows: Mapping[str, int]) -> dict[str, int]:
    """Why → how many; `rows` are those that were looked at and left out, by why."""
    pool = counts(workspace.catalogue)
    counted = _labels_left_out(pool, choice, workspace.settings.classes)
    counted["quarantined"] = sum(pool.quarantined.values())
    counted["missing"] = pool.missing
    return counted | {why: number for why, number in sorted(rows.items()) if number}


def _labels_left_out(pool: Counts, choice: ImageChoice, classes: ClassesSettings) -> dict[str, int]:
    counted = {} if choice.include_unlabelled else {"unlabelled": pool.unlabelled}
    for standing in CurrentLabel:
        by_origin: Mapping[Origin, int] = pool.labels.get(standing, {})
        if standing not in choice.standings:
            counted[classes.name_of(standing)] = sum(by_origin.values())
        elif choice.origins is not None:
            others = sum(n for origin, n in by_origin.items() if origin not in choice.origins)
            counted["other-origin"] = counted.get("other-origin", 0) + others
    return counted


def about_export(
    workspace: Workspace,
    *,
    name: Path,
    format: str,
    filters: Filters,
    choice: ImageChoice,
    relative_to: Path | None,
    tally: ExportCounts,
    without: Mapping[str, int],
    certified: CertifiedImages | None,
) -> dict[str, Any]:
    """Everything but the digest of the manifest, which is not known yet."""
    settings = workspace.settings
    number = head(workspace.catalogue)
    current = None if number is None else get_round(workspace.catalogue, number)
    division = choice.division
    return {
        "schema": SCHEMA,
        "manifest": {
            "name": os.fsencode(name.name).decode("utf-8", "backslashreplace"),
            "format": format,
            "rows": tally.rows,
            "images": tally.images,
            "relative_to": None if relative_to is None else path_text(os.fsencode(relative_to)),
        },
        "labels": tally.by_label(),
        "unlabelled": tally.unlabelled,
        "splits": tally.by_part(),
        "left_out": dict(without),
        "filters": filters.as_facts(),
        "division": None
        if division is None
        else {part: getattr(division, part) for part in ("train", "validation", "test", "seed")},
        "classes": {"positive": settings.classes.positive, "negative": settings.classes.negative},
        "thresholds": _thresholds(settings, current),
        "certificate": certificate_for(certified, choice, tally),
        "certificate_note": certificate_note(certified, choice, tally),
        "round": None if current is None else _round(current),
        "settings": settings.model_dump(mode="json"),
        "versions": library_versions(),
        "sources": sources_of(workspace, tally),
    }


def sources_of(workspace: Workspace, tally: ExportCounts) -> list[dict[str, Any]]:
    """Each source with its licence, its attribution, and how many rows came from it."""
    return [
        {
            "name": one.name,
            "root": path_text(one.root),
            "licence": one.licence,
            "attribution": one.attribution,
            "rows": tally.rows_of_source[one.name],
            "missing": one.locations.get(LocationState.MISSING, 0),
        }
        for one in source_counts(workspace.catalogue)
    ]


def short(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of it fits into a file's own metadata: no paths of this machine, no settings."""
    kept = ("schema", "labels", "splits", "filters", "division", "classes", "thresholds")
    sources = [
        {key: one[key] for key in ("name", "licence", "attribution", "rows")}
        for one in about["sources"]
        if one["rows"]
    ]
    return {key: about[key] for key in kept} | {
        "certificate": about["certificate"],
        "certificate_note": about["certificate_note"],
        "sources": sources,
        "curator": about["versions"]["curator"],
    }


def _thresholds(settings: Settings, current: RoundRecord | None) -> Any:
    """Those that the labels were given by, not those that were set since."""
    set_now = settings.promotion.model_dump(mode="json")
    return set_now if current is None else current.settings.get("promotion", set_now)


def _round(current: RoundRecord) -> dict[str, Any]:
    # How long it took is nothing about the labels, and never the same twice.
    outcome = {name: value for name, value in current.outcome.items() if name != "seconds"}
    return {
        "round": current.round_id,
        "seed": current.seed,
        "model_sha256": current.model_digest,
        "scores_sha256": current.score_digest,
        "coverage": current.coverage,
        "outcome": outcome,
    }
