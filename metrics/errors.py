"""The errors that every package raises for a user's mistake and for damaged data, and suggestions for mistyped names.

They live in `metrics` because it is the one package that all the others may import, and import nothing heavy: the flags need
them before a run starts.
"""

from __future__ import annotations

import difflib
import errno
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

_CUTOFF = 0.7  # with difflib's default of 0.6, "Trainer" resembles "RandomInvert"
_TIE = 0.02
_MAY_PASS = {
    getattr(errno, name, None)
    for name in (
        "EIO",
        "ENOSPC",
        "ENOMEM",
        "ESTALE",
        "EMFILE",
        "ENFILE",
        "EAGAIN",
        "EREMOTEIO",
        "EHOSTUNREACH",
        "ENETUNREACH",
    )
} - {None}
_OF_TENSORFLOW = ("UnavailableError", "ResourceExhaustedError", "AbortedError", "DeadlineExceededError")


class UsageError(ValueError):
    """Something that the user wrote, bound or supplied is wrong.

    The message names the flag, binding, file or line, the value it got, what it expected, and the fix. The command line
    shows the message alone, without a traceback, and exits with code 2.
    """

    # AutoGraph re-raises an exception with the user's line only if it knows that the constructor takes a message.
    if not TYPE_CHECKING:  # to a type checker it is inherited
        __init__ = Exception.__init__


class DataError(RuntimeError):
    """An example cannot be read, or the map function raises for it.

    The message names the source, the file and the index where known, the reason and the fix. The command line shows the
    message alone and exits with code 2, as the same command would fail again, or with 1 if it `may_pass`.

    Args:
      message: the message.
      may_pass: the cause is of the machine, which its type may not tell: the same command may succeed.
    """

    def __init__(self, message: str = "", *, may_pass: bool = False):
        super().__init__(message)
        self._may_pass = may_pass

    @property
    def may_pass(self) -> bool:
        """True if the cause is of the machine, such as a network disk or the memory, and not of the data."""
        return self._may_pass or any(map(_is_of_the_machine, _causes(self)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _is_of_the_machine(error: BaseException) -> bool:
    """Return whether an error may pass; a damaged image, too, is an OSError, without a number."""
    if isinstance(error, MemoryError | ConnectionError | TimeoutError) or type(error).__name__ in _OF_TENSORFLOW:
        return True
    return isinstance(error, OSError) and error.errno in _MAY_PASS


def check_parameters(error: TypeError, binding: str, function: Callable[..., Any], count: int, expected: str) -> None:
    """Refuse a function that cannot be called with `count` arguments, after a call has raised.

    Not before: gin gives some parameters a value without changing the signature.

    Raises:
      UsageError: its parameters are others than `expected`.
    """
    if "positional argument" in str(error):
        refuse_parameters(binding, function, count, expected)


def refuse_parameters(
    binding: str, function: Callable[..., Any], count: int, expected: str, *, or_more: bool = False
) -> None:
    """Refuse a function that cannot be called with `count` arguments, or with more if gin may give these.

    Raises:
      UsageError: its parameters are others than `expected`.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin has no signature
        return
    try:
        (signature.bind_partial if or_more else signature.bind)(*range(count))
    except TypeError as error:
        got = ", ".join(signature.parameters)
        raise UsageError(f"{binding} = {function!r}: expected a function of {expected}, got one of ({got})") from error


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known name most similar to `name`, ignoring case, and a second one if it is as similar."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=2, cutoff=_CUTOFF)
    if len(found) == 2 and _similarity(name, found[0]) - _similarity(name, found[1]) > _TIE:
        found.pop()
    return [by_lower[candidate] for candidate in found]


def _similarity(name: str, candidate: str) -> float:
    # The ratio depends on the order of the arguments; this is the order of get_close_matches.
    return difflib.SequenceMatcher(None, candidate, name.lower()).ratio()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `: did you mean "x"?`, or an empty string if no known name is similar."""
    found = " or ".join(f'"{candidate}"' for candidate in closest(name, known))
    return f": did you mean {found}?" if found else ""
