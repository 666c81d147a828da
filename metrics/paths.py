"""Metric names: paths of identifiers, such as `loss/stage_1/combined`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .errors import UsageError

_PART = re.compile(r"[A-Za-z0-9_.-]+")
# A dot between identifiers separates ("stage_1.interm_1"); a dot before a digit does not ("recall_at_0.5").
_SEPARATOR_DOT = re.compile(r"(?<=[A-Za-z0-9_-])\.(?=[A-Za-z_])")


def normalize(name: str) -> str:
    """Return `name` as a path: parts of `[A-Za-z0-9_.-]+` joined by `/`.

    Raises:
      UsageError: `name` is not a string, or a part is empty or holds another character.
    """
    if not isinstance(name, str):
        raise UsageError(f"Metric name {name!r}: expected a string, got {type(name).__name__}.")
    parts = _SEPARATOR_DOT.sub("/", name).split("/")
    if not all(_PART.fullmatch(part) and part.strip(".") for part in parts):
        raise UsageError(
            f"Metric name {name!r}: expected letters, digits, '_', '-' and '.', in parts joined by '/', such as "
            "'loss/stage_1'."
        )
    return "/".join(parts)


def join(*parts: str) -> str:
    """Join the non-empty parts of a path."""
    return "/".join(part for part in parts if part)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `(path, leaf)` for each leaf of a nested dict, depth first, in the dict's order.

    Raises:
      UsageError: a key is not a metric name.
    """
    for name, node in tree.items():
        path = join(prefix, normalize(name))
        if isinstance(node, Mapping):
            yield from flatten(node, path)
        else:
            yield path, node
