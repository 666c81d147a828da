"""Reading and checking gin configs.

Gin silently accepts a mistyped name, an unused macro or a value of the wrong type. `load` does not: it reads the files and
overrides itself, checks them, and only then hands them to gin, which injects the values.
"""

from typing import TYPE_CHECKING

from ...metrics.lazy import lazy_exports

if TYPE_CHECKING:
    from .calls import check_required, explain_call_error, without_gin_notes
    from .config import Binding, Config
    from .hyperparameters import hparams
    from .loading import in_use, load
    from .names import register_keras
    from .reading import find
    from .signatures import list_configurables
    from .text import as_given, diff, operative
    from .usage import check_consumed, explain

__all__ = [
    "Binding",
    "Config",
    "as_given",
    "check_consumed",
    "check_required",
    "diff",
    "explain",
    "explain_call_error",
    "find",
    "hparams",
    "in_use",
    "list_configurables",
    "load",
    "operative",
    "register_keras",
    "without_gin_notes",
]

if not TYPE_CHECKING:  # a type checker would take any name for an export
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "Binding": ".config",
            "Config": ".config",
            "as_given": ".text",
            "check_consumed": ".usage",
            "check_required": ".calls",
            "diff": ".text",
            "explain": ".usage",
            "explain_call_error": ".calls",
            "find": ".reading",
            "hparams": ".hyperparameters",
            "in_use": ".loading",
            "list_configurables": ".signatures",
            "load": ".loading",
            "operative": ".text",
            "register_keras": ".names",
            "without_gin_notes": ".calls",
        },
    )
