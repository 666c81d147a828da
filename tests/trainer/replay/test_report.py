"""The files of a replay."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer.replay import report

BATCH = {
    "x": np.arange(3 * 5 * 5, dtype=np.float32).reshape(3, 5, 5, 1),
    "text": np.array([b"one | two", "drei \u00e4".encode(), b"x" * 300], object),
    "y": np.array([4, 5, 6]),
}


@pytest.fixture
def facts():
    return {
        "step": 7,
        "checkpoint": None,
        "replicas": 1,
        "finite": False,
        "first_non_finite": "the output of layer 'a' (1 NaN of 3 numbers)",
        "place": "batch 6 of epoch 0 (counted from 0)",
        "agreement": {"same": [5, 6], "different": []},
        "metrics": {"loss": float("nan"), "matrix": [[1.0, 2.0], [3.0, 4.0]]},
        "metrics_by_replica": [{"loss": float("nan")}],
        "rows": [10, 11, 12],
        "examples": [
            {"position": i, "row": 10 + i, "losses": {"loss": loss}} for i, loss in ((1, float("nan")), (2, 2.5), (0, 1.0))
        ],
        "note": "",
        "variables": [{"path": "a/kernel", "shape": [2], "weight_norm": 5.0, "gradient_norm": None, "update_norm": 0.0}],
        "layers": [],
    }  # fmt: skip


@pytest.fixture
def written(facts, tmp_path):
    (tmp_path / "step-7").mkdir()
    (tmp_path / "step-7" / "old").touch()
    return report.write(tmp_path / "step-7", facts, BATCH)


class TestFiles:
    def test_take_the_place_of_older_ones(self, written):
        assert sorted(path.name for path in written.iterdir()) == ["batch.npz", "examples", "report.json", "report.md"]

    def test_images_from_the_worst_down(self, written):
        """Floats are scaled to their range: 0 to 74 becomes 0 to 255."""
        found = sorted(path.name for path in (written / "examples").iterdir())
        assert found == ["000-number-1-x.png", "001-number-2-x.png", "002-number-0-x.png"]
        pixels = tf.io.decode_png((written / "examples" / found[1]).read_bytes()).numpy()
        np.testing.assert_array_equal(pixels[..., 0], np.rint(BATCH["x"][2, ..., 0] * 255 / 74))

    def test_json_has_no_nan(self, written):
        found = json.loads((written / "report.json").read_text(), parse_constant=pytest.fail)
        assert found["metrics"]["loss"] == "NaN"
        assert found["rows"] == [10, 11, 12]

    def test_batch(self, written):
        found = np.load(written / "batch.npz")
        np.testing.assert_array_equal(found["x"], BATCH["x"])
        assert found["text"].tolist() == BATCH["text"].tolist()

    def test_markdown(self, written):
        text = (written / "report.md").read_text()
        assert "The first number that is not finite was in the output of layer 'a'" in text
        assert "| number | row | loss | image | x | text | y |" in text
        shown = "float32 (5, 5, 1)"
        assert f"| 0 | 10 | 1 | ![](examples/002-number-0-x.png) | {shown} | one \\| two | 4 |" in text
        assert f"| 1 | 11 | nan | ![](examples/000-number-1-x.png) | {shown} | drei \u00e4 | 5 |" in text
        assert "| a/kernel | (2,) | 5 |  | 0 |" in text
        assert "| matrix | [[1., 2.], [3., 4.]] |  |" in text


class TestInShort:
    def test_of_one_that_agrees(self, facts):
        assert report.in_short(facts) == [
            "Step 7, replayed from the start of the run: loss nan",
            "The loss is that in metrics.jsonl, to the last digit, at 2 summaries up to step 6.",
            "The first number that is not finite was in the output of layer 'a' (1 NaN of 3 numbers).",
            "The worst examples: number 1 (row 11) nan; number 2 (row 12) 2.5; number 0 (row 10) 1",
        ]

    def test_of_one_that_differs(self, facts):
        facts["agreement"] = {"same": [], "different": [[5, "loss", 0.5, 0.25]]}
        assert (
            "This is not quite what the run did: at step 5, its loss was 0.5, and here it is 0.25."
            in report.in_short(facts)[1]
        )

    def test_without_anything_to_compare_with(self, facts):
        facts["agreement"], facts["examples"] = {"same": [], "different": []}, []
        assert report.in_short(facts)[1:2] == ["There is no summary of the run on the way to compare with."]


class TestNamedArrays:
    def test_of_a_tuple_and_of_a_single_one(self):
        assert list(report.named_arrays((np.zeros(1), {"a": np.zeros(1)}))) == ["0", "1/a"]
        assert list(report.named_arrays(np.zeros(1))) == ["batch"]
