"""`--workers=N`: starts the workers on this machine, and starts all of them again when one dies.

TensorFlow is not loaded here: the launcher only watches.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence

from .exit_codes import DONE, FAILED, PREEMPTED, WRONG_USAGE
from .worker import Worker, start_all

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 15.0


def run(command: Sequence[str], count: int, max_restarts: int, grace: float = _GRACE_SECONDS) -> int:
    """Runs a group of workers to its end.

    Args:
      command: what each worker runs, with TF_CONFIG in its environment.
      count: how many workers.
      max_restarts: how often the whole group is started again after the failure of one.
      grace: seconds that the others have to end by themselves before they are killed.

    Returns:
      0 if all ended well; else the first exit code that was not 0, where a failure of any worker counts before "saved"
      (42); 1 for a worker that a signal ended.
    """
    with _Signals() as signals:
        for restart in range(1, max_restarts + 2):
            workers = start_all(command, count)
            signals.watch(workers)
            ended = _until_one_fails(workers, signals)
            if ended is not None:
                _wait_for_the_rest(workers, ended, signals, grace)
                ended = _worst(workers, ended)
            _finish(workers)
            code = _exit_code(ended)
            if code in (DONE, WRONG_USAGE, PREEMPTED) or signals.stopping:
                return code
            if restart > max_restarts:
                _say(f"{ended.how_it_ended()}: no more restarts (--max_restarts={max_restarts}).")
                return code
            _say(f"{ended.how_it_ended()}: all {count} workers start again (restart {restart} of {max_restarts}).")
    raise AssertionError("the last round returns")


class _Signals:
    """Forwards SIGTERM and SIGINT to all workers once; a second SIGINT kills them."""

    def __init__(self):
        self._workers: Sequence[Worker] = ()
        self._received: int | None = None
        self._before = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def stopping(self) -> bool:
        """Whether the group was told to end."""
        return self._received is not None

    def watch(self, workers: Sequence[Worker]) -> None:
        """These are told from now on; of a signal that came while they were being started, at once."""
        self._workers = workers
        if self.stopping:
            _send(workers, self._received)

    def _forward(self, number: int, frame) -> None:
        if not self.stopping:
            self._received = number
            _send(self._workers, number)
        elif number == signal.SIGINT:
            _send(self._workers, signal.SIGKILL)


def _until_one_fails(workers: Sequence[Worker], signals: _Signals) -> Worker | None:
    """Returns the first worker that ends with another code than 0; None if there is none."""
    while True:
        running = [worker for worker in workers if worker.code is None]
        failed = [worker for worker in workers if worker.code]
        if failed:
            # Of several at once, one that a signal ended is the cause: nothing else ends the others by a signal.
            return min(failed, key=lambda worker: worker.code)
        if not running:
            return None
        time.sleep(_POLL_SECONDS)


def _wait_for_the_rest(workers: Sequence[Worker], ended: Worker, signals: _Signals, grace: float) -> None:
    """Has all workers ended when it returns.

    Wrong usage ends each of them by itself, and so does preemption, after a checkpoint that all of them make. After a
    failure they are told to end.
    """
    if signals.stopping:
        _wait(workers, lambda: False)  # they were told; how long they take is theirs, a second Ctrl-C ends it
        return
    if ended.code not in (WRONG_USAGE, PREEMPTED):
        _send(workers, signal.SIGTERM)
    _wait(workers, _after(grace if ended.code != PREEMPTED else 4 * grace))
    _send(workers, signal.SIGKILL)
    _wait(workers, lambda: False)


def _worst(workers: Sequence[Worker], ended: Worker) -> Worker:
    """Returns whose exit code is the group's: "saved" is true only if no worker failed, or was killed, in saving."""
    if ended.code != PREEMPTED:
        return ended
    return next((worker for worker in workers if worker.code not in (DONE, PREEMPTED)), ended)


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _wait(workers: Sequence[Worker], is_over: Callable[[], bool]) -> None:
    while any(worker.code is None for worker in workers) and not is_over():
        time.sleep(_POLL_SECONDS)


def _send(workers: Sequence[Worker], number: int) -> None:
    for worker in workers:
        worker.send(number)


def _finish(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.finish(said_already=workers[0].code == WRONG_USAGE)


def _exit_code(ended: Worker | None) -> int:
    if ended is None:
        return DONE
    return ended.code if ended.code > 0 else FAILED


def _say(text: str) -> None:
    sys.stderr.write(f"{text[0].upper()}{text[1:]}\n")
    sys.stderr.flush()
