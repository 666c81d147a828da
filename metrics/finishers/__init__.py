"""Finishers: from reduced sums to the numbers that are written."""
