"""Training on rows by number is training on arrays."""

import json
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.rows.row_feed import ReadingFeed
from tallyloop.metrics.errors import DataError, UsageError
from tallyloop.trainer import Task, Trainer

ROWS = 45


def arrays():
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(ROWS, 3)).astype(np.float32), "y": rng.normal(size=ROWS).astype(np.float32)}


class ByNumber:
    """Notes the rows that are read."""

    def __init__(self, bad=()):
        self.arrays, self.bad, self.read, self.lock = arrays(), bad, [], threading.Lock()

    def __len__(self):
        return ROWS

    def __getitems__(self, rows):
        if set(rows.tolist()) & set(self.bad):
            raise OSError("a hole in the disk")
        with self.lock:
            self.read += rows.tolist()
        return {key: array[rows] for key, array in self.arrays.items()}


class Regression(Task):
    def build_model(self):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])

    def loss(self, model, batch, training):
        return (model(batch["x"], training=training)[:, 0] - batch["y"]) ** 2


def shifted(example, rng):
    return {**example, "x": example["x"] + np.float32(rng.normal())}


def shifted_in_the_graph(example, seed):
    return {**example, "x": example["x"] + tf.random.stateless_normal([3], seed)}


@pytest.fixture(scope="module")
def train(mirrored_on):
    """train(source, replicas, steps, folder, **input) -> (the weights, the last evaluation)."""

    def run(source, replicas=1, steps=10, folder=None, **options):
        data = Input(source, 8, shuffle=True, **options)
        trainer = Trainer(
            task=Regression(), optimizer=keras.optimizers.Adam(0.1), strategy=mirrored_on(replicas), train_dataset=data,
            eval_datasets={"test": Input(source, 8)}, train_steps=steps, checkpoint_interval=5, steps_per_loop=5,
            model_dir=folder, seed=0,
        )  # fmt: skip
        found = trainer.train_and_eval()
        return np.concatenate([each.numpy().ravel() for each in trainer.model.weights]), found.get("test")

    return run


class TestRowFeed:
    @pytest.mark.parametrize("replicas", [1, 3])
    def test_trains_as_arrays_do_bit_for_bit(self, train, replicas):
        """Six batches of 8 an epoch, the last of 5; evaluated on all rows once."""
        (weights, found), (expected, known) = train(ByNumber(), replicas), train(arrays(), replicas)
        np.testing.assert_array_equal(weights, expected)
        assert found == known

    def test_continues_bit_for_bit_on_other_replicas_rows(self, train, tmp_path):
        train(ByNumber(), 3, 5, tmp_path)
        np.testing.assert_array_equal(train(ByNumber(), 3, 10, tmp_path)[0], train(arrays(), 3)[0])

    @pytest.mark.parametrize(
        "options", [{"transform": shifted}, {"map_fn": shifted_in_the_graph}], ids=["transform", "map_fn"]
    )
    def test_draws_the_same_for_arrays_and_any_threads(self, train, options):
        weights = [
            train(source(), read_threads=threads, **options)[0] for source, threads in ((ByNumber, 1), (arrays, 3))
        ]
        np.testing.assert_array_equal(*weights)
        assert not np.array_equal(weights[0], train(arrays())[0])

    def test_draws_the_same_in_processes_and_when_resumed(self, train, tmp_path):
        """Step 5 is in the middle of an epoch; arrays with a transform are read by number."""
        options = {"transform": lambda example, rng: {**example, "x": example["x"] + np.float32(rng.normal())}}
        train(arrays(), 3, 5, tmp_path, read_processes=2, **options)
        weights, _ = train(arrays(), 3, 10, tmp_path, read_processes=1, **options)
        np.testing.assert_array_equal(weights, train(arrays(), 3, **options)[0])

    @pytest.mark.slow
    def test_draws_the_same_in_the_graph_when_resumed(self, train, tmp_path):
        """Step 5 is in the middle of an epoch."""
        train(arrays(), 3, 5, tmp_path, map_fn=shifted_in_the_graph)
        weights, _ = train(arrays(), 3, 10, tmp_path, map_fn=shifted_in_the_graph)
        np.testing.assert_array_equal(weights, train(arrays(), 3, map_fn=shifted_in_the_graph)[0])

    @pytest.mark.parametrize("kind", ["by number", "arrays with a map_fn"])
    def test_a_replica_reads_its_rows_only(self, kind):
        """The second of two workers, of one replica each: 4 of 8 rows, and half of the last 5; read ahead within the pass."""
        source, mapped = ByNumber(), []

        def noted(example):
            row = tf.numpy_function(lambda row: mapped.append(int(row)) or row, [example["row"]], tf.int64)
            return {"y": example["y"], "row": tf.ensure_shape(row, [])}

        if kind == "by number":
            feed, read = Input(source, 8).open_eval(1, 2), source.read
        else:
            feed, read = Input({**arrays(), "row": np.arange(ROWS)}, 8, map_fn=noted).open_eval(1, 2), mapped
        read.clear()

        @tf.function(autograph=False)
        def run():
            plan = feed.plan(tf.constant(0, tf.int64), tf.constant(6, tf.int64))

            def body(i, total):
                part, n = feed.fetch(plan, i)
                batch, _ = feed.shard(part, n, 1, 2)
                return i + 1, total + tf.reduce_sum(batch["y"])

            return tf.while_loop(lambda i, _: i < 6, body, [tf.constant(0, tf.int64), 0.0], parallel_iterations=1)[1]

        mine = [row for first in range(0, 40, 8) for row in range(first + 4, first + 8)] + [42, 43, 44]
        assert float(run()) == pytest.approx(arrays()["y"][mine].sum(), rel=1e-5)
        assert sorted(read) == mine

    def test_one_key_read_eagerly(self):
        """TensorFlow takes a single result out of its list then."""
        feed = Input([{"x": np.float32(i)} for i in range(5)], 2).open_eval()
        part, n = feed.fetch(feed.plan(tf.constant(0, tf.int64), tf.constant(1, tf.int64)), tf.constant(0, tf.int64))
        batch, rows = feed.shard(part, n, 0, 1)
        assert (batch["x"].numpy().tolist(), int(rows)) == ([0, 1], 2)

    def test_names_the_row_that_cannot_be_read(self, train):
        with pytest.raises(DataError, match="source of Input, row 17: OSError: a hole in the disk"):
            train(ByNumber(bad=[17]), replicas=3)

    @pytest.mark.parametrize(
        ("options", "fragment"),
        [
            ({"seed": 1}, "expected seed = 0, as in the checkpoint, got 1"),
            ({}, "expected length = 45.* got 44"),
            ({"fingerprint": "b"}, "expected fingerprint = '', as in the checkpoint, got 'b'"),
            ({"drop_remainder": True}, "expected drop_remainder = False, as in the checkpoint, got True"),
        ],
    )
    def test_refuses_to_continue_on_other_data(self, train, tmp_path, options, fragment):
        options = dict(options)

        class Shorter(ByNumber):
            fingerprint = options.pop("fingerprint", "")

            def __len__(self):
                return ROWS - ("45" in fragment)

        train(ByNumber(), 1, 5, tmp_path)
        with pytest.raises(UsageError, match=fragment):
            train(Shorter(), 1, 10, tmp_path, **options)


