"""A headless Chromium, driven over its DevTools protocol with the library `websockets`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.request import urlopen

from websockets.sync.client import connect

from qcore.processes import wait_for

#: The program, by the names that distributions give it; None if there is none.
CHROMIUM: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

#: While a page is loaded, it has no body yet.
_TEXT: Final = "(document.body?.innerText ?? '')"


class Browser:
    """One browser with one page.

    Args:
        directory: an empty directory for the browser's files.
        options: more options of the browser.

    Attributes:
        sent: the WebSocket frames that the page sent, decoded.
        errors: the uncaught exceptions of the page, and the errors and warnings in its console.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        assert CHROMIUM is not None
        self.sent: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._ids = count(1)
        self._stack = ExitStack()
        self._process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless=new", "--no-first-run", "--disable-gpu"),
                *(["--no-sandbox"] if os.geteuid() == 0 else []),  # root cannot have one
                *("--remote-debugging-port=0", f"--user-data-dir={directory}"),
                *options,
                *("--window-size=1300,800", "about:blank"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            connection = connect(self._page(directory), proxy=None, max_size=None)
            self._socket = self._stack.enter_context(connection)
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._process.kill()
            raise

    def _page(self, directory: Path) -> str:
        """The address of the page's protocol. The browser chose the port."""
        file = directory / "DevToolsActivePort"
        wait_for(lambda: file.exists() and "\n" in file.read_text(), 30, "the browser to start")
        port = file.read_text().split()[0]

        def page() -> str:
            with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                targets = json.load(answer)
            found = [each for each in targets if each["type"] == "page"]
            return str(found[0]["webSocketDebuggerUrl"]) if found else ""

        return wait_for(page, 30, "the browser's page")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        self._process.terminate()
        self._process.wait(30)

    @property
    def page_errors(self) -> list[str]:
        """The `errors` without the browser's own reports of connections that failed."""
        found = [(each, json.loads(each)) for each in self.errors]
        return [
            each
            for each, entry in found
            if not (isinstance(entry, dict) and entry.get("source") == "network")
        ]

    def call(self, method: str, **parameters: object) -> Any:
        """Call a method of the protocol, and return its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(30))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        match event["method"]:
            case "Network.webSocketFrameSent":
                self.sent.append(json.loads(event["params"]["response"]["payloadData"]))
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(event["params"]["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.errors.append(json.dumps(event["params"]["args"]))
            case "Log.entryAdded":
                self.errors.append(json.dumps(event["params"]["entry"]))

    def open(self, url: str) -> None:
        """Load a page."""
        assert "errorText" not in self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Evaluate an expression of JavaScript in the page, and return its value."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script: str, timeout_s: float = 60.0) -> None:
        """Wait until an expression is true. The error shows the text of the page."""
        deadline = time.monotonic() + timeout_s
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < deadline, f"{script} is false:\n{self.text()}"
            time.sleep(0.02)

    def wait_text(self, *texts: str) -> None:
        """Wait until the page shows all of these texts."""
        self.wait(f"{json.dumps(texts)}.every((text) => {_TEXT}.includes(text))")

    def wait_no_text(self, text: str) -> None:
        """Wait until the page does not show a text any more."""
        self.wait(f"!{_TEXT}.includes({json.dumps(text)})")

    def text(self) -> str:
        """The text that the page shows."""
        return str(self.run(_TEXT))

    def press(self, key: str, *modifiers: Literal["Alt", "Control", "Shift"]) -> None:
        """Press and release a key, by its name in JavaScript, such as `a`, `?`, `Tab`, `ArrowLeft` or ` `."""
        bits = sum({"Alt": 1, "Control": 2, "Shift": 8}[name] for name in modifiers)
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32}.get(key, 0)
        same: dict[str, Any] = {"key": key, "modifiers": bits, "windowsVirtualKeyCode": code}
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **down, **same)
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the page, in CSS pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def media(self, *, dark: bool = False, reduced_motion: bool = False) -> None:
        """What the user prefers: dark colours, little motion."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if reduced_motion else ""},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def vision(self, deficiency: Literal["none", "deuteranopia", "achromatopsia"]) -> None:
        """Show the page as a person with this vision sees it."""
        self.call("Emulation.setEmulatedVisionDeficiency", type=deficiency)

    def size(self, width: int, height: int) -> None:
        """Change the size of the window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def picture(self, path: Path) -> None:
        """Save a picture of the page."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
