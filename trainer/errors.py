"""Errors of a run that are not the user's mistake in writing it."""


class NonFiniteError(RuntimeError):
    """The loss or a gradient became NaN or infinite; the weights are those before that step."""


class ClusterError(RuntimeError):
    """A worker did not come, or was lost. Starting all of them again continues from the last checkpoint."""
