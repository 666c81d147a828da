"""Processes that read rows, for transforms that hold the GIL."""
