"""What a replay returns, and what it says of itself."""

import numpy as np
import pytest
from tallyloop.trainer.replay.examining import Examined
from tallyloop.trainer.replay.result import Replay
from tallyloop.trainer.replay.run_folder import Agreement


@pytest.fixture
def replay():
    """replay(losses, **changes): a Replay with these losses by example."""

    def make(losses, **changes):
        given = {
            "step": 3,
            "checkpoint": 2,
            "replicas": 1,
            "finite": True,
            "batch": {"x": np.zeros(4)},
            "rows": np.array([7, 8, 9, 6]),
            "place": "batch 2",
            "metrics": {"loss": 1.0},
            "by_replica": [{"loss": 1.0}],
            "weights": {"a": np.array([3.0, 4.0]), "b": np.zeros((2, 2))},
            "gradients": {"a": np.array([6.0, 8.0])},
            "updates": {"a": np.array([0.0, -1.0]), "b": np.zeros((2, 2))},
            "examined": Examined(losses, [], ""),
            "first_non_finite": None,
            "agreement": Agreement([], []),
            "make_model": object,
        }
        return Replay(**{**given, **changes})

    return make


class TestOrder:
    def test_worst_first_and_before_them_what_is_not_finite(self, replay):
        found = replay({"": np.array([1.0, np.nan, 3.0, -2.0])})
        assert found.worst.tolist() == [1, 2, 0, 3]
        assert [each["row"] for each in found.facts()["examples"]] == [8, 9, 7, 6]

    def test_of_several_losses_is_that_of_their_sum(self, replay):
        found = replay({"a": np.array([1.0, 2.0, 3.0, 0.0]), "b": np.array([5.0, 0.0, 0.0, 0.0])})
        assert found.worst.tolist() == [0, 2, 1, 3]
        assert found.losses.keys() == {"a", "b"}
        assert found.facts()["examples"][0]["losses"] == {"a": 1.0, "b": 5.0}

    def test_of_unknown_losses(self, replay):
        assert replay({}).facts()["examples"] == []

    def test_without_rows(self, replay):
        assert replay({"": np.zeros(4)}, rows=None).facts()["examples"][0]["row"] is None


class TestFacts:
    def test_norms(self, replay):
        assert replay({"": np.zeros(4)}).facts()["variables"] == [
            {"path": "a", "shape": [2], "weight_norm": 5.0, "gradient_norm": 10.0, "update_norm": 1.0},
            {"path": "b", "shape": [2, 2], "weight_norm": 0.0, "gradient_norm": None, "update_norm": 0.0},
        ]

    def test_the_model_is_made_once(self, replay):
        found = replay({"": np.zeros(4)})
        assert found.model is found.model

    def test_write(self, replay, tmp_path):
        assert (replay({"": np.zeros(4)}).write(tmp_path / "there") / "report.md").exists()
