"""Checkpoints: what is saved, how it is written, which ones stay, and how a run comes back from one."""
