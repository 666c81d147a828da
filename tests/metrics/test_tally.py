import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import Tally, UsageError
from tallyloop.metrics.tally import add_tallies, tally


def summed(values, weights=None, **options):
    weights = None if weights is None else tf.constant(weights)
    value, count = tally(tf.constant(values), weights, **options)
    return value.numpy().tolist(), count.numpy().tolist()


def test_a_tally_is_a_tuple_that_tensorflow_carries():
    doubled = tf.nest.map_structure(lambda part: part * 2, {"loss": Tally(3.0, 4)})
    assert doubled == {"loss": Tally(6.0, 8)}
    assert isinstance(doubled["loss"], Tally)


class TestUnknownRank:
    @pytest.mark.parametrize("arguments", [{"weights": tf.ones([2])}, {"keep_axis": -1}])
    def test_is_refused_where_it_matters(self, arguments):
        @tf.function(autograph=False, input_signature=[tf.TensorSpec(None, tf.float32)])
        def run(values):
            return tally(values, **arguments)

        with pytest.raises(UsageError, match=r"number of axes .* is not known.*tf.ensure_shape"):
            run(tf.ones([2, 3]))

    def test_a_plain_sum_needs_none(self):
        run = tf.function(tally, autograph=False, input_signature=[tf.TensorSpec(None, tf.float32)])
        assert [float(part) for part in run(tf.ones([2, 3]))] == [6, 6]


class TestValues:
    def test_without_weights_each_element_counts_one(self):
        assert summed([[1.0, 2.0], [4.0, 8.0], [16.0, 32.0]]) == (63.0, 6)

    @pytest.mark.parametrize(("axis", "shape"), [(None, []), (0, [2]), (1, [3]), (-1, [3])])
    def test_counts_are_int64(self, axis, shape):
        count = tally(tf.ones([2, 3]), keep_axis=axis).count
        assert (count.dtype, count.shape) == (tf.int64, shape)

    def test_keep_axis_of_three(self):
        values = np.arange(24.0).reshape(2, 3, 4)
        value, count = summed(values, keep_axis=1)
        assert (value, count) == (values.sum((0, 2)).tolist(), [8, 8, 8])
        assert summed(values, keep_axis=-3)[0] == values.sum((1, 2)).tolist()

    def test_bool_and_integers_are_summed_exactly(self):
        assert summed([True, False, True]) == (2, 3)
        assert summed(np.array([200, 200], np.uint8)) == (400, 2)
        assert summed(np.array([2**24, 1], np.int32)) == (2**24 + 1, 2)

    def test_bfloat16_is_summed_in_float32(self):
        # bfloat16 holds 8 bits: 256 + 1 is 256 in it, and 1,000 ones would sum to 256
        value, count = tally(tf.ones([1000], tf.bfloat16))
        assert (value.dtype, float(value), int(count)) == (tf.float32, 1000.0, 1000)
        assert summed(np.ones(1000, np.float16), np.ones(1000, np.float16)) == (1000.0, 1000.0)

    def test_float64_stays_float64(self):
        assert summed(np.array([1.0, 1e-12])) == (1.0 + 1e-12, 2)

    def test_empty_values_count_zero(self):
        assert summed(np.zeros([0, 3], np.float32)) == (0.0, 0)

    def test_keep_axis_gives_one_sum_per_class(self):
        values = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
        assert summed(values, keep_axis=-1) == ([9.0, 12.0], [3, 3])
        assert summed(values, [1.0, 0.0, 2.0], keep_axis=-1) == ([11.0, 14.0], [3.0, 3.0])
        assert summed(values, keep_axis=0) == ([3.0, 7.0, 11.0], [2, 2, 2])

    @pytest.mark.parametrize("values", [["a", "b"], [1j, 2j]])
    def test_refuses_what_is_not_numeric(self, values):
        with pytest.raises(UsageError, match=r"expected numbers or bools, got dtype (string|complex128)"):
            tally(tf.constant(values))

    def test_64_bit_integers_do_not_wrap_around(self):
        nanoseconds = np.int64(1_700_000_000_000_000_000) + np.arange(1000) * 1_000_000_000
        value, count = summed(nanoseconds)
        assert value / count == pytest.approx(1_700_000_499_500_000_000, rel=1e-15)
        assert summed(np.array([2**63, 2**64 - 1], np.uint64))[0] == pytest.approx(2**63 + 2**64, rel=1e-15)
        assert summed(np.array([2**62, 2**62, 2**62])) == (3 * 2**62, 3)
        assert summed(np.array([-(2**62)] * 3)) == (-3 * 2**62, 3)

    def test_of_an_unknown_rank(self):
        run = tf.function(tally, input_signature=[tf.TensorSpec(None)], autograph=False)
        assert [float(part) for part in run(tf.constant([[1.0, 2.0]]))] == [3.0, 2.0]


