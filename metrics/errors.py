"""The errors that every package raises for a mistake of the user's and for damaged data.

They live in `metrics` because it is the one package that all the others may import.
"""


class UsageError(ValueError):
    """Something that the user wrote, bound or supplied is wrong.

    The message names the flag, binding, file or line, the value it got, what it expected, and the fix. The command line
    shows the message alone, without a traceback, and exits with code 2.
    """

    # AutoGraph re-raises an exception with the user's line only if it knows that the constructor takes a message.
    __init__ = Exception.__init__


class DataError(RuntimeError):
    """An example cannot be read, or the map function raises for it.

    The message names the source, the file and the index where known, the reason and the fix. The run itself is set up
    correctly, so the command line shows the message alone and exits with code 1.
    """
