"""Being asked to stop: by SIGTERM, as a machine is taken away, or by Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import sys
import types
from collections.abc import Iterator

_asked: list[int] = []  # the signals that came


def requested() -> bool:
    """Tells whether this process was asked to stop."""
    return bool(_asked)


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """Within it, SIGTERM and the first SIGINT (Ctrl-C) ask; a second SIGINT raises KeyboardInterrupt. For the main thread."""
    before = {number: signal.signal(number, _take) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


def _take(number: int, frame: types.FrameType | None) -> None:
    if number == signal.SIGINT and signal.SIGINT in _asked:
        raise KeyboardInterrupt
    if not _asked:
        name = signal.Signals(number).name
        print(f"{name}: saving after this inner loop. Ctrl-C once more stops at once.", file=sys.stderr, flush=True)
    _asked.append(number)
