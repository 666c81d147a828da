"""Reading and checking gin configs.

gin lets a mistyped name, an unused macro or a value of the wrong type through in silence. `load` does not: it
reads the files and the overrides by itself, checks them, and only then gives them to gin, which stays the
engine.
"""

from .call_errors import explain_call_error, without_gin_notes
from .config import Binding, Config
from .engine import unlocked
from .explain import explain
from .keras_names import register_keras
from .listing import list_configurables
from .loading import latest, load
from .required import check_required, missing_required
from .text import as_given, diff, operative
from .usage import Unused, check_consumed, unused

__all__ = [
    "Binding",
    "Config",
    "Unused",
    "as_given",
    "check_consumed",
    "check_required",
    "diff",
    "explain",
    "explain_call_error",
    "latest",
    "list_configurables",
    "load",
    "missing_required",
    "operative",
    "register_keras",
    "unlocked",
    "unused",
    "without_gin_notes",
]
