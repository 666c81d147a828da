"""The parts of `python -m benchmarks.invariance`: what is trained, where, and how the results are compared."""

from tallyloop.trainer.distribution.startup import quiet_stderr

with quiet_stderr():  # TensorFlow's notes on the machine
    import tensorflow  # noqa: F401
