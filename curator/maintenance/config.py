"""The settings of a workspace with their values, defaults and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curator.settings.file import (
    FILE_NAME,
    as_toml,
    describe_setting,
    read_settings,
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
    rows = []
    for name in keys or [""]:
        section = [key for key in setting_keys() if not name or key.startswith(f"{name}.")]
        for key in section or [name]:
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
