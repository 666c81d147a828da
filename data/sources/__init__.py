"""Bundled sources of examples."""
