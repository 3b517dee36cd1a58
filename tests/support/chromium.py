"""A headless Chromium, spoken to through its DevTools protocol over a pipe: no port, no driver, no library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 60
"""For how many seconds the browser may be silent while it is waited for."""

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Chromium:
    """One tab. `events` holds all that the browser told of it, in order."""

    def __init__(self, folder: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The protocol reads from descriptor 3 and writes to 4.
        command = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", command, "bash", str(to_browser), str(from_browser)),
                *(PROGRAM, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"),
                *(["--no-sandbox"] if os.geteuid() == 0 else []),  # root may not use it
                *("--disable-dev-shm-usage", "--hide-scrollbars", "--disable-background-networking"),
                f"--user-data-dir={folder}",
            ],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._number, self._session = b"", 0, None
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params) -> dict:
        """Ask for something; return the answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict:
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], PATIENCE)[0], f"chromium says nothing after {self.events[-3:]}"
            data = os.read(self._read, 1 << 20)
            assert data, "chromium ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url: str | Path, *, scripts: bool = True) -> float:
        """Open a page; return after how many seconds it was loaded and laid out."""
        self.events.clear()
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        began = time.monotonic()
        self.call("Page.navigate", url=url.absolute().as_uri() if isinstance(url, Path) else url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
        self.call("Page.getLayoutMetrics")
        return time.monotonic() - began

    def look(self, width: int = 1280, height: int = 900, *, dark: bool = False, media: str = "screen") -> None:
        """Look at pages on such a screen from now on."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def evaluate(self, expression: str):
        """Return what the page's own script would get for an expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Save how the whole page looks."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 8000), "scale": 1}
        image = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(image["data"]))

    def pdf(self) -> bytes:
        """Return the page as it is printed."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])

    def requests(self) -> list[str]:
        """Return the addresses that the page asked for, itself left out."""
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in asked[1:] if not url.startswith("data:")]

    def dialogs(self) -> list[str]:
        """Return what the page said in dialogs."""
        return [e["params"]["message"] for e in self.events if e.get("method") == "Page.javascriptDialogOpening"]

    def close(self) -> None:
        os.close(self._write)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        os.close(self._read)
