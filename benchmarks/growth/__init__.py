"""How costs grow with the size of a training: one training per size, and the exponent of each cost."""
