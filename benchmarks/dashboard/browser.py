"""Chromium without a window, driven through a pipe: it needs no package besides the browser."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_DEADLINE = 60.0  # seconds for an answer

# All text of a page as it is shown, shadow roots and frames of the same server included, one piece a line.
_TEXT = """
(() => {
  const pieces = [];
  const skipped = new Set(['STYLE', 'SCRIPT', 'TEMPLATE', 'DOM-MODULE']);
  const walk = node => {
    if (node.nodeType === Node.TEXT_NODE) {
      const text = node.textContent.trim();
      if (text) pieces.push(text);
    } else if (!skipped.has(node.nodeName)) {
      if (node.shadowRoot) walk(node.shadowRoot);
      if (node.contentDocument && node.contentDocument.body) walk(node.contentDocument.body);
      node.childNodes.forEach(walk);
    }
  };
  if (document.body) walk(document.body);  // there is none yet while a page loads
  return pieces.join('\\n');
})()
"""

# Clicks the innermost element with this text; returns whether there is one.
_CLICK = """
(wanted => {
  const find = node => {
    for (const child of [...(node.shadowRoot ? node.shadowRoot.childNodes : []), ...node.childNodes]) {
      const found = child.nodeType === Node.ELEMENT_NODE && find(child);
      if (found) return found;
    }
    return node.nodeType === Node.ELEMENT_NODE && node.textContent.trim() === wanted && node.offsetParent ? node : null;
  };
  const found = find(document.body);
  if (found) found.click();
  return Boolean(found);
})
"""

# How many elements below a node match a selector, shadow roots included.
_COUNT = """
(function count(node, selector) {
  const below = [...node.children, ...(node.shadowRoot ? node.shadowRoot.children : [])];
  return below.reduce((sum, each) => sum + each.matches(selector) + count(each, selector), 0);
})
"""


def find() -> str | None:
    """Return the path of a Chromium or Chrome; None if there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """A browser with one page. A context manager: it ends the browser.

    Args:
      path: the program.
      width: of the page, in pixels.
      height: of the page, in pixels.
    """

    def __init__(self, path: str, width: int = 1280, height: int = 800):
        self._profile = tempfile.TemporaryDirectory(prefix="tallyloop-browser-", ignore_cleanup_errors=True)
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        options = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe"),
            *(f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}", "about:blank"),
        ]
        # The browser reads commands from file 3 and answers in file 4.
        redirect = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirect, path, *options],
            pass_fds=(theirs_in, theirs_out),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        pages = self._call("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in pages if each["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._to)
        os.close(self._from)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._profile.cleanup()

    def open(self, url: str, seconds: float = 0.0) -> None:
        """Go to a page, and wait."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=url)
        time.sleep(seconds)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, or that of its promise."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", str(result)))
        return result["result"].get("value")

    def text(self) -> str:
        """Return all text of the page, one piece a line."""
        return self.evaluate(_TEXT)

    def count(self, selector: str) -> int:
        """Return how many elements of the page match a CSS selector."""
        return self.evaluate(f"{_COUNT}(document.body, {json.dumps(selector)})")

    def click(self, text: str) -> None:
        """Click what has this text.

        Raises:
          LookupError: nothing has it.
        """
        if not self.evaluate(f"{_CLICK}({json.dumps(text)})"):
            raise LookupError(f"nothing on the page has the text {text!r}")

    def wait_for(self, *wanted: str, seconds: float = 20.0) -> str:
        """Return the text of the page once it has all these pieces.

        Raises:
          TimeoutError: it still lacks one.
        """
        deadline = time.monotonic() + seconds
        while missing := [each for each in wanted if each not in (text := self.text())]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{missing} not on the page, which has:\n{text[:2000]}")
            time.sleep(0.2)
        return text

    def screenshot(self, path: Path) -> None:
        """Write the page as a PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], _DEADLINE)[0]:
                raise TimeoutError("the browser does not answer")
            if not (more := os.read(self._from, 1 << 20)):
                raise RuntimeError(f"the browser has ended with exit code {self._process.wait()}")
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
