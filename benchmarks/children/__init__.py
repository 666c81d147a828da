"""Processes that benchmarks start, and how they talk to them."""