TENTH = float(np.float32(0.1))
LONG = [
    ((2**20 + 7,), None), ((16, 256, 256), None), ((16, 256, 256), -1), ((2**19 + 5, 2), -1), ((2**17, 9), 0),
    ((64, 2**12, 3), 1), ((2000,), None), ((1500, 3), -1),
]  # fmt: skip


class TestLongSums:
    """Of equal numbers, which is the worst case: each addition rounds the same way. To 1e-6 of the sum in NumPy's float64."""

    @pytest.mark.parametrize(("shape", "axis"), LONG)
    @pytest.mark.parametrize("known", ["known", "batch", "unknown"])
    def test_are_accurate(self, shape, axis, known):
        traced = {"known": shape, "batch": (None, *shape[1:]), "unknown": (None,) * len(shape)}[known]
        run = tf.function(lambda values: tally(values, keep_axis=axis), [tf.TensorSpec(traced)], autograph=False)
        value, count = run(tf.fill(shape, TENTH))
        np.testing.assert_allclose(value, TENTH * count.numpy().astype(float), rtol=1e-6)

    @pytest.mark.parametrize("axis", [None, -1])
    def test_in_xla(self, axis):
        run = tf.function(lambda values: tally(values, keep_axis=axis), jit_compile=True, autograph=False)
        value, count = run(tf.fill([2**16 + 3, 2], TENTH))
        np.testing.assert_allclose(value, TENTH * count.numpy().astype(float), rtol=1e-6)

    @pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
    def test_of_16_bits(self, dtype):
        value, _ = tally(tf.ones([2**19 + 5, 2], dtype), keep_axis=-1)
        np.testing.assert_allclose(value, 2**19 + 5, rtol=1e-6)

    def test_of_weights(self):
        value, count = tally(tf.fill([2**19 + 5, 2], 0.3), tf.fill([2**19 + 5], TENTH), keep_axis=-1)
        np.testing.assert_allclose(count, TENTH * (2**19 + 5), rtol=1e-6)
        np.testing.assert_allclose(value / count, np.float32(0.3), rtol=1e-6)

    def test_of_ones_past_two_to_the_24(self):
        value, count = tally(tf.ones([2**24 + 1000, 2]), keep_axis=-1)
        assert value.numpy().tolist() == count.numpy().tolist() == [2**24 + 1000] * 2

    @pytest.mark.parametrize(
        ("shape", "axis", "dtype"),
        [
            ((32, 32), None, tf.float32),
            ((33, 32), None, tf.float64),
            ((3, 1024), 0, tf.float32),
            ((2000, 2), 0, tf.float32),
            ((3, 1025), 0, tf.float64),
            ((5, 4, 300), 0, tf.float64),
            ((3, 4), 1, tf.float64),
            ((3, 4), -1, tf.float64),
        ],
    )
    def test_only_up_to_1024_elements_of_inner_axes_are_summed_in_float32(self, shape, axis, dtype):
        """Along an outer axis, a kernel adds one element after the other."""
        assert tally(tf.ones(shape), keep_axis=axis).value.dtype == dtype

    def test_of_several_axes_but_the_last(self):
        values = tf.tile(tf.constant([1.0, 2.0, 3.0, 4.0]), [64 * 8])
        assert tally(tf.reshape(values, [64, 8, 4]), keep_axis=-1).value.numpy().tolist() == [512, 1024, 1536, 2048]

    def test_a_small_one_of_a_known_shape_takes_one_operation(self):
        graph = tf.function(tally, [tf.TensorSpec([64])], autograph=False).get_concrete_function().graph
        assert [op.type for op in graph.get_operations() if op.type not in ("Const", "Placeholder", "Identity")] == [
            "Sum"
        ]

    @pytest.mark.parametrize(
        ("shape", "axis"), [((0,), None), ((0, 4096), None), ((0, 4096, 2), -1), ((7, 4096, 0), -1)]
    )
    def test_of_nothing(self, shape, axis):
        run = tf.function(
            lambda values: tally(values, keep_axis=axis), [tf.TensorSpec((None, *shape[1:]))], autograph=False
        )
        value, count = run(tf.zeros(shape))
        assert not np.any(value)
        assert np.all(count.numpy() == np.prod(shape[: len(shape) if axis is None else axis]))

    def test_have_a_gradient(self):
        values = tf.Variable(tf.ones([3000]))
        with tf.GradientTape() as tape:
            value = tally(values).value
        assert tape.gradient(value, values).numpy().tolist() == [1.0] * 3000


