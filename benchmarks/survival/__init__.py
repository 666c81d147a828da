"""The parts of `python -m benchmarks.survival`: the runs, the kills, and the comparison with a run that was never killed."""
