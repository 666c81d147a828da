"""The parts of `python -m benchmarks.step_overhead`: the Trainer, handwritten loops, other frameworks, another checkout."""
