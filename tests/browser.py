"""A real browser for tests: Chromium without a window, told what to do through two pipes.

It speaks the Chrome DevTools Protocol, https://chromedevtools.github.io/devtools-protocol/: JSON
messages that end with a zero byte, which the option --remote-debugging-pipe reads from file
descriptor 3 and writes to 4. So nothing listens on a port, and no driver is needed.

    python -m tests.browser PAGE.html FOLDER      # pictures of a page, in four ways
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
MISSING = "no Chromium: apt install chromium"
WIDTHS, SCHEMES = (400, 1400), ("light", "dark")
# No sandbox: root has none, and the pages are ours. Nothing of the network either.
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
           "--remote-debugging-pipe", "--no-first-run", "--disable-extensions", "--mute-audio",
           "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
           "--proxy-server=127.0.0.1:9")  # fmt: skip
PATIENCE = 120  # seconds for an answer


def found() -> str | None:
    """The browser's program, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser with a page; a context manager.

    Parameters
    ----------
    options : of the program, beside `OPTIONS`
    """

    def __init__(self, *options: str) -> None:
        self._options = options

    def __enter__(self) -> Browser:
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [
            found(),
            *OPTIONS,
            *self._options,
            f"--user-data-dir={self._home.name}",
            "about:blank",
        ]
        both = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"'
        self._process = subprocess.Popen(["bash", "-c", both, "bash", *command],
                                         pass_fds=(theirs_in, theirs_out),
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         env=os.environ | {"HOME": self._home.name})  # fmt: skip
        os.close(theirs_in), os.close(theirs_out)
        self._number, self._rest, self._session = 0, b"", None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target,
                                  flatten=True)["sessionId"]  # fmt: skip
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.write(self._out, b'{"id": 0, "method": "Browser.close"}\0')
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in), os.close(self._out)
        self._home.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            more = os.read(self._in, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def open(self, page: Path | str, width: int, scheme: str) -> None:
        """Open a file or address as a screen of a width, CSS pixels, light or dark, shows it."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
        url = page if isinstance(page, str) else page.resolve().as_uri()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Errors of scripts, of the console and of loading since the page was opened."""
        bad = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed",
               "Runtime.consoleAPICalled")  # fmt: skip
        return [json.dumps(event["params"])[:2000] for event in self.events
                if event.get("method") in bad]  # fmt: skip

    def requests(self) -> list[str]:
        """The addresses that were asked for since the page was opened; data in it left out."""
        urls = (event["params"]["request"]["url"] for event in self.events
                if event.get("method") == "Network.requestWillBeSent")  # fmt: skip
        return [url for url in urls if not url.startswith("data:")]

    def picture(self) -> bytes:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


def main(page: str, folder: str) -> None:
    """Pictures of a page: narrow and wide, light and dark."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        for width in WIDTHS:
            for scheme in SCHEMES:
                browser.open(Path(page), width, scheme)
                path = Path(folder, f"{Path(page).stem}_{width}_{scheme}.png")
                path.write_bytes(browser.picture())
                print(path, browser.complaints(), browser.requests())


if __name__ == "__main__":
    main(*sys.argv[1:])
