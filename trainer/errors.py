"""How a run ends: errors that are not mistakes in its flags, config or code, and exit codes. Imports nothing."""

# Of the command. PREEMPTED is 42, which no shell, signal or Python error produces: a scheduler can rerun on it alone.
DONE, FAILED, WRONG_USAGE, PREEMPTED = 0, 1, 2, 42


class NonFiniteError(RuntimeError):
    """The loss or a gradient became NaN or infinite. The weights are those before that step."""


class ClusterError(RuntimeError):
    """A worker did not come, or was lost. Restarting all of them continues from the last checkpoint."""


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, even after some retries. The previous ones are intact."""


class OutputError(RuntimeError):
    """The metrics could not be written. What was trained until then is in a checkpoint."""


class PreemptedError(RuntimeError):
    """The run was asked to stop, and has saved its state: the same command continues it."""
