"""`Input.map_fn`: a graph for one example, applied to many."""

import inspect
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.rows.mapped import Mapped, takes_seed
from tallyloop.metrics.errors import UsageError

EXAMPLES = {"x": np.arange(3, dtype=np.float32)}
PAIR = {"x": tf.TensorSpec([6], tf.float32), "y": tf.TensorSpec([], tf.int32)}


def graph_noise(example, seed):
    return {"x": example["x"] + tf.random.stateless_normal([], seed)}


class TestMapped:
    def test_without_a_seed(self):
        mapped = Mapped(lambda example: {"double": 2 * example["x"]}, {"x": tf.TensorSpec([], tf.float32)}, 0)
        assert mapped.element_spec == {"double": tf.TensorSpec([], tf.float32)}
        assert mapped(EXAMPLES, 0, np.arange(3))["double"].tolist() == [0, 2, 4]

    def test_a_tuple_is_several_arguments(self):
        mapped = Mapped(lambda x, y: x + y, (tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64)), 0)
        assert mapped((np.array([1, 2]), np.array([10, 20])), 0, np.arange(2)).tolist() == [11, 22]

    def test_refuses_nothing(self):
        with pytest.raises(UsageError, match="expected the mapped example, got nothing"):
            Mapped(lambda example: None, {"x": tf.TensorSpec([], tf.float32)}, 0)


MEANS = tf.constant(np.linspace(-1, 1, 6, dtype=np.float32))  # captured by a function that uses it


def scaled(example):
    return {"x": (example["x"] - MEANS) / 255 * 0.1 / 3, "label": tf.one_hot(example["y"], 3), "raw": example["x"]}


def to_unit(example):
    return {"x": example["x"] / 255}


def rearranged(example):
    x = tf.reverse(tf.transpose(tf.reshape(example["x"], [2, 3])), [-1])
    joined = tf.concat([x[1:, ::2], tf.expand_dims(x[0], -1)], -2)
    return {
        "x": joined,
        "y": tf.stack([example["y"], 7]),
        "z": (tf.reshape(x, [-1])[..., tf.newaxis], tf.tile(x, [1, 2])),
    }


def squeezed(example):
    return {"x": tf.squeeze(tf.reshape(example["x"], [1, 6, 1]), 0), "y": tf.squeeze(example["x"][None], [-2])}


def chosen(example):
    x = tf.clip_by_value(tf.round(example["x"]) * 0.1, -1, 1)
    return tf.where(x > 0.2, tf.square(x), -tf.abs(x)), tf.cast(tf.equal(x, 0.1) | (x < 0), tf.int32), tf.zeros_like(x)


def constant(example):
    return {"one": tf.constant([1, 2]), "two": tf.zeros([2000]), "three": tf.constant("words")}


def listed(example):
    return [example["x"] * 2, example["x"][1:] + 1]


def with_seed(example, seed):
    return {**example, "seed": seed}


