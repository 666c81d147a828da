"""Reference arithmetic of layers in NumPy, and how an error is expected."""

import re

import numpy as np
import pytest
from tallyloop.metrics import UsageError


@pytest.fixture(scope="session")
def dense():
    """dense(x, layer, relu=False) -> what a Dense layer makes of x, in float64."""

    def outputs(x, layer, relu=False):
        kernel, bias = (weight.astype(np.float64) for weight in layer.get_weights())
        found = x @ kernel + bias
        return np.maximum(found, 0) if relu else found

    return outputs


@pytest.fixture
def rng():
    """A random generator that starts anew in each test."""
    return np.random.default_rng(11)


@pytest.fixture(scope="session")
def refused():
    """refused(message) -> a context that expects a UsageError with exactly these words in its message."""
    return lambda message: pytest.raises(UsageError, match=re.escape(message))
