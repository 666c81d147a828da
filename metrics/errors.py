"""The error that every package raises for a mistake of the user's."""


class UsageError(ValueError):
    """Something that a user wrote, bound or supplied is wrong.

    The message names the flag, binding, file or line, the value got and the value wanted, and the fix. It is
    the whole of what the command line shows: no traceback, exit code 2. It lives here because `metrics` is
    the one package that all the others may import.
    """

    # AutoGraph raises an exception anew, with the user's line, only if its constructor is known to take a message.
    __init__ = Exception.__init__


class DataError(RuntimeError):
    """An example cannot be read, or the map function raises for it.

    The message names the source, the file and the index where known, the reason and the fix. It is not the user's
    mistake in writing the run: the command line shows the message alone, with exit code 1.
    """
