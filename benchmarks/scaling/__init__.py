"""The parts of `python -m benchmarks.scaling`: step times, counted reductions, and what they project to."""