SHIFTED = {
    "transform": {"transform": shifted},
    "map_fn": {"map_fn": shifted_in_the_graph},
    "processes": {"read_processes": 1},
}


class TestNoteOfArrays:
    """Arrays in memory, which are read by number for a transform, a seed or processes."""

    @pytest.mark.parametrize("kind", SHIFTED)
    @pytest.mark.parametrize(
        ("changed", "fragment"),
        [
            ({"seed": 1}, "expected seed = 0, as in the checkpoint, got 1"),
            ({"global_batch_size": 9}, "expected global_batch_size = 8, as in the checkpoint, got 9"),
            ({"source": {key: array[:-1] for key, array in arrays().items()}}, "expected length = 45.* got 44"),
        ],
        ids=["seed", "batch size", "length"],
    )
    def test_refuses_to_continue_on_other_data(self, tmp_path, kind, changed, fragment):
        given = {"source": arrays(), "global_batch_size": 8, **SHIFTED[kind]}
        saved, same, other = (Input(**given | more).open_train() for more in ({}, {}, changed))
        saved.before_save(lambda array: array)
        tf.train.Checkpoint(**saved.checkpoint_items()).write(str(tmp_path / "saved"))
        for feed in (same, other):
            tf.train.Checkpoint(**feed.checkpoint_items()).read(str(tmp_path / "saved"))
        same.seek(5)
        with pytest.raises(UsageError, match=fragment):
            other.seek(5)

    def test_may_be_lacking_in_an_old_checkpoint(self, train, tmp_path, monkeypatch):
        """Step 5 is in the middle of an epoch; the checkpoint of step 10 has the note."""
        options = SHIFTED["transform"]
        with monkeypatch.context() as patch:
            patch.setattr(ReadingFeed, "checkpoint_items", lambda self: {})
            train(arrays(), 3, 5, tmp_path, **options)
        weights, _ = train(arrays(), 3, 10, tmp_path, **options)
        np.testing.assert_array_equal(weights, train(arrays(), 3, **options)[0])
        with pytest.raises(UsageError, match="expected seed = 0, as in the checkpoint, got 1"):
            train(arrays(), 3, 15, tmp_path, seed=1, **options)


