"""The parts of `python -m benchmarks.invariance`: the trainings, where they run, and how their results are compared."""

from tallyloop.trainer.distribution.startup import quiet_stderr

with quiet_stderr():  # TensorFlow's start-up noise
    import tensorflow  # noqa: F401
