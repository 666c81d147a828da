"""The loops that `benchmarks.step_overhead` puts side by side."""
