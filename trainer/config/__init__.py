"""Reading and checking gin configs.

gin lets a mistyped name, an unused macro or a value of the wrong type through in silence. `load` does not: it
reads the files and the overrides by itself, checks them, and only then gives them to gin, which stays the
engine.
"""

from ...metrics.lazy import lazy_exports

_EXPORTS = {
    "Binding": ".config",
    "Config": ".config",
    "Unused": ".usage",
    "as_given": ".text",
    "check_consumed": ".usage",
    "check_required": ".required",
    "diff": ".text",
    "explain": ".explanation",
    "explain_call_error": ".call_errors",
    "find": ".sources",
    "latest": ".loading",
    "list_configurables": ".listing",
    "load": ".loading",
    "missing_required": ".required",
    "operative": ".text",
    "register_keras": ".keras_names",
    "unlocked": ".engine",
    "unused": ".usage",
    "without_gin_notes": ".call_errors",
}
__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
