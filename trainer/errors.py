"""Errors of a run that are not the user's mistake in writing it."""


class NonFiniteError(RuntimeError):
    """The loss or a gradient became NaN or infinite; the weights are those before that step."""
