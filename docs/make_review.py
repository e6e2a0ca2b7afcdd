"""Writes the table of keys in docs/review.md from the registry of actions.

Run it to write; `--check` only says whether the page is up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pages import write_or_check

from curator.settings.keys import ACTIONS, KeyGroup, key_sign

PAGE = Path(__file__).with_name("review.md")
BEGIN, END = "<!-- keys: made by make_review.py -->\n", "<!-- end of keys -->\n"


def table() -> str:
    """The keys by group, as Markdown."""
    lines: list[str] = []
    for group in KeyGroup:
        lines += [f"\n**{group}**\n", "| key | action | what it does |", "| --- | --- | --- |"]
        for action in ACTIONS:
            if action.group is group:
                keys = "1-9" if action.name == "reason" else " ".join(map(key_sign, action.keys))
                meaning = action.meaning.format(positive="positive", negative="negative")
                lines.append(f"| `{keys}` | `{action.name}` | {meaning} |")
    return "\n".join(lines) + "\n"


def render(page: str) -> str:
    """The page with its table of keys made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    sys.exit(
        write_or_check(PAGE, render(PAGE.read_text(encoding="utf-8")), "curator/settings/keys.py")
    )