class Sleeping(ByNumber):
    """Takes some time for each row."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def __getitems__(self, rows):
        time.sleep(self.seconds * len(rows))
        return super().__getitems__(rows)


class SlowRegression(Regression):
    """A step of 20 ms."""

    def loss(self, model, batch, training):
        pause = tf.numpy_function(lambda: time.sleep(0.02) or np.int64(0), [], tf.int64)
        with tf.control_dependencies([pause]):
            return super().loss(model, batch, training)


def sleeping():
    def transform(example, rng):  # inside a function, it is sent to a process, which imports no TensorFlow for it
        time.sleep(0.09)
        return example

    return transform


def sleeps_in_the_graph(example):
    y = tf.numpy_function(lambda y: time.sleep(0.8) or y, [example["y"]], tf.float32)
    return {**example, "y": tf.ensure_shape(y, [])}


class TestWaiting:
    """Batches of one row, timed over the second half of the steps, when what was read during the first step is used up."""

    @pytest.fixture
    def train(self, tmp_path):
        """train(source, steps, **input) -> (the milliseconds of a step, those in which it waited for its batch)."""

        def run(source, steps=16, **options):
            Trainer(
                task=SlowRegression(), optimizer=keras.optimizers.SGD(), model_dir=tmp_path, train_steps=steps,
                summary_interval=steps // 2, train_dataset=Input(source, 1, **options),
            ).train()  # fmt: skip
            last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["metrics"]
            return last["time/step_ms"], last["time/data_wait_fraction"] * last["time/step_ms"]

        return run

    @pytest.mark.parametrize(
        ("source", "options"),
        [
            (Sleeping(0.09), {"read_threads": 1}),
            pytest.param(arrays(), {"transform": sleeping(), "read_processes": 1}, marks=pytest.mark.slow),
            pytest.param(arrays(), {"transform": sleeping(), "read_threads": 1}, marks=pytest.mark.slow),
            pytest.param(Sleeping(0.18), {"read_threads": 2}, marks=pytest.mark.slow),
            pytest.param(arrays(), {"map_fn": sleeps_in_the_graph, "steps": 48}, marks=pytest.mark.slow),
        ],
        ids=["source", "process", "transform", "two threads", "map_fn"],
    )
    def test_is_what_a_step_takes_beside_its_work(self, train, source, options):
        """A batch takes 90 ms, or 180 in each of two threads, or 800 in each of the 8 at most that are mapped at once."""
        step, waited = train(source, **options)
        assert step > 65
        assert 20 <= step - waited < 50

    @pytest.mark.slow
    def test_is_none_for_what_is_read_in_time(self, train):
        """A batch takes 15 ms, while the step before it runs."""
        step, waited = train(Sleeping(0.015), read_threads=1)
        assert step - waited >= 20
        assert waited < 10


class TestRefusals:
    def test_of_a_cache(self):
        with pytest.raises(UsageError, match="got rows that are read by number"):
            Input(ByNumber(), 8, cache=True).open_train()

    @pytest.mark.parametrize(
        "options", [{"transform": shifted}, {"map_fn": shifted_in_the_graph}, {"read_processes": 1}]
    )
    def test_of_a_stream_without_row_numbers(self, options):
        with pytest.raises(UsageError, match=r"by the number of the row.*got a stream"):
            Input(tf.data.Dataset.from_tensor_slices(arrays()), 8, **options).open_train()

    def test_of_a_source_that_cannot_be_pickled(self):
        with pytest.raises(
            UsageError, match=r"Input.read_processes = 2: expected .* got Input.source.lock of type lock"
        ):
            Input(ByNumber(), 8, read_processes=2).open_train()

    def test_of_a_source_that_cannot_be_loaded_there(self, train):
        """The error comes out of a step."""

        class Local(list):
            def __reduce__(self):
                return open, ("not/there",)

        rows = [{"x": x, "y": y} for x, y in zip(*arrays().values(), strict=True)]
        with pytest.raises(
            UsageError, match=r"Input.read_processes = 1: expected .* got FileNotFoundError there: .*not/there"
        ):
            train(Local(rows), read_processes=1)

    @pytest.mark.parametrize("value", [-1, 1.0, True])
    def test_of_what_is_no_number_of_processes(self, value):
        with pytest.raises(UsageError, match=r"Input.read_processes = .*: expected a whole number of at least 0"):
            Input(arrays(), 8, read_processes=value)

    def test_of_a_transform_that_is_no_function(self):
        with pytest.raises(UsageError, match=r"Input.transform = 3: expected a function of \(example, rng\)"):
            Input(ByNumber(), 8, transform=3)


class TestSeveralWorkers:
    """What the checks before the first step read, and compare."""

    @staticmethod
    def second_of_two(source, **options):
        return Input(source, 8, shuffle=False, **options).open_train(1, 2)

    def test_the_first_batch_is_this_workers_part(self):
        source = ByNumber()
        feed = self.second_of_two(source)
        source.read.clear()
        np.testing.assert_array_equal(feed.first_batch()["y"], arrays()["y"][4:8])
        assert source.read == [4, 5, 6, 7]

    def test_the_description_tells_other_rows_apart(self):
        changed = ByNumber()
        changed.arrays["x"] = changed.arrays["x"] + 1
        one, other = self.second_of_two(ByNumber()).described, self.second_of_two(changed).described
        assert one != other
        assert one == Input(ByNumber(), 8, shuffle=False).open_train(0, 2).described

    def test_the_description_reads_nothing_of_a_source_with_a_fingerprint(self):
        source = ByNumber()
        source.fingerprint = "45 rows"
        feed = self.second_of_two(source)
        source.read.clear()
        assert '"fingerprint": "45 rows"' in feed.described
        assert source.read == []
