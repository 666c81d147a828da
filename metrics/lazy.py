"""Exports that are imported on first use, so that `--help` answers before TensorFlow loads."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, exports: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package (PEP 562).

    Editors and type checkers do not run `__getattr__`. Next to the call, import the same names under
    `if TYPE_CHECKING`; a test checks that the imports and the table agree.

    Args:
      package: the package's `__name__`.
      exports: public name -> the submodule that defines it, such as ".tally".
    """

    def get_attribute(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(exports[name], package), name)

    return get_attribute, lambda: sorted(exports)
