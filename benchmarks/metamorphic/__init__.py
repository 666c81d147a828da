"""The parts of `python -m benchmarks.metamorphic`: random tasks, what each number must be, and the defects planted again."""

from tallyloop.trainer.distribution.startup import quiet_stderr

with quiet_stderr():  # TensorFlow's start-up noise
    import tensorflow  # noqa: F401

TESTED = 9, 13, 31, 33  # programs of the fast tests: those that are quick to trace
