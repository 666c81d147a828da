"""How the tests of the metrics run a step and read what it recorded."""

import pytest
from tallyloop import metrics  # lazily, like TensorFlow below: not all tests need it


@pytest.fixture(scope="session")
def evaluate(mirrored_on):
    """evaluate(step, pieces) -> the finished numbers of `step(piece)` on one replica per piece, run eagerly."""
    import tensorflow as tf

    def run(step, pieces, registry=None):
        strategy, registry = mirrored_on(len(pieces)), registry or metrics.MetricRegistry()

        def replica(piece):
            with registry.recording():
                outputs = step(piece)
                return registry.compute(piece, outputs)

        each = strategy.experimental_distribute_values_from_function(
            lambda context: tf.nest.map_structure(tf.constant, pieces[context.replica_id_in_sync_group])
        )
        return registry.result(registry.reduce(strategy, strategy.run(replica, args=(each,))))

    return run


def _recorded(step, registry):
    with registry.recording():
        step()
        return registry.compute(None, None)


@pytest.fixture(scope="session")
def record_eagerly():
    """record_eagerly(step) -> path -> (value, count) of `step()` in the eager step of one replica."""

    def run(step, registry=None):
        return _as_floats(_recorded(step, registry or metrics.MetricRegistry()))

    return run


@pytest.fixture(scope="session")
def record_traced():
    """The same in a `tf.function`, whose options may be given."""
    import tensorflow as tf

    def run(step, registry=None, **options):
        registry = registry or metrics.MetricRegistry()
        return _as_floats(tf.function(lambda: _recorded(step, registry), autograph=False, **options)())

    return run


@pytest.fixture(params=["eager", "traced"])
def record(request, record_eagerly, record_traced):
    """Both of them, one after the other."""
    return {"eager": record_eagerly, "traced": record_traced}[request.param]


@pytest.fixture(scope="session")
def finished():
    """finished(values, weights, finish) -> what is written of the values, added in two batches of unequal size."""
    import tensorflow as tf

    def run(values, weights=None, finish=None):
        registry, total = metrics.MetricRegistry(), None
        for piece in (slice(0, 1), slice(1, None)):
            with registry.recording():
                share = None if weights is None else tf.constant(weights[piece], tf.float32)
                metrics.add("m", tf.constant(values[piece], tf.float32), weights=share, finish=finish)
                total = registry.merge(total, registry.compute(None, None))
        return registry.result(total)

    return run


def _as_floats(tallies):
    return {path: (float(tally.value), float(tally.count)) for path, tally in tallies.items()}
