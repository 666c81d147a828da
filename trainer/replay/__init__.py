"""A step of a run once more, with all that happened in it."""
