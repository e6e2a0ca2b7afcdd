"""Writes the table of keys in docs/review.md from the registry of actions.

Run it to write; `--check` only says whether the page is up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

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


def main() -> int:
    """Write the page, or with `--check` compare it. Returns the exit code."""
    page = PAGE.read_text(encoding="utf-8")
    made = render(page)
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(made, encoding="utf-8")
        return 0
    if made == page:
        return 0
    sys.stderr.write(f"{PAGE} does not say what curator/settings/keys.py says: run it.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
