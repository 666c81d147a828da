"""Predictions for every example of a dataset."""