class TestWeights:
    def test_of_the_full_shape(self):
        # 2*3 + 0.5*8 = 10, weights 2 + 0.5 = 2.5
        assert summed([3.0, 5.0, 8.0], [2.0, 0.0, 0.5]) == (10.0, 2.5)

    def test_one_per_example_weights_all_its_elements(self):
        # (b,) against (b, t): 1*(1+2+3) + 3*(4+5+6) = 51; weights 3*1 + 3*3 = 12
        assert summed([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [1.0, 3.0]) == (51.0, 12.0)

    def test_of_two_leading_axes(self):
        values = np.arange(12.0, dtype=np.float32).reshape(2, 2, 3)
        # rows 0..2 and 6..8 and 9..11 count: 3 + 21 + 30
        assert summed(values, [[1.0, 0.0], [1.0, 1.0]]) == (54.0, 9.0)

    def test_a_square_batch_is_weighted_by_its_first_axis(self):
        # NumPy would broadcast (2,) against (2, 2) from the right, and give 1*1 + 1*3 = 4 of 2
        assert summed([[1.0, 2.0], [3.0, 4.0]], [1.0, 0.0]) == (3.0, 2.0)

    def test_a_trailing_axis_of_one_is_dropped(self):
        assert summed([1.0, 2.0, 4.0], [[1.0], [0.0], [1.0]]) == (5.0, 2.0)

    def test_two_trailing_axes_of_one_are_dropped(self):
        assert summed([1.0, 2.0, 4.0], [[[1.0]], [[0.0]], [[3.0]]]) == (13.0, 4.0)

    def test_an_axis_of_one_weights_all_of_the_values_axis(self):
        assert summed([[1.0, 2.0], [3.0, 4.0]], [[1.0], [2.0]]) == (17.0, 6.0)
        assert summed([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0]]) == (16.0, 6.0)

    @pytest.mark.parametrize(
        ("values", "weights"),
        [((None, 2), (None,)), ((2, 2), (None,)), ((None, 2), (2,)), ((None, 2), (None, 1)), ((None, 2), (None, 1, 1))],
    )
    def test_of_a_batch_whose_size_is_not_known_when_traced(self, values, weights):
        signature = [tf.TensorSpec(values), tf.TensorSpec(weights)]
        run = tf.function(tally, input_signature=signature, autograph=False)
        given = tf.reshape(tf.constant([1.0, 2.0]), [2 if size is None else size for size in weights])
        value, count = run(tf.constant([[1.0, 2.0], [3.0, 4.0]]), given)
        assert (float(value), float(count)) == (17.0, 6.0)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_zero_hides_a_non_finite_value(self, bad):
        assert summed([1.0, bad, 4.0], [1.0, 0.0, 1.0]) == (5.0, 2.0)
        assert summed([1.0, bad, 4.0], [True, False, True]) == (5.0, 2.0)

    def test_zero_gives_a_zero_gradient_instead_of_nan(self):
        values = tf.Variable([1.0, np.nan, 4.0])
        with tf.GradientTape() as tape:
            value = tally(values, tf.constant([2.0, 0.0, 1.0])).value
        assert tape.gradient(value, values).numpy().tolist() == [2.0, 0.0, 1.0]

    def test_masked_integers_are_summed_exactly(self):
        assert summed(np.array([2**24 + 1, 5], np.int32), [True, False]) == (2**24 + 1, 1)

    @pytest.mark.parametrize(
        ("values", "weights", "expected"),
        [
            (np.array([2**40 + 1, 2**40 + 3]), np.array([1.0, 1.0], np.float32), 2**41 + 4),
            (np.array([2**31 - 1] * 3, np.int32), np.array([2**31 - 1] * 3, np.int32), 3 * (2**31 - 1) ** 2),
            (np.array([2**62] * 3), np.array([True] * 3), 3 * 2**62),
            (np.array([True] * 3), np.array([2**62] * 3), 3 * 2**62),
            (np.array([2**24 + 1], np.int32), np.array([1.0], np.float32), 2**24 + 1),
        ],
    )
    def test_of_integers_neither_wrap_around_nor_round(self, values, weights, expected):
        assert summed(values, weights)[0] == pytest.approx(expected, rel=1e-15)

    @pytest.mark.parametrize(
        ("values", "weights", "dtype"),
        [
            (tf.bool, tf.int32, tf.int64),
            (tf.bool, tf.float32, tf.float32),
            (tf.int32, tf.bool, tf.int64),
            (tf.int32, tf.int32, tf.float64),
            (tf.float32, tf.bool, tf.float32),
            (tf.float32, tf.float32, tf.float32),
            (tf.float64, tf.float32, tf.float64),
        ],
    )
    def test_keep_the_dtype_in_which_the_sum_is_exact(self, values, weights, dtype):
        assert tally(tf.ones([2], values), tf.ones([2], weights)).value.dtype == dtype

    def test_of_bool_values(self):
        assert summed([True, False, True], [0.5, 1.0, 2.0]) == (2.5, 3.5)

    def test_the_count_of_a_mask_is_exact_past_two_to_the_24(self):
        """64 masked images of 512 x 512 are as many."""
        value, count = tally(tf.ones([2**24 + 1], tf.float16), tf.ones([2**24 + 1], tf.bool))
        assert int(count) == 2**24 + 1
        assert float(value) == pytest.approx(2**24 + 1, rel=1e-6)  # the values are floats: summed in float32

    @pytest.mark.parametrize("shape", [(2,), (3, 2), (3, 4, 2), (4,)])
    def test_refuses_a_shape_that_does_not_fit(self, shape):
        with pytest.raises(UsageError, match=r"does not fit the values' shape \(3, 4\)"):
            tally(tf.zeros([3, 4]), tf.ones(shape))


