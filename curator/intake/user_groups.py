"""What the user says belongs together: people, videos, pairs.

Groups come from a CSV file, or from the part of the path that a regular expression
captures. An image that turns up in two groups ties them into one, because members of a
group must never be torn apart.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH118
from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from curator.base.values import Problem
from curator.base.vocabulary import GroupKind
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import walk_locations
from curator.catalogue.groups import GroupRecord, current_grouping, replace_grouping
from curator.catalogue.pool import pool_size
from curator.catalogue.sources import list_sources
from curator.errors import DataError, UsageError
from curator.intake.answers import Answer, Problems, printable, read_answers, with_images
from curator.workspace import Workspace

_PATTERN = "pattern"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """The user's groups after a change.

    `unmatched` usable images are in no group, `merged` names were tied to another group
    by an image that is in both, `withheld` images bridge splits and are not trained on.
    `changed` is False if the same groups stood before.
    """

    groups: int
    images: int
    unmatched: int
    merged: int
    withheld: int
    changed: bool


def group_by_csv(workspace: Workspace, file: Path) -> GroupReport:
    """Replace the user's groups by those in a CSV: columns `group`, and `path` or `sha256`.

    Raises DataError, and changes nothing, if any row cannot be used.
    """
    named: list[tuple[str, int]] = []
    problems, rows = Problems(), 0
    for row, image_id in with_images(workspace.catalogue, read_answers(file, column="group"), file):
        if isinstance(row, Answer) and not row.label:
            continue
        rows += 1
        if isinstance(row, Problem):
            problems.add(row.line, row.text)
        elif image_id is None:
            problems.add(row.line, row.unknown_image())
        else:
            named.append((row.label, image_id))
    if problems:
        raise DataError(
            f"{file}: {len(problems)} of {rows} rows cannot be used, so no group was changed:"
            f"{problems.shown()}",
            "Correct these rows, or `curator add` the images that are missing, then try again.",
        )
    return _replace(workspace, named, {"file": str(file.absolute())})


def group_by_pattern(workspace: Workspace, pattern: str) -> GroupReport:
    """Replace the user's groups by what `pattern` captures in each absolute path.

    The group's name is the named group `group`, else the first group, else the whole
    match; paths that do not match are in no group. Images that are added later join by
    themselves. Raises UsageError if the pattern is no regular expression, DataError if
    it matches nothing.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"`{pattern}` is not a valid regular expression ({error}).",
            r"For a folder per person, try '/([^/]+)/[^/]+$'.",
        ) from error
    named = list(_captured(workspace.catalogue, compiled))
    if not named:
        raise DataError(
            f"`{pattern}` matches no path in the catalogue, so no group can be made.",
            "Paths are absolute: `curator queue random --size 5` shows some.",
        )
    return _replace(workspace, named, {_PATTERN: pattern})


def refresh_user_groups(workspace: Workspace) -> None:
    """Let new images join the groups that a pattern made; groups from a CSV stay as they are."""
    standing = current_grouping(workspace.catalogue, GroupKind.USER)
    pattern = None if standing is None else standing.details.get(_PATTERN)
    if isinstance(pattern, str):
        named = list(_captured(workspace.catalogue, re.compile(pattern)))
        _replace(workspace, named, {_PATTERN: pattern})


def _captured(catalogue: Catalogue, pattern: re.Pattern[str]) -> Iterator[tuple[str, int]]:
    which = "group" if "group" in pattern.groupindex else min(pattern.groups, 1)
    for source in list_sources(catalogue):
        for file in walk_locations(catalogue, source.source_id):
            match = pattern.search(os.fsdecode(os.path.join(source.root, file.path)))
            if match is not None and match[which] and file.image_id is not None:
                yield match[which], file.image_id


def _replace(
    workspace: Workspace, named: Iterable[tuple[str, int]], details: dict[str, str]
) -> GroupReport:
    members, merged = _merged(named)
    records = (
        GroupRecord(name=printable(name), primary=tuple(sorted(members[name])))
        for name in sorted(members)
    )
    catalogue, settings = workspace.catalogue, workspace.settings
    report = replace_grouping(
        catalogue,
        GroupKind.USER,
        records,
        details=details,
        splits=settings.splits,
        seed=settings.runtime.seed,
    )
    images = sum(len(ids) for ids in members.values())
    return GroupReport(
        groups=len(members),
        images=images,
        unmatched=max(0, pool_size(catalogue) - images),
        merged=merged,
        withheld=report.withheld,
        changed=report.changed,
    )


def _merged(named: Iterable[tuple[str, int]]) -> tuple[dict[str, set[int]], int]:
    """Name → images, names that share an image tied to the first of them; how many were."""
    leader: dict[str, str] = {}
    name_of: dict[int, str] = {}

    def lead(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for name, image_id in named:
        first, second = lead(name_of.setdefault(image_id, name)), lead(name)
        leader[max(first, second)] = min(first, second)
    members: dict[str, set[int]] = {}
    for image_id, name in name_of.items():
        members.setdefault(lead(name), set()).add(image_id)
    return members, len(leader) - len(members)
