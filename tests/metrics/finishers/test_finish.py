import functools
import math

import gin
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, UsageError
from tallyloop.metrics.finishers.finish import FINISHERS, finisher
from tallyloop.metrics.finishers.finisher import Finisher

X = np.array([[1.0, -2.0, 4.0], [0.5, 8.0, -1.0], [3.0, 3.0, 2.0], [9.0, 0.0, 1.0]])
MASK = np.array([1.0, 0.0, 1.0, 2.0])
SIMPLE = ("mean", "sum", "exp", "sqrt", "std", "min", "max")


def rows(*values):
    return np.array(values, np.float32)


def test_an_unknown_name_is_refused_with_those_there_are(record_eagerly):
    with pytest.raises(UsageError, match=r"finish = 'median': expected one of .*exp.*mean.*per_class.*sqrt.*std.*sum"):
        record_eagerly(lambda: metrics.add("m", 1.0, finish="median"))


class TestFinisher:
    def test_is_looked_up_by_name(self):
        assert finisher(None) is finisher("mean") is FINISHERS["mean"]
        assert all(finisher(name) is found and found.name == name for name, found in FINISHERS.items())

    def test_passes_through(self):
        own = metrics.per_class(["a"])
        assert finisher(own) is own

    def test_wraps_a_function(self):
        def spread(value, count):
            return value - count

        wrapped = finisher(spread)
        assert (wrapped.name, wrapped.finish(7.0, 2.0)) == ("spread", 5.0)
        assert wrapped == finisher(spread)
        spread_before = wrapped

        def spread(value, count):
            return value + count

        assert finisher(spread) != spread_before

    def test_wraps_a_callable_without_a_name(self):
        halves, thirds = functools.partial(pow, 2), functools.partial(pow, 3)
        assert finisher(halves).name == "partial of pow"
        assert finisher(halves) == finisher(halves) != finisher(thirds)
        assert finisher(pow) != finisher(math.pow)  # of one name

    def test_sums_unless_it_is_a_maximum(self):
        assert {name for name, each in FINISHERS.items() if each.combine == "max"} == {"min", "max"}
        assert {name for name, each in FINISHERS.items() if each.combine == "sum"} == FINISHERS.keys() - {"min", "max"}

    def test_only_per_second_is_divided_by_the_time(self):
        assert {name for name, each in FINISHERS.items() if each.per_second is not False} == {"per_second"}
        assert FINISHERS["per_second"].per_second is True

    @pytest.mark.parametrize("name", ["sum", "max", "per_second", "confusion_matrix"])
    def test_some_write_the_value_itself(self, name):
        matrix = np.array([[3.0, 1.0], [0.0, 2.0]])
        assert FINISHERS[name].finish(matrix, np.array(6.0)) is matrix

    @pytest.mark.parametrize(("name", "expected"), [("mean", 4.0), ("exp", math.e**4), ("sqrt", 2.0), ("min", -12.0)])
    def test_others_compute(self, name, expected):
        assert FINISHERS[name].finish(np.array(12.0), np.array(3.0)) == pytest.approx(expected)

    def test_all_differ(self):
        assert len({(each.name, each.key) for each in FINISHERS.values()}) == len(FINISHERS)
        assert finisher("sum").key != finisher("mean").key

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("precision", 2 / 3), ("recall", 1.0), ("precision_micro", 5 / 6), ("recall_macro", 0.875)],
    )
    def test_scores_are_of_the_matrix(self, name, expected):
        assert FINISHERS[name].finish(np.array([[3.0, 1.0], [0.0, 2.0]]), np.array(6.0)) == pytest.approx(expected)

    def test_auc_is_of_the_histogram(self):
        """Negatives in bins 0 and 1, positives in bins 1 and 1: of 4 pairs, 2 are ordered and 2 tie."""
        assert FINISHERS["auc"].finish(np.array([[1.0, 1.0], [0.0, 2.0]]), np.array(4.0)) == 0.75

    def test_cannot_be_changed(self):
        with pytest.raises(AttributeError):
            FINISHERS["mean"].name = "median"

    def test_equal_keys_are_equal_whatever_the_functions(self):
        one = Finisher("f", "key", lambda value, count: 1.0)
        assert one == Finisher("f", "key", lambda value, count: 2.0, tally=len)
        assert one != Finisher("f", "another", one.finish)
        assert one != Finisher("f", "key", one.finish, combine="max")
        assert "key=" not in repr(one)

    def test_sums_are_the_default(self):
        one = Finisher("f", "key", lambda value, count: value)
        assert (one.combine, one.per_second) == ("sum", False)
        assert one.tally(tf.constant([2.0, 3.0]), tf.constant([1.0, 3.0])) == (11.0, 4.0)


