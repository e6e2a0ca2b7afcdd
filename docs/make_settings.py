"""Writes docs/settings.md from the documentation in the code.

A setting is documented by the string under its field in `curator/settings/sections.py`, and
nowhere else. Run it to write the page; `--check` only says whether the page is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pages import write_or_check

from curator.settings.file import describe_setting, section_models

PAGE = Path(__file__).with_name("settings.md")

INTRODUCTION = """\
# Settings

Everything a user decides about a workspace is in its `curator.toml`. Look at a setting
with `curator config KEY`, change it with `curator config KEY=VALUE`, or edit the file:
comments are kept. What is not written there has the default below.

This page is made from `curator/settings/sections.py` by `make docs`.
"""


def render() -> str:
    """The whole page as Markdown."""
    return "\n".join([INTRODUCTION, *_sections()])


def _sections() -> Iterator[str]:
    for section, model in section_models().items():
        yield f"## {section}\n\n{(model.__doc__ or '').strip()}\n"
        yield "| key | default | values | meaning |\n| --- | --- | --- | --- |"
        for name in model.model_fields:
            setting = describe_setting(f"{section}.{name}")
            yield (
                f"| `{setting.key}` | `{setting.default}` | {setting.values} | {setting.meaning} |"
            )
        yield ""


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render(), "curator/settings/sections.py"))
