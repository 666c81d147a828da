"""An update: divide, check, clip, apply."""

import dataclasses
import typing
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import Tally, UsageError
from tallyloop.trainer.step.objective import Term
from tallyloop.trainer.step.update import OnNonFinite, Update, Updates, UpdateSettings


class MySGD(keras.optimizers.SGD):
    """An optimizer of a user."""


ONE = Tally(tf.constant(1.0), tf.constant(1.0))


class Weights:
    """Two variables under SGD of rate 1, so that a step is the gradient that was applied."""

    def __init__(self, clip=None, in_xla_loop=False, make=keras.optimizers.SGD, wrap=lambda sgd: sgd, **options):
        self.variables = [keras.Variable([0.0, 0.0], name="a"), keras.Variable(0.0, name="b")]
        self.optimizer = wrap(make(1.0, **options))
        self.optimizer.build(self.variables)
        self.update = Update(self.optimizer, self.variables, clip, in_xla_loop)

    def apply(self, gradients, value=1.0, count=1.0, dtype=tf.float32):
        gradients = {i: tf.constant(g, dtype) for i, g in gradients.items()}
        checked = self.update.check([Term(gradients, Tally(tf.constant(value), tf.constant(count)))])
        self.update.apply(checked, checked.finite)
        return bool(checked.finite)

    def with_defaults(self):
        self.update = Update(self.optimizer, self.variables, None)
        return self

    def conditions(self):
        """The number of conditions in the graph of an update."""

        @tf.function(autograph=False)
        def apply():
            checked = self.update.check([Term({0: tf.ones([2])}, Tally(tf.constant(1.0), tf.constant(1.0)))])
            self.update.apply(checked, checked.finite)

        return sum(op.type in ("If", "StatelessIf") for op in apply.get_concrete_function().graph.get_operations())

    @property
    def steps(self):
        return [(-variable.numpy()).tolist() for variable in self.variables]


def two_groups(sgd):
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd, {"b": keras.optimizers.SGD(10.0)}))


def one_group(sgd):
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd, {}))


def raises(message):
    """An optimizer whose `apply` raises a ValueError."""

    def apply(gradients, variables):
        raise ValueError(message)

    return SimpleNamespace(apply=apply)


