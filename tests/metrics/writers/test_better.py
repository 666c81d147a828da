import pytest
from tallyloop.metrics.writers.better import best, better_mode


class TestMode:
    @pytest.mark.parametrize(
        "path",
        [
            "loss",
            "loss/stage_1/combined",
            "test/loss",
            "rmse",
            "perplexity",
            "mean_absolute_error",
            "generator_loss",
            "kl",
        ],
    )
    def test_less_is_better(self, path):
        assert better_mode(path) == "min"

    @pytest.mark.parametrize(
        "path",
        [
            "accuracy",
            "test/accuracy",
            "recall_at_0.5",
            "recall@10",
            "top_5_accuracy",
            "f1",
            "auc",
            "R2",
            "accuracy/class_3",
        ],
    )
    def test_more_is_better(self, path):
        assert better_mode(path) == "max"

    @pytest.mark.parametrize("path", ["time/step", "learning_rate", "gradient_norm", "stage_1/activation", "count"])
    def test_the_name_does_not_tell(self, path):
        assert better_mode(path) is None

    def test_the_last_component_decides(self):
        assert better_mode("loss/accuracy") == "max"
        assert better_mode("accuracy/loss") == "min"


def test_best():
    assert best([2.0, 1.0, 3.0], "max") == 3
    assert best([2.0, 1.0, 3.0], "min") == 1
