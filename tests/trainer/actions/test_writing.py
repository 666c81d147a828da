"""What actions write to TensorBoard, and that the run is the same with and without."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.actions import WriteHistograms, WriteImages, WriteText
from tallyloop.trainer.loop.timing import TIMES


class TestRun:
    def test_is_the_same_without(self, twins, assert_same_weights):
        (one, folder), (other, without) = twins
        assert_same_weights(one, other)
        for a, b in zip(one.optimizer.variables, other.optimizer.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        lines = []
        for each in (folder, without):
            found = [json.loads(line) for line in (each / "metrics.jsonl").read_text().splitlines()]
            lines.append(
                [(x["step"], x["split"], {k: v for k, v in x["metrics"].items() if k not in TIMES}) for x in found]
            )
        assert lines[0] == lines[1]

    def test_text_comes_with_each_evaluation(self, twins, written):
        (_, folder), _ = twins
        found = [(step, value.tensor.string_val[0]) for step, tag, value in written(folder, "eval") if tag == "samples"]
        assert found == [(4, b"step 4"), (8, b"step 8"), (12, b"step 12")]

    def test_images_come_with_each_summary(self, twins, written):
        (_, folder), _ = twins
        found = [(step, value) for step, tag, value in written(folder, "train") if tag == "images"]
        assert [step for step, _ in found] == [3, 6, 9, 12]
        assert list(found[0][1].tensor.string_val)[:2] == [b"4", b"3"]
        assert len(found[0][1].tensor.string_val) == 4

    def test_histograms(self, twins, written):
        (_, folder), _ = twins
        found = {(step, tag): value for step, tag, value in written(folder, "train")}
        for tag, elements in (("dense/kernel", 3), ("dense/bias", 1)):
            path = next(name for _, name in found if name.startswith("weights/") and name.endswith(tag))[8:]
            for step in (4, 8, 12):
                for kind in ("weights", "gradients"):
                    rows = np.reshape(found[step, f"{kind}/{path}"].tensor.double_val, [-1, 3])
                    assert rows[:, 2].sum() == elements
                assert found[step, f"update_ratio/{path}"].tensor.float_val[0] > 0

    def test_histograms_have_the_numbers_of_the_step(self, twins, written, rows, gradient_of, weights_of):
        """After step 12: the weights, their gradient on the first batch, and the update that Adam would make of it."""
        (trainer, folder), _ = twins
        found = {tag: value for step, tag, value in written(folder, "train") if step == 12}
        weights = weights_of(trainer)
        gradient = gradient_of(weights, {name: column[:16] for name, column in rows(40).items()})
        update = adam_update(trainer.optimizer, gradient)
        for variable, part in zip(trainer.model.trainable_variables, (slice(0, 3), slice(3, 4)), strict=True):
            for kind, expected in (("weights", weights[part]), ("gradients", gradient[part])):
                edges = np.reshape(found[f"{kind}/{variable.path}"].tensor.double_val, [-1, 3])
                if len(expected) > 1:  # one number has a bin around it
                    assert edges[0, 0] == pytest.approx(expected.min(), rel=1e-4)
                    assert edges[-1, 1] == pytest.approx(expected.max(), rel=1e-4)
                else:
                    assert edges[0, 0] <= expected[0] <= edges[-1, 1]
            ratio = found[f"update_ratio/{variable.path}"].tensor.float_val[0]
            assert ratio == pytest.approx(np.linalg.norm(update[part]) / np.linalg.norm(weights[part]), rel=1e-4)


def adam_update(optimizer, gradient):
    """Return the next update of Adam (Kingma and Ba, 2015) with a rate of 0.05; beta 0.9 and 0.999, epsilon 1e-7."""
    flat = lambda name: np.concatenate(  # noqa: E731
        [v.numpy().ravel() for v in optimizer.variables if v.path.endswith(name)]
    )
    m = 0.9 * flat("_momentum") + 0.1 * gradient
    v = 0.999 * flat("_velocity") + 0.001 * gradient**2
    return -0.05 * np.sqrt(1 - 0.999**13) / (1 - 0.9**13) * m / (np.sqrt(v) + 1e-7)


class TestArguments:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: WriteText("text"), r"WriteText.function = 'text': expected a function of \(trainer\)"),
            (lambda: WriteText(str, ""), r"WriteText.tag = '': expected a name"),
            (lambda: WriteImages(str, 3), r"WriteImages.tag = 3: expected a name"),
            (lambda: WriteImages(str, when="eval"), r"WriteImages.when = 'eval': expected 'evaluation' or 'summary'"),
            (lambda: WriteHistograms("step"), r"WriteHistograms.when = 'step'"),
        ],
    )
    def test_are_checked(self, make, message):
        with pytest.raises(UsageError, match=message):
            make()

    def test_what_the_function_returns_is_checked(self, make_trainer, tmp_path):
        action = WriteText(lambda trainer: trainer.step, when="summary")
        with pytest.raises(UsageError, match=r"the text 'text': expected a string, or a list of strings, got 6"):
            make_trainer(actions=[action], model_dir=tmp_path).train()

    def test_without_a_folder_or_evaluations_nothing_is_written(self, caplog):
        WriteText(lambda trainer: "x").start(SimpleNamespace(model_dir=None, eval_metrics={}))
        assert "WriteText writes nothing, as there is no Trainer.model_dir" in caplog.text
        assert "WriteText never acts, as this run does not evaluate" in caplog.text
