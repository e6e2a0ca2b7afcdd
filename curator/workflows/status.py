"""What a workspace holds and how far it has come, for one screen or for a program.

Everything is counted by the catalogue from indexes; no image and no network is touched,
so it answers at once. `as_json` gives exactly the keys that scripts rely on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.catalogue.counts import Counts, SourceCount, counts, human_counts, source_counts
from curator.catalogue.leases import lease_holder
from curator.catalogue.rounds import RoundRecord, RoundStatus, list_rounds
from curator.core.words import Standing
from curator.settings import Settings
from curator.workflows.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A workspace in numbers; `busy` names work that runs in it now, with its process."""

    root: Path
    settings: Settings
    counts: Counts
    sources: list[SourceCount]
    human: Mapping[Standing, int]
    rounds: list[RoundRecord]
    busy: Mapping[str, str]

    def name_of(self, standing: Standing) -> str:
        """The user's word for a standing."""
        return self.settings.classes.name_of(standing)

    @property
    def head(self) -> RoundRecord | None:
        """The round that stands, None before the first or after a rollback to 0."""
        return next((r for r in self.rounds if r.status is RoundStatus.CURRENT), None)

    def advice(self) -> str:
        """What to do next, in one sentence with its command."""
        if not self.counts.usable:
            return "Add images: curator add PATH"
        missing = [s for s in (Standing.POSITIVE, Standing.NEGATIVE) if not self.human.get(s)]
        if missing:
            names = " and ".join(f"`{self.name_of(standing)}`" for standing in missing)
            return f"Label some images as {names}: curator review diverse"
        if self.human.get(Standing.CONFLICT):
            return "Settle the images that people labelled both ways: curator review conflict"
        if self.head is None:
            return "Train and promote: curator round --until-stable"
        if self.counts.unlabelled:
            return "Look at the borderline images, then run rounds again: curator review borderline"
        return "Everything has a label. Write the manifest: curator export clean.csv"

    def as_json(self) -> dict[str, Any]:
        """The keys of `curator status --json`; classes carry the user's names."""
        return {
            "workspace": os.fspath(self.root),
            "images": self.counts.images,
            "usable": self.counts.usable,
            "locations": self.counts.locations,
            "missing": self.counts.missing,
            "quarantined": {str(reason): n for reason, n in self.counts.quarantined.items()},
            "labels": {
                self.name_of(standing): {str(origin): n for origin, n in origins.items()}
                for standing, origins in self.counts.labels.items()
            },
            "unlabelled": self.counts.unlabelled,
            "coverage": self.counts.coverage,
            "blocked": self.counts.blocked,
            "withheld": self.counts.withheld,
            "groups": dict(self.counts.groups),
            "rounds": [_round_json(each) for each in self.rounds],
            "certificate": None,
            "busy": dict(self.busy),
            "next": self.advice(),
        }


def status(workspace: Workspace) -> Status:
    """Count the workspace."""
    catalogue = workspace.catalogue
    holders = {name: lease_holder(catalogue, name) for name in ("add", "round")}
    return Status(
        root=workspace.root,
        settings=workspace.settings,
        counts=counts(catalogue),
        sources=source_counts(catalogue),
        human=human_counts(catalogue),
        rounds=list_rounds(catalogue),
        busy={
            name: f"process {holder.pid} on {holder.host}"
            for name, holder in holders.items()
            if holder is not None
        },
    )


def _round_json(each: RoundRecord) -> dict[str, Any]:
    return {
        "round": each.round_id,
        "status": str(each.status),
        "promoted": each.promoted_positive + each.promoted_negative,
        "revoked": each.revoked,
        "coverage": each.coverage,
        "seconds": each.seconds,
        "judgement": each.outcome.get("judgement"),
        "alarms": each.outcome.get("alarms", []),
    }
