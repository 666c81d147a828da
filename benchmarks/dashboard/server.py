"""A TensorBoard on this machine alone."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

_DEADLINE = 60.0  # seconds to start
_STATUSES = ("STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING")


class TensorBoard:
    """The real server. A context manager: it ends the server.

    Args:
      folder: its `--logdir`.
      arguments: further flags.

    Attributes:
      url: where it answers, with a slash at the end.
    """

    def __init__(self, folder: Path, *arguments: str):
        command = [sys.executable, "-m", "tensorboard.main", f"--logdir={folder.name}", "--host=127.0.0.1", "--port=0"]
        self._process = subprocess.Popen(
            [*command, "--reload_interval=1", *arguments],
            cwd=folder.parent,  # pages show the folder as it was given
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url: str = self._started()

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def get(self, route: str, **query: str) -> Any:
        """Return the JSON of a data route, such as `runs`."""
        with urllib.request.urlopen(f"{self.url}data/{route}?{urllib.parse.urlencode(query)}") as answer:
            # The profiler compresses its answers, whether it was asked to or not.
            is_compressed = answer.headers.get("Content-Encoding") == "gzip"
            return json.loads(gzip.decompress(answer.read()) if is_compressed else answer.read())

    def post(self, route: str, body: Any) -> Any:
        """Return the JSON of a data route that is given some."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}data/{route}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def hparams(self, *statuses: str) -> Any:
        """Return the rows of HParams that have one of these statuses; without any, all rows."""
        body = {
            "experimentName": "",
            "allowedStatuses": statuses or _STATUSES,
            "colParams": [],
            "startIndex": 0,
            "sliceSize": 100,
        }
        return self.post("plugin/hparams/session_groups", body)["sessionGroups"]

    def wait_for_runs(self, *names: str) -> None:
        """Return once it has read these runs.

        Raises:
          TimeoutError: it still has not.
        """
        deadline = time.monotonic() + _DEADLINE
        while missing := {*names} - {*self.get("runs")}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"TensorBoard does not find the runs {sorted(missing)}")
            time.sleep(0.2)

    def _started(self) -> str:
        told = []
        for line in self._process.stderr or ():
            told.append(line)
            if found := re.search(r"(http://127\.0\.0\.1:\d+/)", line):
                return found[1]
        raise RuntimeError(f"TensorBoard has not started:\n{''.join(told)}")
