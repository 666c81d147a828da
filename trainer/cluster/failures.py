"""Says in one line that another worker was lost."""

from __future__ import annotations

import re

import tensorflow as tf

from ..errors import ClusterError

# How TensorFlow 2.21 tells it: a collective is aborted since a connection broke (within two seconds of a worker's
# end) or since heartbeats stopped (after ten seconds of silence).
_KINDS = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
_ABOUT_WORKERS = re.compile(r"Collective ops is aborted|stopped sending heartbeats|coordination service|/job:", re.I)
_TASK = re.compile(r"/job:(\w+)/(?:replica:0/)?task:(\d+)")


def lost_worker(error: BaseException) -> ClusterError | None:
    """Returns what to say if `error` is TensorFlow's way of telling that another worker is gone, else None."""
    text = str(error)
    if not isinstance(error, _KINDS) or not _ABOUT_WORKERS.search(text):
        return None
    # The innermost reason comes first; errors passed on by further workers follow it.
    task = _TASK.search(text.partition("aborted by:")[2] or text)
    who = f" ({task[1]} {task[2]})" if task else ""
    return ClusterError(
        f"another worker has failed or is gone{who}: see its messages. Starting all workers again continues from the last "
        "checkpoint."
    )
