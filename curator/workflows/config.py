"""Looking at settings and changing them in `curator.toml`, comments kept.

A change is checked as a whole before anything is written, and the file is replaced in
one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curator.core.files import replacing
from curator.settings import (
    FILE_NAME,
    as_toml,
    change_settings,
    describe_setting,
    read_settings,
    read_settings_text,
    setting_keys,
    value_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting of a workspace: `value` and `default` are written as TOML."""

    key: str
    value: str
    default: str
    values: str
    meaning: str


def show_settings(root: Path, keys: Sequence[str] = ()) -> list[SettingRow]:
    """The settings of the workspace in `root`: those of `keys`, a section's, or all.

    Raises SettingsError if a key is neither a setting nor a section, naming the nearest.
    """
    settings = read_settings(root / FILE_NAME)
    known = list(setting_keys())
    rows = []
    for wanted in keys or [""]:
        section = [key for key in known if not wanted or key.startswith(f"{wanted}.")]
        for key in section or [wanted]:
            about = describe_setting(key)
            rows.append(
                SettingRow(
                    key=key,
                    value=as_toml(value_of(settings, key)),
                    default=about.default,
                    values=about.values,
                    meaning=about.meaning,
                )
            )
    return rows


def write_settings(root: Path, changes: Mapping[str, str]) -> list[SettingRow]:
    """Change settings in `curator.toml` and return what they now are.

    Raises SettingsError, and writes nothing, if a key is unknown or the result invalid.
    """
    path = root / FILE_NAME
    changed = change_settings(read_settings_text(path), changes, str(path))
    with replacing(path) as stream:
        stream.write(changed.encode())
    return show_settings(root, list(changes))
