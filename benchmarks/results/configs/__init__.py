"""The bundled configs that are measured, in the order of the page; each module has those of one subject."""

from . import digits, distillation, images, language, pairs, tables

CONFIGS = (*digits.CONFIGS, *images.CONFIGS, *language.CONFIGS, *tables.CONFIGS, *pairs.CONFIGS, *distillation.CONFIGS)