class TestAtOnce:
    """A `map_fn` of operations that work on a stack of examples is called once a batch."""

    @staticmethod
    def examples(count):
        drawn = np.random.default_rng(0)
        return {"x": drawn.normal(size=(count, 6)).astype(np.float32), "y": drawn.integers(0, 3, count, np.int32)}

    @staticmethod
    def operations(mapped):
        """Those of its graph and of the functions in it."""
        graph = mapped._map.get_concrete_function().graph.as_graph_def()
        functions = {node.op for function in graph.library.function for node in function.node_def}
        return functions | {node.op for node in graph.node}

    def test_is_called_once(self):
        assert "MapDataset" not in self.operations(Mapped(scaled, PAIR, 0))
        assert "MapDataset" in self.operations(Mapped(lambda example: tf.exp(example["x"]), PAIR, 0))

    @pytest.mark.parametrize(
        "map_fn",
        [dict, scaled, rearranged, squeezed, chosen, constant, listed, with_seed],
        ids=lambda each: each.__name__,
    )
    def test_gives_the_same_bits_as_one_by_one(self, map_fn):
        mapped, one_by_one = Mapped(map_fn, PAIR, 0), Mapped(map_fn, PAIR, 0)
        assert mapped.at_once
        one_by_one.at_once = False
        for count in (1, 2, 50):
            found, expected = (each(self.examples(count), 0, np.arange(count)) for each in (mapped, one_by_one))
            tf.nest.assert_same_structure(found, expected)
            for mine, theirs in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
                assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
                assert mine.tobytes() == theirs.tobytes() or mine.tolist() == theirs.tolist()

    @pytest.mark.parametrize("on_error", ["raise", "skip"])
    def test_gives_the_same_bits_in_each_pipeline(self, read, on_error):
        """A graph may multiply by the reciprocal of a constant instead, which is another number."""
        x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
        feed = Input({"x": x}, 20, shuffle=False, map_fn=to_unit, on_error=on_error).open_train()
        for batch, rows in zip(read(feed, 0, 2), (x[:20], x[20:]), strict=True):
            assert batch["x"].tobytes() == (rows / np.float32(255)).tobytes()
        assert (x / np.float32(255)).tobytes() != (x * np.float32(1 / 255)).tobytes()

    @pytest.mark.parametrize(
        "map_fn",
        [
            lambda e: tf.exp(e["x"]),
            lambda e: tf.reduce_sum(e["x"]),
            lambda e: e["x"][e["y"]],
            lambda e: e["y"] // 2,
            lambda e: tf.squeeze(e["x"]),
            lambda e: tf.transpose(tf.reshape(e["x"], [2, 3]), [-1, 0]),
            lambda e: tf.reverse(e["x"], [e["y"]]),
            lambda e: tf.ensure_shape(tf.concat([e["x"], e["x"]], e["y"]), [12]),
            lambda e: tf.constant([1, 2], tf.uint16),
            lambda e: tf.tile(e["x"], [10_000]),
            lambda e: tf.random.uniform([]),
        ],
    )
    def test_not_by_others(self, map_fn):
        assert not Mapped(map_fn, PAIR, 0).at_once

    def test_not_if_a_shape_is_not_known(self):
        mapped = Mapped(lambda x: x * 2, tf.TensorSpec([None], tf.float32), 0)
        assert not mapped.at_once
        assert mapped(np.array([[1.0, 2]], np.float32), 0, np.arange(1)).tolist() == [[2, 4]]


def no_such_key(example):
    return {"x": example["z"]}  # no such key


def to_numpy(example):
    return {"x": example["x"].numpy()}


def by_value(example):
    if example["x"] > 1:
        return {"x": 2 * example["x"]}
    return example


class NumberedRows:
    def __len__(self):
        return 3

    def __getitem__(self, row):
        return {"x": EXAMPLES["x"][row]}


SOURCES = {"arrays": EXAMPLES, "rows": NumberedRows(), "stream": lambda: tf.data.Dataset.from_tensor_slices(EXAMPLES)}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
class TestMapFunction:
    def test_that_raises_is_told_by_its_line(self, source):
        line = inspect.getsourcelines(no_such_key)[1] + 1
        with pytest.raises(UsageError) as caught:
            Input(source, 3, map_fn=no_such_key).open_train()
        assert str(caught.value).splitlines() == [
            f'{__file__}:{line}, in no_such_key: return {{"x": example["z"]}}  # no such key',
            "  KeyError: 'z'",
            "  In Input.map_fn, traced on an example: {'x': 'float32 ()'}.",
        ]

    def test_that_needs_a_value_is_told_that_there_is_none(self, source):
        with pytest.raises(UsageError, match=r"\n  While Input.map_fn is traced, .* use them without .numpy\(\)"):
            Input(source, 3, map_fn=to_numpy).open_train()

    def test_of_an_operation_has_no_line(self, source):
        with pytest.raises(
            UsageError, match=r"^Input\.map_fn = <function decode_png at .*: TypeError: Expected string"
        ):
            Input(source, 3, map_fn=tf.io.decode_png).open_train()

    def test_refuses_by_its_own_message(self, source):
        def refuses(example):
            raise UsageError("decode.key = 'image': expected another")

        with pytest.raises(UsageError, match=r"^decode\.key = 'image': expected another$"):
            Input(source, 3, map_fn=refuses).open_train()

    @pytest.mark.parametrize("opened", ["open_train", "open_eval"])
    def test_may_depend_on_values(self, source, opened):
        batch = getattr(Input(source, 3, map_fn=by_value, shuffle=False), opened)().first_batch()
        assert batch["x"].tolist() == [0, 1, 4]


