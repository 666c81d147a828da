"""The bundled configs that are measured, in the order of the page; each module has those of one subject."""

from . import digits

CONFIGS = (*digits.CONFIGS,)
