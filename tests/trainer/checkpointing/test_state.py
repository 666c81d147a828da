"""The parts of a run's state, and how each gets into a checkpoint and out of it."""

import keras
import numpy as np
import tensorflow as tf
from tallyloop.trainer import Task
from tallyloop.trainer.checkpointing.state import ModelState, RunState, owned_variables


class Part:
    """Has one number in a list, which a variable holds in checkpoints."""

    def __init__(self, name, number, calls):
        self.name, self.numbers, self.calls = name, [number], calls
        self.variable = tf.Variable(0)

    def state(self):
        self.calls.append(("state", self.name))
        return {self.name: self.variable, f"{self.name}_twice": tf.Variable(2)}

    def before_save(self):
        self.calls.append(("before_save", self.name))
        self.variable.assign(self.numbers[0])

    def after_restore(self):
        self.calls.append(("after_restore", self.name))
        self.numbers[0] = int(self.variable.numpy())


class TestRunState:
    def test_asks_each_part_in_order(self):
        calls = []
        state = RunState([Part("first", 1, calls), Part("second", 2, calls)])
        state.before_save()
        state.after_restore()
        assert calls == [(call, name) for call in ("before_save", "after_restore") for name in ("first", "second")]

    def test_checkpoint_has_the_names_of_all(self):
        checkpoint = RunState([Part("first", 1, []), Part("second", 2, [])]).checkpoint()
        names = set(tf.train.TrackableView(checkpoint).children(checkpoint))
        assert {"first", "first_twice", "second", "second_twice"} <= names

    def test_round_trip(self, tmp_path):
        saved = RunState([Part("first", 11, []), Part("second", 22, [])])
        saved.before_save()
        path = saved.checkpoint().write(str(tmp_path / "ckpt"))
        first, second = Part("first", 0, []), Part("second", 0, [])
        restored = RunState([first, second])
        restored.checkpoint().read(path).assert_consumed()
        restored.after_restore()
        assert (first.numbers, second.numbers) == ([11], [22])


class Stateful(Task):
    """Counts its steps in what Keras does not know, and draws from a generator of TensorFlow's."""

    def __init__(self):
        self.steps = tf.Variable(0, dtype=tf.int64)
        self.generators = {"noise": [tf.random.Generator.from_seed(1)]}

    def build_model(self):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])

    def loss(self, model, batch, training):
        if training:
            self.steps.assign_add(1)
        noise = self.generators["noise"][0].normal(tf.shape(batch["y"])) if training else 0.0
        return (model(batch["x"], training=training)[:, 0] - batch["y"] - noise) ** 2


class TestTaskVariables:
    def test_wherever_they_are(self):
        """In the order of the attributes' names; each kind of holder."""
        task = Task()
        task.teacher = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        task.seed = keras.random.SeedGenerator(3)
        task.count = tf.Variable(0)
        task.average = keras.Variable(1.0)
        task.generators = {"noise": [tf.random.Generator.from_seed(1)]}
        task.module = tf.Module()
        task.module.inner = tf.Variable(5)
        task.name, task.function = "a name", np.sum
        found = owned_variables(task)
        expected = [task.average, task.count, task.generators["noise"][0].state, task.module.inner]
        expected += [task.seed.state, *task.teacher.weights]
        assert [id(variable) for variable in found] == [id(variable) for variable in expected]

    def test_none(self):
        assert owned_variables(Task()) == []

    def test_continue_in_a_rerun(self, make_trainer, weights_of, tmp_path):
        whole = make_trainer(Stateful(), train_steps=8)
        whole.train()
        make_trainer(Stateful(), train_steps=4, model_dir=tmp_path).train()
        task = Stateful()
        rerun = make_trainer(task, train_steps=8, model_dir=tmp_path)
        rerun.train()
        assert task.steps.numpy() == 8
        np.testing.assert_array_equal(weights_of(rerun), weights_of(whole))


class TestModelState:
    def model(self):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])

    def test_to_evaluate(self):
        """Without an optimizer, and without what only training changes."""
        assert ModelState(Task(), self.model(), None).state().keys() == {"model", "task"}

    def test_to_train(self):
        task, model, optimizer = Stateful(), self.model(), keras.optimizers.SGD()
        extra = keras.Variable(1.0)
        state = ModelState(task, model, optimizer, lambda: [extra, task.steps, *model.weights]).state()
        assert state.keys() == {"model", "task", "optimizer", "loose_variables"}
        assert (state["model"], state["optimizer"]) == (model, optimizer)
        # The seed of the dropout, which TensorFlow does not find, and what belongs to nobody.
        (seed,) = (variable for variable in model.variables if "seed" in variable.path)
        assert [id(v) for v in state["loose_variables"]] == [id(seed.value), id(extra.value)]

    def test_names_in_the_files(self, tmp_path):
        """Those of version 0.1.0."""
        state = ModelState(Stateful(), self.model(), None, list).state()
        path = tf.train.Checkpoint(**state).write(str(tmp_path / "ckpt"))
        names = {name.partition("/.ATTRIBUTES")[0] for name, _ in tf.train.list_variables(path)}
        assert {"task/steps/0", "task/generators/0", "loose_variables/0"} <= names


class TestTables:
    def test_of_a_task_are_saved(self, tmp_path):
        """Hash tables that steps can change, in an attribute and in a list."""

        def task():
            made = Task()
            made.counts = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
            made.others = [tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, -1, -1, -2)]
            made.fixed = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["x"], [7]), -1)
            return made

        def state(of):
            return tf.train.Checkpoint(**ModelState(of, keras.Sequential([keras.Input((2,))]), None).state())

        saved, restored = task(), task()
        saved.counts.insert(tf.constant(["a"]), tf.constant([3], tf.int64))
        saved.others[0].insert(tf.constant([5], tf.int64), tf.constant([4], tf.int64))
        state(restored).read(state(saved).write(str(tmp_path / "ckpt"))).assert_consumed()
        assert restored.counts.lookup(tf.constant(["a"])).numpy() == 3
        assert restored.others[0].lookup(tf.constant([5], tf.int64)).numpy() == 4