class TestTakesSeed:
    def test_by_the_name_of_the_last_parameter(self):
        assert takes_seed(graph_noise)
        assert takes_seed(lambda x, y, seed: x)
        assert takes_seed(lambda x, y, z, seed: x)
        assert takes_seed(partial(lambda size, example, seed: example, 3))
        assert takes_seed(lambda example, seed=None, size=8: example)

    def test_not_by_another(self):
        assert not takes_seed(lambda seed: seed)
        assert not takes_seed(lambda x, seed, y: x)
        assert not takes_seed(lambda example, size=8, seed=None: example)
        assert not takes_seed(lambda *parts, seed: parts)
        assert not takes_seed(lambda image, label: image)
        assert not takes_seed(None)
        assert not takes_seed(min)


def uniform(example, seed):
    return {**example, "noise": tf.random.stateless_uniform([], seed)}


def uniform_of_a_pair(x, y, seed):
    return x, tf.random.stateless_uniform([], seed)


def noisy(example, rng):
    return {**example, "noise": rng.normal()}


def uniform_of(key):
    return float(tf.random.stateless_uniform([], np.random.SeedSequence(key).generate_state(2).view(np.int32)))


def normal_of(key):
    seed, epoch, row = key
    words = np.random.SeedSequence((seed, epoch)).generate_state(2, np.uint64)
    return np.random.Generator(np.random.Philox(key=words ^ np.array([0, row], np.uint64))).normal()


DRAWS = {"map_fn": {"map_fn": uniform}, "transform": {"transform": noisy}}
EXPECTED = {"map_fn": uniform_of, "transform": normal_of}


class TestSeeds:
    """20 rows in batches of 8: three an epoch, the last of 4."""

    def test_of_pairs_are_those_of_dicts(self, read):
        data = Input((np.arange(20), np.arange(20)), 8, map_fn=uniform_of_a_pair, seed=7)
        dicts = Input({"row": np.arange(20)}, 8, map_fn=uniform, seed=7)
        for (row, noise), expected in zip(read(data.open_train(), 0, 4), read(dicts.open_train(), 0, 4), strict=True):
            assert row.tolist() == expected["row"].tolist()
            assert noise.tolist() == expected["noise"].tolist()

    @pytest.mark.parametrize("kind", ["map_fn", "transform"])
    def test_are_of_the_row_in_its_epoch_after_a_resume_and_on_several_workers(self, read_by_workers, kind):
        data = Input({"row": np.arange(20)}, 8, seed=7, **DRAWS[kind])
        whole = read_by_workers([data.open_train()], 0, 7)
        for step, batch in enumerate(whole):
            assert batch["noise"].tolist() == [EXPECTED[kind]((7, step // 3, row)) for row in batch["row"].tolist()]
        noise = [dict(zip(batch["row"].tolist(), batch["noise"].tolist(), strict=True)) for batch in whole]
        first, second = ({k: v for each in noise[e : e + 3] for k, v in each.items()} for e in (0, 3))
        assert len({*first.values(), *second.values()}) == 40
        for workers in (2, 3):
            resumed = read_by_workers([data.open_train(index, workers) for index in range(workers)], 4, 3)
            for batch, expected in zip(resumed, whole[4:], strict=True):
                assert batch["row"].tolist() == expected["row"].tolist()
                assert batch["noise"].tolist() == expected["noise"].tolist()