class TestSums:
    def test_mean_is_the_default(self, finished):
        assert finished(X) == finished(X, finish="mean") == {"m": pytest.approx(X.mean(), rel=1e-7)}
        assert finished(X, MASK) == {"m": pytest.approx(np.average(X.mean(1), weights=MASK), rel=1e-7)}

    def test_sum(self, finished):
        assert finished(X, finish="sum") == {"m": pytest.approx(28.5)}
        assert finished(X, MASK, finish="sum") == {"m": pytest.approx((MASK[:, None] * X).sum())}

    def test_exp_and_sqrt_are_of_the_mean(self, finished):
        assert finished(X, finish="exp") == {"m": pytest.approx(np.exp(28.5 / 12), rel=1e-7)}
        assert finished(X**2, finish="sqrt") == {"m": pytest.approx(np.sqrt(np.mean(X**2)), rel=1e-6)}

    @pytest.mark.parametrize(("bad", "expected"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
    def test_a_non_finite_value_is_shown_as_it_is(self, finished, bad, expected):
        found = finished(np.array([1.0, bad]))
        assert {name: str(value) for name, value in found.items()} == {"m": expected}


class TestMinAndMax:
    @pytest.mark.parametrize(("name", "expected"), [("max", 2**24 + 1), ("min", 2)])
    def test_integers_stay_exact(self, name, expected):
        """Negated, the smallest is the largest; float64 holds both, float32 would not."""
        tally = FINISHERS[name].tally(tf.constant([-2, 2**24 + 1]) if name == "max" else tf.constant([2, 5]), None)
        assert tally.value.dtype == tf.float64
        assert FINISHERS[name].finish(tally.value.numpy(), tally.count.numpy()) == expected
        assert int(tally.count) == 2

    def test_unsigned_integers_do_not_wrap_around(self):
        tally = FINISHERS["min"].tally(tf.constant([3, 200], tf.uint8), None)
        assert float(tally.value) == -3

    def test_a_negative_weight_counts(self):
        """Only 0 leaves a value out."""
        tally = FINISHERS["max"].tally(tf.constant([5.0, 9.0]), tf.constant([1.0, -0.5]))
        assert (float(tally.value), float(tally.count)) == (9.0, 0.5)

    def test_nothing_counts(self):
        tally = FINISHERS["max"].tally(tf.constant([5.0, 9.0]), tf.constant([0.0, 0.0]))
        assert (float(tally.value), float(tally.count)) == (-math.inf, 0.0)

    @pytest.mark.parametrize("dtype", [tf.bool, tf.int32, tf.float32])
    def test_weights_of_any_dtype(self, dtype):
        weights = tf.cast([[1], [0]], dtype)
        tally = FINISHERS["max"].tally(tf.constant([[1, 2], [7, 8]]), weights[:, 0])
        assert (float(tally.value), float(tally.count)) == (2.0, 2.0)

    @pytest.mark.parametrize("name", ["min", "max"])
    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize("values", [[1.0, np.nan, 3.0], [np.nan, 1.0], [1.0, np.nan]])
    def test_of_a_nan_is_nan(self, name, compiled, values):
        value, count = tf.function(FINISHERS[name].tally, jit_compile=compiled)(tf.constant(values), None)
        assert np.isnan(FINISHERS[name].finish(value.numpy(), count.numpy()))

    @staticmethod
    def step(piece):
        metrics.add("min", piece, finish="min")
        metrics.add("max", piece, finish="max")

    def test_with_an_empty_replica(self, evaluate):
        assert evaluate(self.step, [rows(-3, -1), rows()]) == {"min": -3, "max": -1}
        assert evaluate(self.step, [rows(), rows(4, 9)]) == {"min": 4, "max": 9}

    def test_without_any_example(self, evaluate):
        assert evaluate(self.step, [rows(), rows()]) == {}

    def test_weights_select_and_do_not_scale(self, finished):
        values, weights = np.array([[5.0], [1.0], [9.0], [2.0]]), np.array([0.5, 3.0, 0.0, 2.0])
        assert finished(values, weights, finish="max") == {"m": 5.0}
        assert finished(values, weights, finish="min") == {"m": 1.0}


class TestPerClass:
    VECTOR = np.array([[1, 0, 1, 0], [1, 1, 0, 0]], np.float32)

    def test_of_sequences_is_per_index_of_the_last_axis(self):
        tally = metrics.per_class().tally(tf.reshape(tf.range(24.0), [2, 3, 4]), None)
        assert tally.value.numpy().tolist() == [60, 66, 72, 78]
        assert tally.count.numpy().tolist() == [6, 6, 6, 6]

    def test_of_one_count_for_all_classes(self):
        """Such as a task's own tally has."""
        found = metrics.per_class().finish(np.array([1.0, 2.0]), np.array(4.0))
        assert found == {"class_0": 0.25, "class_1": 0.5}

    def test_the_names_tell_finishers_apart(self):
        assert metrics.per_class(["a", "b"]) == metrics.per_class(("a", "b")) != metrics.per_class(["a", "c"])
        assert metrics.per_class() == FINISHERS["per_class"] != metrics.per_class(["a"])
        assert metrics.per_class(["a"]).name == "per_class"

    def test_has_a_name_in_gin(self):
        assert gin.get_configurable("tallyloop.per_class")() == metrics.per_class()

    def test_is_one_mean_per_index_of_the_last_axis(self, finished):
        means = np.average(X, axis=0, weights=MASK)
        expected = {f"m/class_{i}": pytest.approx(means[i], rel=1e-7) for i in range(3)}
        assert finished(X, MASK, finish="per_class") == expected

    def test_leaves_out_a_class_without_examples(self, finished):
        weights = np.array([[1.0, 0.0, 2.0]] * 4)
        expected = {"m/class_0": pytest.approx(13.5 / 4), "m/class_2": pytest.approx(1.5)}
        assert finished(X, weights, finish="per_class") == expected

    def test_on_two_replicas(self, evaluate):
        def step(piece):
            metrics.add("masked", piece["x"], weights=piece["w"], finish="per_class")
            metrics.add("all", piece["x"], finish="per_class")

        weights = np.array([[1, 1, 1, 0], [1, 1, 1, 0]], np.float32)
        found = evaluate(step, [{"x": self.VECTOR[:1], "w": weights[:1]}, {"x": self.VECTOR[1:], "w": weights[1:]}])
        masked = {"masked/class_0": 1, "masked/class_1": 0.5, "masked/class_2": 0.5}  # none of class 3
        assert found == {**masked, "all/class_0": 1, "all/class_1": 0.5, "all/class_2": 0.5, "all/class_3": 0}

    def test_names_come_from_gin(self, evaluate):
        with gin.unlock_config():
            gin.parse_config("per_class.names = ['cat', 'dog', 'emu', 'fly']")
        try:
            finish = gin.get_configurable("per_class")()
            found = evaluate(lambda p: metrics.add("recall", p, finish=finish), [self.VECTOR])
        finally:
            gin.clear_config()
        assert found == {"recall/cat": 1, "recall/dog": 0.5, "recall/emu": 0.5, "recall/fly": 0}

    def test_refuses_too_few_names(self, evaluate):
        finish = metrics.per_class(["cat"])
        with pytest.raises(UsageError, match=r"per_class.names = \['cat'\]: expected .* 4 classes, got 1"):
            evaluate(lambda p: metrics.add("recall", p, finish=finish), [self.VECTOR])

    def test_the_same_names_are_the_same_meaning_and_others_are_not(self):
        registry = MetricRegistry()
        with registry.recording():
            for names in ("abcd", "abcd"):
                metrics.add("m", self.VECTOR, finish=metrics.per_class(list(names)))
            with pytest.raises(UsageError, match="'m' has two meanings"):
                metrics.add("m", self.VECTOR, finish=metrics.per_class(list("abce")))
            assert registry.result(registry.compute(None, None)) == {"m/a": 1, "m/b": 0.5, "m/c": 0.5, "m/d": 0}


class TestUserFunctions:
    def test_takes_value_and_count(self, finished):
        assert finished(X, finish=lambda value, count: value**2 + count) == {"m": pytest.approx(28.5**2 + 12)}

    def test_may_return_several_numbers(self, finished):
        def both(value, count):
            return {"total": value, "by.count": count}

        assert finished(X, finish=both) == {"m/total": pytest.approx(28.5), "m/by/count": 12.0}


class TestMasks:
    def test_no_finisher_lets_a_masked_nan_through(self):
        values, mask = tf.constant([[1.0, np.nan], [3.0, np.nan]]), tf.constant([[1.0, 0.0], [1.0, 0.0]])
        registry = MetricRegistry()
        with registry.recording():
            for finish in SIMPLE:
                metrics.add(finish, values, weights=mask, finish=finish)
            found = registry.result(registry.compute(None, None))
        assert found == pytest.approx(
            {"mean": 2, "sum": 4, "exp": math.exp(2), "sqrt": math.sqrt(2), "std": 1, "min": 1, "max": 3}
        )

    def test_std_of_masked_rows(self, finished):
        values = np.where(MASK[:, None] == 0, np.nan, X)
        assert finished(values, MASK, finish="std") == finished(X, MASK, finish="std")

    def test_token_metrics_count_unmasked_tokens_only(self, evaluate):
        """On three replicas, the third of which is fully masked."""
        nan = float("nan")
        nll = np.array([[1, 2, nan], [3, nan, nan], [nan, nan, nan], [nan, nan, nan]], np.float32)
        mask = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], np.float32)
        hits = np.array([[1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], bool)

        def step(p):
            metrics.add("perplexity", p["nll"], weights=p["mask"], finish="exp")
            metrics.add("accuracy", p["hits"], weights=p["mask"])

        cuts = [slice(0, 1), slice(1, 2), slice(2, 4)]
        found = evaluate(step, [{"nll": nll[cut], "mask": mask[cut], "hits": hits[cut]} for cut in cuts])
        assert found == {"perplexity": pytest.approx(math.exp(6 / 3)), "accuracy": pytest.approx(2 / 3)}


def test_all_of_them_on_numbers_checked_by_hand(evaluate):
    """1, 2 and 6 on three replicas, one of them empty."""

    def step(p):
        for finish in SIMPLE:
            metrics.add(finish, p, finish=finish)
        metrics.add("own", p, finish=lambda value, count: {"value": float(value), "count": float(count)})
        metrics.add("p", p, finish=metrics.percentiles(0, 10, (50,), 10))

    found = evaluate(step, [rows(1, 2), rows(), rows(6)])
    assert found == pytest.approx(
        {
            "mean": 3, "sum": 9, "exp": math.exp(3), "sqrt": math.sqrt(3), "std": math.sqrt(14 / 3), "min": 1, "max": 6,
            "own/value": 9, "own/count": 3, "p/p50": 2.5,
        }
    )  # fmt: skip


class TestPartial:
    def test_made_anew_is_the_same_finisher(self):
        def powers(power, value, count):
            return (value / count) ** power

        first, same, other = (finisher(functools.partial(powers, power)) for power in (2, 2, 3))
        assert first == same != other
        assert finisher(functools.partial(powers, power=2)) != finisher(functools.partial(powers, power=3))
        assert first.finish(np.float64(6), np.float64(2)) == 9

    def test_its_function_tells_them_apart(self):
        def power(by, value, count):
            return (value / count) ** by

        def root(by, value, count):
            return (value / count) ** (1 / by)

        assert finisher(functools.partial(power, 2)) != finisher(functools.partial(root, 2))

    def test_its_function_tells_them_apart_whatever_its_name(self):
        product, total = lambda by, value, count: by * value, lambda by, value, count: by + value
        assert finisher(functools.partial(product, 2)) != finisher(functools.partial(total, 2))

    def test_the_order_of_its_keywords_does_not(self):
        def line(value, count, slope, offset):
            return slope * value / count + offset

        one, other = functools.partial(line, slope=1, offset=2), functools.partial(line, offset=2, slope=1)
        assert finisher(one) == finisher(other)

    def test_a_dict_in_it_tells_them_apart(self):
        def scaled(by, value, count):
            return by["scale"] * value / count

        first, same, other = (finisher(functools.partial(scaled, {"scale": [by]})) for by in (2, 2, 3))
        assert first == same != other
        hash(first.key)

    def test_an_array_in_it_tells_them_apart(self):
        def weighed(by, value, count):
            return value @ by

        long = np.arange(2000.0)
        first, same, other = (
            finisher(functools.partial(weighed, by)) for by in (long, long.copy(), long + (long == 1000))
        )
        assert first == same != other


class TestFunction:
    @staticmethod
    def times(factor):
        return finisher(lambda value, count: factor * value / count)

    def test_is_told_apart_by_what_it_closes_over(self):
        assert self.times(2) == self.times(2) != self.times(3)

    def test_is_told_apart_by_its_defaults(self):
        def times(factor):
            return finisher(lambda value, count, by=factor: by * value)

        assert times(2) == times(2) != times(3)

    def test_is_told_apart_by_a_set(self):
        """Which cannot be hashed."""
        scales = lambda *by: finisher(functools.partial(lambda by, value, count: sum(by) * value, set(by)))  # noqa: E731
        assert scales(1, 2) == scales(2, 1) != scales(1, 3)
        hash(scales(1, 2).key)

    def test_an_object_of_another_class_is_another(self):
        class Twice:
            def __call__(self, value, count):
                return 2 * value / count

        class Thrice:
            def __call__(self, value, count):
                return 3 * value / count

        assert finisher(Twice()) == finisher(Twice()) != finisher(Thrice())
        assert finisher(Twice()).name == "Twice"

    def test_an_object_of_another_class_of_the_name_is_another(self):
        one, other = (type("Scaled", (), {"__call__": lambda self, value, count: value}) for _ in range(2))
        assert finisher(one()) == finisher(one()) != finisher(other())

    def test_an_object_is_the_same_with_the_same_attributes(self):
        class Power:
            def __init__(self, power):
                self.power = power

            def __call__(self, value, count):
                return (value / count) ** self.power

        assert finisher(Power(2)) == finisher(Power(2)) != finisher(Power(3))
