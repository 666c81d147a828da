"""Tallies on the device: packed into one vector, accumulated over steps, reduced once."""
