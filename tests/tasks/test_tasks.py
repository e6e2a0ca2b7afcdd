"""The pages in docs/tasks are run on real photographs, and print what they show."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.command import CHECKOUT
from tests.support.pages import BLOCK, Shell, compare, run_page
from tests.support.serving import serving
from tests.tasks.conftest import DEFECTS, TYPES
from tests.tui.conftest import played
from tests.web.conftest import Visit, visit

__all__ = ["visit"]

FOLDER = CHECKOUT / "docs" / "tasks"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
BEGINS_IN = {
    "undo-a-wrong-import": "",
    "thin-duplicates": "",
    "good-only-folder": "cells",
    "two-reviewers": "cells",
    "more-labels-or-not": "cells",
    "hard-task": "",
    "moved-folder": "",
    "notebook": "cells",
}
"""Page → the prepared workspace that its commands begin in; empty: beside the photographs."""


def test_the_list_names_every_page() -> None:
    listed = PAGES["README"]
    assert set(PAGES) == {*BEGINS_IN, "phone", "README"}
    assert all(f"({name}.md)" in listed for name in (*BEGINS_IN, "phone"))
    assert listed.count("\n| ") == 1 + 10


@pytest.mark.slow
@pytest.mark.parametrize("name", BEGINS_IN)
def test_a_page_prints_what_it_shows(name: str, shell: Callable[..., Shell]) -> None:
    truth = DEFECTS if name == "hard-task" else TYPES
    run_page(PAGES[name], shell(BEGINS_IN[name], truth))


@pytest.mark.slow
@played
async def test_the_review_is_served_to_a_phone(shell: Callable[..., Shell], visit: Visit) -> None:
    (_, command), (_, shown) = BLOCK.findall(PAGES["phone"])
    phone = shell("cells")
    served = f"{command.strip()} 2> said.txt &"
    printed = phone.run(
        f"{served}\nuntil grep -q Ctrl said.txt; do sleep 0.2; done\nkill $!\nwait\ncat said.txt"
    )
    compare(shown, printed)
    with serving(phone.folder, *command.split()[1:]) as (address, _):
        async with visit(address, width=360, height=640) as page:
            await page.press("a")
            await page.says("1 done")
            await page.click("[data-action=undo]")
            await page.says("0 done")
            assert await page.tab.evaluate("document.documentElement.scrollWidth") <= 360
