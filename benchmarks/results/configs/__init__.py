"""The bundled configs that are measured, in the order of the page; each module has those of one subject."""

from . import digits, distillation, images, pairs

CONFIGS = (*digits.CONFIGS, *images.CONFIGS, *pairs.CONFIGS, *distillation.CONFIGS)
