"""The parts of `python -m benchmarks.checkpoint_stall`."""