class TestUpdateSettings:
    def test_choices(self):
        assert typing.get_args(OnNonFinite) == ("halt", "skip", "rollback")

    def test_stop_at_the_first_by_default(self):
        settings = UpdateSettings()
        assert (settings.allowed_skips, settings.allowed_rollbacks) == (0, 0)

    @pytest.mark.parametrize(("choice", "expected"), [("halt", (0, 0)), ("skip", (7, 0)), ("rollback", (0, 7))])
    def test_allow_what_was_chosen(self, choice, expected):
        settings = UpdateSettings(on_nonfinite=choice, max_consecutive_skips=7)
        assert (settings.allowed_skips, settings.allowed_rollbacks) == expected

    def test_are_one_update_per_step_without_clipping_or_xla(self):
        assert UpdateSettings() == UpdateSettings(1, None, "halt", 10, False, {})

    def test_cannot_be_changed(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            UpdateSettings().jit_compile = True


class TestUpdate:
    def test_divides_by_the_count(self):
        weights = Weights()
        assert weights.apply({0: [6.0, 3.0], 1: 12.0}, count=3.0)
        assert weights.steps == [[2.0, 1.0], 4.0]

    @pytest.mark.parametrize("count", [0.5, 2.0])
    def test_divides_by_any_positive_count(self, count):
        weights = Weights()
        weights.apply({0: [1.0, 0.0], 1: 3.0}, count=count)
        assert weights.steps == [[1 / count, 0.0], 3 / count]

    def test_divides_in_the_dtype_of_the_gradient(self):
        weights = Weights()
        assert weights.apply({0: [6.0, 3.0], 1: 12.0}, count=3.0, dtype=tf.bfloat16)
        assert weights.steps == [[2.0, 1.0], 4.0]

    def test_without_examples(self):
        weights = Weights()
        assert weights.apply({0: [0.0, 0.0], 1: 0.0}, value=0.0, count=0.0)
        assert weights.steps == [[0.0, 0.0], 0.0]

    def test_variables_without_gradient(self):
        weights = Weights()
        assert weights.apply({1: 5.0})
        assert weights.steps == [[0.0, 0.0], 5.0]

    def test_reports_variables_without_gradient(self, caplog):
        Weights().apply({1: 5.0})
        assert "The task's loss does not depend on a: they stay as they are." in caplog.text
        caplog.clear()
        Weights().apply({0: [1.0, 1.0], 1: 5.0})
        assert caplog.text == ""

    def test_names_the_loss_that_does_not_touch_them(self, caplog):
        optimizer = keras.optimizers.SGD()
        Update(optimizer, [keras.Variable(0.0, name="a")], None, name="generator").check([Term({}, ONE)])
        assert "The task's loss 'generator' does not depend on a" in caplog.text

    @pytest.mark.parametrize("in_xla_loop", [False, True], ids=["condition", "choice"])
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("where", ["loss", 0, 1])
    def test_nothing_unless_finite(self, where, bad, in_xla_loop):
        weights = Weights(momentum=0.9, in_xla_loop=in_xla_loop)
        assert weights.apply({0: [1.0, 1.0], 1: 1.0})
        before = [variable.numpy().tolist() for variable in (*weights.variables, *weights.optimizer.variables)]
        gradients = {0: [1.0, bad if where == 0 else 1.0], 1: bad if where == 1 else 1.0}
        assert not weights.apply(gradients, value=bad if where == "loss" else 1.0)
        assert [variable.numpy().tolist() for variable in (*weights.variables, *weights.optimizer.variables)] == before


class Two:
    """Two losses of one variable each, under SGD of rate 1, with the gradients 1 and 2 unless given."""

    def __init__(self, **every):
        self.variables = [keras.Variable(0.0, name=name) for name in ("a", "b")]
        updates = {}
        for variable in self.variables:
            optimizer = keras.optimizers.SGD(1.0)
            optimizer.build([variable])
            updates[variable.name] = Update(optimizer, [variable], None, name=variable.name)
        self.updates = Updates(updates, every)

    def apply(self, a=1.0, b=2.0, due=None, tolerated=(False, False)):
        """Returns (what `apply` returns, the steps of the weights)."""
        one = Tally(tf.constant(1.0), tf.constant(1.0))
        terms = {name: [Term({0: tf.constant(gradient)}, one)] for name, gradient in {"a": a, "b": b}.items()}
        found = self.updates.apply(due, lambda: tf.constant(tolerated), terms)
        return found.numpy().tolist(), [-float(variable.numpy()) for variable in self.variables]


class TestUpdates:
    def test_all_losses(self):
        assert Two().apply() == ([True, True], [1, 2])

    @pytest.mark.parametrize(("tolerated", "steps"), [((True, False), [0, 2]), ((False, True), [0, 0])])
    def test_what_is_not_finite_stops_the_others_unless_tolerated(self, tolerated, steps):
        assert Two().apply(a=np.nan, tolerated=tolerated) == ([False, True], steps)

    def test_what_is_not_due_is_neither_applied_nor_checked(self):
        assert Two(a=2).apply(a=np.nan, due=tf.constant([False, True])) == ([True, True], [0, 2])

    def test_each_loss_is_due_at_its_own_updates(self):
        """Every third update of 2 steps each: steps 4 and 5 (from 0) end in it, and steps 10 and 11."""
        two = Two(b=3)
        due = [two.updates.due(tf.constant(step, tf.int64), 2).numpy().tolist() for step in range(12)]
        assert due == [[True, step in (4, 5, 10, 11)] for step in range(12)]
        assert Two().updates.due(tf.constant(0, tf.int64), 1) is None

    def test_due_of_every_second(self):
        two = Two(b=2)
        assert [two.updates.due(tf.constant(step, tf.int64), 1).numpy().tolist() for step in range(4)] == [
            [True, step % 2 == 1] for step in range(4)
        ]

    def test_names_and_scales(self):
        two = Two()
        assert two.updates.names == ["a", "b"]
        assert two.updates.scale_of("b") == two.updates._updates["b"].scale_loss

    def test_of_one_loss_have_no_axis(self):
        weights = Weights()
        updates = Updates({"": weights.update}, {"": 2})
        terms = {"": [Term({0: tf.constant([1.0, 2.0]), 1: tf.constant(3.0)}, ONE)]}
        assert updates.due(tf.constant(0, tf.int64), 1).shape == ()
        assert updates.apply(tf.constant(True), lambda: tf.constant(False), terms).numpy() is np.True_
        assert weights.steps == [[1.0, 2.0], 3.0]


class TestApplyAll:
    """What a batch that is not one of the run's gives."""

    def test_gradients_are_numbered_over_all_losses(self):
        """Of the losses' two, two and one variables; the scale of a loss is taken out of its gradient."""
        one, scaled, last = Weights(), Weights(loss_scale_factor=4.0), Two()
        updates = Updates({"one": one.update, "scaled": scaled.update, "last": last.updates._updates["a"]}, {"one": 2})
        sum_of_four = Tally(tf.constant(1.0), tf.constant(4.0))
        terms = {
            "one": [Term({0: tf.constant([4.0, 8.0]), 1: tf.constant(12.0)}, sum_of_four)],
            "scaled": [Term({1: tf.constant(32.0)}, sum_of_four)],
            "last": [Term({0: tf.constant(20.0)}, sum_of_four)],
        }
        found = {i: gradient.numpy().tolist() for i, gradient in updates.apply_all(terms).items()}
        assert found == {0: [1.0, 2.0], 1: 3.0, 3: 2.0, 4: 5.0}
        assert one.steps == [[1.0, 2.0], 3.0]
        assert scaled.steps == [[0.0, 0.0], 2.0]
        assert float(last.variables[0]) == -5.0

    def test_what_is_not_finite_is_not_applied(self):
        two = Two()
        terms = {name: [Term({0: tf.constant(number)}, ONE)] for name, number in (("a", np.nan), ("b", 2.0))}
        assert np.isnan(two.updates.apply_all(terms)[0])
        assert [float(variable) for variable in two.variables] == [0.0, -2.0]


class TestByRows:
    """Gradients that are given by some of their rows, of which the optimizer takes only some so."""

    @staticmethod
    def given(by_rows, *gradients):
        """What the optimizer gets of the gradients of three tables of three rows."""
        variables = [keras.Variable(tf.zeros([3, 1])) for _ in range(3)]
        seen = []
        optimizer = SimpleNamespace(apply=lambda gradients, variables: seen.extend(gradients))
        update = Update(optimizer, variables, None, by_rows=frozenset(by_rows))
        update.apply(update.check([Term(dict(enumerate(gradients)), ONE)]), tf.constant(True))
        return seen

    def test_are_made_dense_where_the_rule_takes_all(self):
        row = tf.IndexedSlices(tf.constant([[5.0]]), tf.constant([1]), tf.constant([3, 1]))
        kept, made, dense = self.given({0}, row, row, tf.ones([3, 1]))
        assert isinstance(kept, tf.IndexedSlices)
        assert kept.values.numpy().tolist() == [[5.0]]
        assert made.numpy().tolist() == [[0.0], [5.0], [0.0]]
        assert dense.numpy().tolist() == [[1.0], [1.0], [1.0]]

    def test_stay_where_all_are_as_wanted(self):
        row = tf.IndexedSlices(tf.constant([[5.0]]), tf.constant([1]), tf.constant([3, 1]))
        found = self.given({0, 2}, row, tf.ones([3, 1]), tf.ones([3, 1]))
        assert [isinstance(each, tf.IndexedSlices) for each in found] == [True, False, False]


class TestXlaLoop:
    def test_applies_what_is_finite(self):
        weights = Weights(in_xla_loop=True)
        assert weights.apply({0: [6.0, 3.0], 1: 12.0}, count=3.0)
        assert weights.steps == [[2.0, 1.0], 4.0]

    def test_has_no_condition(self):
        assert Weights(in_xla_loop=True).conditions() == 0
        assert Weights().with_defaults().conditions() == 1
        assert Weights(in_xla_loop=False, make=MySGD).conditions() == 1

    def test_has_one_with_an_optimizer_that_may_assign_anything(self):
        assert Weights(in_xla_loop=True, make=MySGD).conditions() == 1


class TestMultiOptimizer:
    def test_each_group_gets_its_gradients(self):
        weights = Weights(wrap=two_groups)
        assert weights.apply({0: [1.0, 2.0], 1: 3.0})
        assert weights.steps == [[1.0, 2.0], 30.0]

    def test_variables_without_gradient_stay(self):
        weights = Weights(wrap=one_group)
        assert weights.apply({1: 3.0})
        assert weights.steps == [[0.0, 0.0], 3.0]

    def test_refuses_a_group_without_gradients(self):
        with pytest.raises(UsageError, match="no variable of one of MultiOptimizer's groups: remove that group"):
            Weights(wrap=two_groups).apply({1: 3.0})

    @pytest.mark.parametrize(
        ("message", "expected"), [("No gradients provided for any", UsageError), ("Shapes differ", ValueError)]
    )
    def test_other_errors_stay(self, message, expected):
        weights = Weights()
        weights.update = Update(raises(message), weights.variables, None)
        with pytest.raises(expected) as caught:
            weights.apply({0: [1.0, 1.0], 1: 1.0})
        assert type(caught.value) is expected


class TestLossScale:
    def test_is_that_of_the_optimizer(self):
        weights = Weights(loss_scale_factor=8.0)
        assert float(weights.update.scale_loss(tf.constant(3.0))) == 24.0
        loss = tf.constant(3.0)
        assert Weights().update.scale_loss(loss) is loss

    def test_a_dynamic_one_may_overflow(self):
        """Keras's optimizer skips the update then, and halves the scale."""
        weights = Weights(wrap=keras.optimizers.LossScaleOptimizer)
        assert weights.apply({0: [1.0, np.inf], 1: 1.0})
        assert weights.steps == [[0.0, 0.0], 0.0]
        assert not weights.apply({0: [1.0, 1.0], 1: 1.0}, value=np.nan)


class TestClipping:
    @pytest.mark.parametrize("clip", [1.0, 1])
    def test_norm_over_all_variables(self, clip):
        weights = Weights(clip=clip)
        # (6, 0, 8) / 2 has the norm 5.
        assert weights.apply({0: [6.0, 0.0], 1: 8.0}, count=2.0)
        assert weights.steps == [pytest.approx([0.6, 0.0]), pytest.approx(0.8)]

    def test_small_norm_stays(self):
        weights = Weights(clip=1.0)
        assert weights.apply({0: [0.3, 0.0], 1: 0.4})
        assert weights.steps == [pytest.approx([0.3, 0.0]), pytest.approx(0.4)]

    @pytest.mark.parametrize("in_xla_loop", [False, True])
    @pytest.mark.parametrize("number", [np.nan, np.inf, 3e19], ids=["NaN", "infinite", "square overflows"])
    def test_of_a_norm_that_is_not_finite_changes_nothing(self, number, in_xla_loop):
        """TensorFlow makes NaN of every gradient then, also of one whose numbers are all finite."""
        weights = Weights(clip=1.0, in_xla_loop=in_xla_loop)
        assert not weights.apply({0: [number, 1.0], 1: 1.0})
        assert weights.steps == [[0.0, 0.0], 0.0]

    def test_before_the_loss_scale(self):
        weights = Weights(clip=1.0, loss_scale_factor=10.0)
        assert weights.apply({0: [60.0, 0.0], 1: 80.0}, count=2.0)  # as a loss scaled by 10 gives
        assert weights.steps == [pytest.approx([0.6, 0.0]), pytest.approx(0.8)]
