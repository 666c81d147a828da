import json

import pytest
from tallyloop.trainer.study.book import Trial, add_row, best, label
from tensorboard.plugins.hparams import api_pb2

from .conftest import hparams


class TestBest:
    TRIALS = (
        Trial(0, {}, "failed"),
        Trial(1, {}, "done", 0.5),
        Trial(2, {}, "done", 0.7),
        Trial(3, {}, "done", 0.7),
        Trial(4, {}, "pruned"),
        Trial(5, {}),
    )

    @pytest.mark.parametrize(("mode", "number"), [("max", 2), ("min", 1)])
    def test_is_the_first_of_those_that_are_done(self, mode, number):
        assert best(self.TRIALS, mode).number == number

    def test_is_none_of_none(self):
        assert best([Trial(0, {}, "failed")], "max") is None


def test_a_label_says_which_trial_of_which_study(tmp_path):
    trial = Trial(7, {"a": "1", "b": "'x'"}, "failed", reason="exit code 1")
    label(tmp_path / trial.folder, "rates", trial)
    assert json.loads((tmp_path / "trial-0007" / "trial.json").read_text()) == {
        "study": "rates",
        "number": 7,
        "values": {"a": "1", "b": "'x'"},
        "state": "failed",
        "value": None,
        "reason": "exit code 1",
    }
    assert trial.choice == "a=1 b='x'"


class TestAddRow:
    BINDINGS = (
        "keras.optimizers.Adam.learning_rate=0.1",
        "mlp.hidden=(16,)",
        "mlp.activation='gelu'",
        "T.model=@cnn()",
    )

    def test_has_the_choice_and_the_failure(self, tmp_path):
        add_row(tmp_path, self.BINDINGS, "exit code 2")
        start, end = hparams(tmp_path)
        found = start.session_start_info.hparams
        assert found["Adam.learning_rate"].number_value == 0.1
        texts = {name: found[name].string_value for name in ("mlp.hidden", "mlp.activation", "T.model")}
        assert texts == {"mlp.hidden": "(16,)", "mlp.activation": "gelu", "T.model": "cnn"}
        assert end.session_end_info.status == api_pb2.STATUS_FAILURE

    def test_leaves_that_of_the_training_alone(self, tmp_path):
        (tmp_path / "events.out.tfevents.1.run").touch()
        add_row(tmp_path, self.BINDINGS, "exit code 1")
        assert [path.name for path in tmp_path.iterdir()] == ["events.out.tfevents.1.run"]
