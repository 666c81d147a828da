"""How right the advice of `--mode=tune` is."""
