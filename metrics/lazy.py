"""Exports that are imported at first use, so that `--help` answers before TensorFlow is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, exports: Mapping[str, str]) -> tuple[Callable, Callable]:
    """Returns the `__getattr__` and `__dir__` (PEP 562) of a package.

    Args:
      package: the package's `__name__`.
      exports: public name -> the submodule that defines it (".tally").
    """

    def getattribute(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(exports[name], package), name)

    return getattribute, lambda: sorted(exports)
