"""Libraries that are imported only where a source reads with them, and what they raise."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from ....metrics.errors import UsageError

_Result = TypeVar("_Result")


def library(module: str, origin: str, extra: str) -> Any:
    """Return a module of an optional library.

    Args:
      module: its name.
      origin: what needs it, for the message.
      extra: the extra of this package that brings it.

    Raises:
      UsageError: it isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{origin}: {module} cannot be imported ({error}): expected it to be installed, as with: "
            f'pip install "tallyloop[{extra}]"'
        ) from error


def opened(origin: str, expected: str, call: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
    """Return what a library's function returns.

    Args:
      origin: what the user wrote, for the message: "tfds.name = 'mnst'".
      expected: what it should be.
      call: the function; `args` and `kwargs` are passed to it.

    Raises:
      UsageError: it raises anything.
    """
    try:
        return call(*args, **kwargs)
    except Exception as error:  # libraries raise what they like
        told = str(error).strip().split("\n")[0]
        raise UsageError(f"{origin}: expected {expected}, got {type(error).__name__}: {told}") from error