class TestAddTallies:
    def test_sums_add_up(self):
        assert add_tallies(Tally(1.5, 2), Tally(2.0, 3)) == Tally(3.5, 5)

    def test_the_larger_maximum_stays_and_the_counts_add_up(self):
        assert add_tallies(Tally([1.0, 7.0], 2), Tally([4.0, 3.0], 3), "max").value.numpy().tolist() == [4.0, 7.0]
        assert int(add_tallies(Tally([1.0], 2), Tally([4.0], 3), "max").count) == 5

    def test_the_maximum_of_whole_numbers(self):
        assert add_tallies(Tally([1, 7], 2), Tally([4, 3], 3), "max").value.numpy().tolist() == [4, 7]

    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize("pair", [(1.0, np.nan), (np.nan, 1.0)])
    def test_the_maximum_of_a_nan_is_nan(self, pair, compiled):
        """XLA's own leaves it out."""
        run = tf.function(lambda a, b: add_tallies(Tally(a, 1), Tally(b, 1), "max").value, jit_compile=compiled)
        assert np.isnan(run(*map(tf.constant, pair)))

    def test_different_dtypes_meet_in_float64(self):
        total = add_tallies(
            Tally(tf.constant(2**24, tf.int64), tf.constant(2**24, tf.int64)), Tally(tf.constant(1.0), tf.constant(1.0))
        )
        assert (total.value.dtype, int(total.value), int(total.count)) == (tf.float64, 2**24 + 1, 2**24 + 1)

    def test_equal_dtypes_stay(self):
        total = add_tallies(Tally(tf.constant(1), tf.constant(1.0)), Tally(tf.constant(2), tf.constant(1.0)))
        assert (total.value.dtype, total.count.dtype) == (tf.int32, tf.float32)


class TestWeighted:
    def test_is_the_mean_of_weighted_losses(self):
        found = metrics.weighted(tf.constant([[1.0, 2.0], [3.0, float("nan")]]), tf.constant([[1.0, 0.5], [2.0, 0.0]]))
        assert (float(found.value), float(found.count)) == (8.0, 3.5)

    def test_of_one_weight_per_example(self):
        found = metrics.weighted(tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([1.0, 3.0]))
        assert (float(found.value), float(found.count)) == (24.0, 8.0)
