"""Takes the pictures of the report in docs/images, in Chromium.

    python -m docs.make_report FOLDER

FOLDER becomes the folder of `curator demo`, if it is not that already. Needs Chromium and the
package elpv-dataset.
"""

from __future__ import annotations

import asyncio
import base64
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from curator.report.report import report
from curator.workspace import open_workspace
from tests.tui.browser import Browser, browser

IMAGES = Path(__file__).with_name("images")


async def _save(page: Browser, name: str, *, selector: str = "body", height: int) -> None:
    """What stands from the top of an element on, so many pixels high."""
    top = await page.evaluate(
        f"document.querySelector('{selector}').getBoundingClientRect().top + scrollY"
    )
    width = await page.evaluate("document.documentElement.clientWidth")
    clip = {"x": 0, "y": max(0, top - 16), "width": width, "height": height, "scale": 1}
    shot = await page.call(
        "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
    )
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    picture.save(IMAGES / f"{name}.png", optimize=True)
    sys.stdout.write(f"{name}.png\n")


async def _pictures(file: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        async with browser("chromium", Path(profile)) as page:
            await page.open(file.as_uri())
            await asyncio.sleep(1.0)
            await page.look_like(1000)
            await _save(page, "report-light", height=1250)
            await _save(page, "report-scores", selector="#scores .figures", height=1010)
            await _save(page, "report-pictures", selector="#borderline", height=1050)
            await page.look_like(1000, dark=True)
            await _save(page, "report-dark", height=1250)
            await page.look_like(390)
            await _save(page, "report-phone", height=1250)


def main() -> int:
    """Take them all. Returns the exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    folder = Path(sys.argv[1]).absolute()
    if not (folder / "defects").exists():
        subprocess.run([sys.executable, "-m", "curator", "demo", str(folder)], check=True)
    folder /= "defects"
    workspace = open_workspace(folder)
    with workspace.catalogue:
        made = report(workspace, force=True)
    asyncio.run(_pictures(made.destination))
    return 0


if __name__ == "__main__":
    sys.exit(main())
