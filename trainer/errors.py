"""Errors of a run that are not the user's mistake in writing it."""


class NonFiniteError(RuntimeError):
    """The loss or a gradient became NaN or infinite; the weights are those before that step."""


class ClusterError(RuntimeError):
    """A worker did not come, or was lost. Starting all of them again continues from the last checkpoint."""


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, even after some retries; the ones before are as they were."""


class OutputError(RuntimeError):
    """The metrics could not be written; what was trained up to then is in a checkpoint."""


class PreemptedError(RuntimeError):
    """The run was asked to stop, and has saved where it is: the same command continues."""
