"""A real Chromium, driven over its debugging socket."""

from __future__ import annotations

import asyncio
import base64
import itertools
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0", "--window-size=1200,800",
)  # fmt: skip


CODES = {"Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
         "ArrowDown": 40, "Backspace": 8, "Tab": 9}  # fmt: skip


class BrowserError(Exception):
    """What the browser says it cannot do."""


class Browser:
    """One page; every request that it makes is remembered, and every complaint."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.requests: list[str] = []
        self.received: list[str] = []
        self.complaints: list[str] = []
        """Requests whose answers wait because of `Fetch.enable`."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), 60)
            if message.get("id") == number:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                return dict(message.get("result", {}))
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(str(message["params"]))
        if message.get("method") == "Runtime.consoleAPICalled":
            self.complaints.append(str(message["params"]["args"]))

    async def open(self, address: str) -> None:
        await self.call("Network.enable")
        await self.call("Page.enable")
        await self.call("Runtime.enable")
        await self.call("Log.enable")
        await self.call("Page.navigate", url=address)

    async def evaluate(self, script: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return result["result"].get("value")

    async def look_like(
        self, width: int, height: int = 800, *, dark: bool = False, media: str = ""
    ) -> None:
        """A screen of this width, light or dark; or `print` as the medium."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        await self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    async def click(self, x: int, y: int) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        for kind, (x, y) in (
            ("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end),
        ):  # fmt: skip
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1,
                clickCount=1,
            )  # fmt: skip

    async def until(self, script: str, seconds: float = 60.0) -> Any:
        """What a script gives as soon as it gives something true."""
        deadline = time.monotonic() + seconds
        while not (value := await self.evaluate(script)):
            if time.monotonic() > deadline:
                text = await self.evaluate("document.body.innerText")
                raise AssertionError(f"{script} did not come:\n{text}\n{self.complaints}")
            await asyncio.sleep(0.05)
        return value

    async def press(self, key: str) -> None:
        code = CODES.get(key)
        known = {
            "key": key,
            "code": f"Key{key.upper()}" if code is None else key,
            "windowsVirtualKeyCode": ord(key.upper()) if code is None else code,
        }
        text = {} if code not in (None, 13, 32) else {"text": "\r" if key == "Enter" else key}
        kind = "keyDown" if text else "rawKeyDown"
        await self.call("Input.dispatchKeyEvent", type=kind, **text, **known)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    async def screenshot(self, path: Path) -> Path:
        """What is seen now; taken again while the page is still being laid out."""
        for _ in range(60):
            try:
                shot = await self.call("Page.captureScreenshot", format="png")
            except BrowserError:
                await asyncio.sleep(0.5)
                continue
            path.write_bytes(base64.b64decode(shot["data"]))
            return path
        raise AssertionError("no screenshot could be taken")


@asynccontextmanager
async def browser(chromium: str, profile: Path) -> AsyncIterator[Browser]:
    """Chromium with a new profile; ended when the block ends."""
    process = subprocess.Popen(
        [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not port_file.exists() or not port_file.read_text().strip():
            assert time.monotonic() < deadline, "Chromium did not start"
            await asyncio.sleep(0.1)
        port = port_file.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = await answer.json()
            address = next(one["webSocketDebuggerUrl"] for one in pages if one["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield Browser(socket)
    finally:
        process.terminate()
        process.wait(timeout=30)
