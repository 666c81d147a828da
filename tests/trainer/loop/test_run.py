"""A run that is asked to stop."""

import json

import pytest
from tallyloop.data import Input
from tallyloop.trainer.distribution import preemption
from tallyloop.trainer.errors import PreemptedError
from tallyloop.trainer.loop.timing import TIMES


def lines(folder):
    """Without what tells how fast the run was."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in found:
        line["metrics"] = {path: value for path, value in line["metrics"].items() if path not in TIMES}
    return sorted(found, key=lambda line: (line["step"], line["split"]))


class TestAskedToStop:
    @pytest.fixture
    def asked(self, monkeypatch):
        """asked.append(True) asks."""
        asked = []
        monkeypatch.setattr(preemption, "requested", lambda: bool(asked))
        return asked

    @pytest.mark.parametrize("replicas", [1, 2])
    @pytest.mark.parametrize(("step", "split"), [(3, "train"), (4, "train"), (8, "eval")])
    def test_rerun_ends_the_same(self, run, tmp_path, asked, replicas, step, split, assert_same_weights):
        """At step 4 the evaluation is left out, and made up for by the rerun."""
        arguments = {"replicas": replicas, "summary_interval": 1, "steps_per_loop": 1}
        control = run(tmp_path / "a", **arguments)

        def ask(trainer, summary):
            if (summary.step, summary.split) == (step, split):
                asked.append(True)

        with pytest.raises(PreemptedError, match="Stopped after step"):
            run(tmp_path / "b", actions=[ask], **arguments)
        asked.clear()
        assert_same_weights(run(tmp_path / "b", **arguments), control)
        one, other = (lines(tmp_path / name) for name in "ab")
        assert one == other

    def test_during_an_evaluation(self, run, tmp_path, asked, rows, assert_same_weights):
        """The first evaluation asks, at its first batch."""
        control = run(tmp_path / "a", steps=4)
        seen = []

        class Asking(Input):
            def open_eval(self):
                feed = super().open_eval()
                rewind, feed.rewind = feed.rewind, lambda: (rewind(), seen and asked.append(True), seen.append(1))
                return feed

        with pytest.raises(PreemptedError):
            run(tmp_path / "b", steps=4, eval_datasets={"test": Asking(rows(40), 16)})
        assert [line["split"] for line in lines(tmp_path / "b")] == ["train"]
        asked.clear()
        assert_same_weights(run(tmp_path / "b", steps=4), control)
        assert lines(tmp_path / "a") == lines(tmp_path / "b")
