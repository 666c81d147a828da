"""The compiled loop over an eval dataset."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.trainer import Task


class TestEvalLoop:
    @pytest.mark.parametrize(("length", "batch"), [(35, 16), (32, 16), (3, 1)])
    def test_stream_of_any_length(self, make_trainer, rows, length, batch):
        """Batches of 1 row on 4 replicas; 32 rows end where a batch ends; a second pass sees the same."""
        data = rows(length)
        trainer = make_trainer(
            replicas=4, eval_datasets={"test": Input(tf.data.Dataset.from_tensor_slices(data), batch)}
        )
        for _ in range(2):
            summary = trainer.summaries()["test"]
            assert summary.counts == {"loss": length}
            # All weights are 0 before training.
            assert summary.metrics == {"loss": pytest.approx(np.mean(data["y"].astype(np.float64) ** 2), rel=1e-6)}

    def test_batches_do_not_wait(self, make_trainer):
        """The loop carries the sums: what assigns to a variable in its body would put the batches in a row."""
        trainer = make_trainer(evaluate=True)
        trainer.evaluate()
        (loop,) = trainer._evaluation._loops.values()
        spec = tf.TensorSpec([], tf.int64)
        graph = loop._run.get_concrete_function(spec, spec).graph
        below = [node.op for function in graph.as_graph_def().library.function for node in function.node_def]
        assert "MatMul" in below
        assert not [op for op in below if "Assign" in op]
        assert [op.type for op in graph.get_operations() if "Assign" in op.type] == ["AssignAddVariableOp"]

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_batches_do_not_mix(self, regression_task, make_trainer, rows, replicas):
        """Neither their maxima, nor what is carried out of an inner loop by a variable of the replica."""

        class Inner(regression_task):
            def loss(self, model, batch, training):
                tf.map_fn(lambda y: metrics.add("inner", y, finish="sum") or y, batch["y"])
                metrics.add("largest", batch["y"], finish="max")
                return super().loss(model, batch, training)

        data = rows(403) | {"y": np.arange(403, dtype=np.float32)}
        trainer = make_trainer(Inner(), replicas=replicas, eval_datasets={"test": Input(data, 4)})
        found = trainer.evaluate()["test"]
        assert (found["inner"], found["largest"]) == (402 * 403 / 2, 402)

    @pytest.mark.parametrize(("features", "in_flight"), [(1024, 10), (1025, 1)])
    def test_large_batches_wait(self, make_trainer, features, in_flight):
        """The activations of many large ones might not fit into memory; an example of 1,024 floats has 4 KiB."""

        class Wide(Task):
            def build_model(self):
                return keras.Sequential([keras.Input((features,)), keras.layers.Dense(1)])

            def loss(self, model, batch, training):
                return model(batch["x"], training=training)[:, 0]

        trainer = make_trainer(Wide(), data={"x": np.zeros((4, features), np.float32)}, evaluate=True)
        trainer.prepare(train=False)
        graph = trainer._evaluation._loops["test"]._run.get_concrete_function(*[tf.TensorSpec([], tf.int64)] * 2).graph
        assert trainer.traces == {"train": 0, "eval/test": 1}
        loops = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
        assert [op.get_attr("parallel_iterations") for op in loops] == [in_flight]


class TestXla:
    @pytest.mark.parametrize("length", [35, 32, 3])
    def test_same_numbers(self, encoder, make_trainer, rows, length):
        """Of batches of 8: 4 full ones and a short one, full ones alone, a short one alone. A second pass gives them again."""
        plain, compiled = (
            make_trainer(encoder, eval_datasets={"test": Input(rows(length), 8)}, jit_compile=jit, seed=3)
            for jit in (False, True)
        )
        expected = plain.summaries()["test"]
        for _ in range(2):
            found = compiled.summaries()["test"]
            assert found.counts == expected.counts
            assert found.metrics == {name: pytest.approx(value, rel=1e-6) for name, value in expected.metrics.items()}
        assert compiled.traces["eval/test"] == 1

    def test_compiles_the_loop(self, make_trainer):
        trainer = make_trainer(evaluate=True, jit_compile=True)
        loop = trainer._evaluation._loops["test"]
        graph = loop._run_full.get_concrete_function(*[tf.TensorSpec([], tf.int64)] * 2).graph
        (compiled,) = [each for each in graph.as_graph_def().library.function if each.attr["_XlaMustCompile"].b]
        assert any(node.op in ("While", "StatelessWhile") for node in compiled.node_def)

    def test_goes_on_without_what_xla_lacks(self, regression_task, make_trainer, rows, caplog):
        class Wordy(regression_task):
            def eval_step(self, model, batch):
                losses = self.loss(model, batch, training=False)
                return losses + 0 * tf.cast(tf.strings.length(tf.strings.as_string(losses)), tf.float32)

        trainer = make_trainer(Wordy(), data=40, evaluate=True, jit_compile=True)
        for _ in range(2):
            assert trainer.evaluate()["test"]["loss"] == pytest.approx(np.mean(rows(40)["y"] ** 2), rel=1e-6)
        assert [each for each in caplog.messages if "AsString" in each and "without" in each] != []

    @pytest.mark.slow
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_of_a_stream_is_not_compiled(self, make_trainer, rows, replicas):
        stream = tf.data.Dataset.from_tensor_slices(rows(35))
        trainer = make_trainer(replicas=replicas, eval_datasets={"test": Input(stream, 8)}, jit_compile=True)
        assert trainer.evaluate()["test"]["loss"] == pytest.approx(np.mean(rows(35)["y"] ** 2), rel=1e-6)
