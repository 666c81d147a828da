import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import Tally
from tallyloop.metrics.device.packing import layout_of, pack
from tallyloop.metrics.device.reduction import reduce_packed


def tallies(replica):
    """Sums 1, 10, 100; maxima -1, 3, 1."""
    return {
        "sum": Tally(tf.gather([1.0, 10.0, 100.0], replica), tf.constant(2.0)),
        "max": Tally(tf.gather([-1.0, 3.0, 1.0], replica), tf.constant(1.0)),
    }


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize(
    ("replicas", "total", "largest"), [(1, 1.0, -1.0), (2, 11.0, 3.0), (3, 111.0, 3.0)], ids=["1", "2", "3"]
)
def test_sums_add_up_and_the_largest_maximum_stays(mirrored_on, replicas, total, largest, compiled):
    strategy = mirrored_on(replicas)
    layout = layout_of(tallies(0), maxima=["max"])

    def replica():
        return pack(tallies(tf.distribute.get_replica_context().replica_id_in_sync_group), layout)

    def run():
        return reduce_packed(strategy, layout, strategy.run(replica))

    found = layout.unpack((tf.function(run, autograph=False) if compiled else run)().numpy())
    assert found == {"sum": Tally(total, 2.0 * replicas), "max": Tally(largest, replicas)}


def test_maxima_of_vectors_stay_apart(mirrored_on):
    strategy = mirrored_on(2)
    mine = [{"max": Tally(tf.constant(row), tf.constant(1.0))} for row in ([1.0, 8.0, -3.0], [4.0, 2.0, -5.0])]
    layout = layout_of(mine[0], maxima=["max"])

    def replica():
        return tf.gather(
            [pack(each, layout) for each in mine], tf.distribute.get_replica_context().replica_id_in_sync_group
        )

    found = layout.unpack(reduce_packed(strategy, layout, strategy.run(replica)).numpy())
    assert found["max"].value.tolist() == [4.0, 8.0, -3.0]
    assert found["max"].count == 2.0


def test_replicas_without_examples_leave_no_trace(mirrored_on):
    strategy, layout = mirrored_on(2), layout_of(tallies(0), maxima=["max"])
    found = reduce_packed(strategy, layout, strategy.run(layout.identity)).numpy()
    np.testing.assert_array_equal(found, layout.identity())


@pytest.mark.parametrize("maxima", [(), ("max",)])
def test_there_is_one_reduction(mirrored_on, maxima):
    strategy, layout = mirrored_on(2), layout_of(tallies(0), maxima)

    @tf.function(autograph=False)
    def run():
        return reduce_packed(strategy, layout, strategy.run(lambda: pack(tallies(0), layout)))

    ops = [op.type for op in run.get_concrete_function().graph.get_operations()]
    assert [op for op in ops if op == "AddN" or "Reduce" in op or "Nccl" in op] == ["AddN"]
