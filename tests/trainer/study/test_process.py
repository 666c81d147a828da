import time

import pytest
from tallyloop.trainer.study.book import Trial
from tallyloop.trainer.study.process import Process, points
from tallyloop.trainer.study.space import Space


def ended(folder, code):
    process = Process(Trial(0, {}), folder, ["bash", "-c", code])
    while process.code is None:
        time.sleep(0.01)
    return process


class TestFailure:
    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("echo 'Error: bad'; echo more; exit 2", "exit code 2: bad"),
            ("echo; echo 'Segmentation of words' >&2; exit 1", "exit code 1: Segmentation of words"),
            ("exit 3", "exit code 3"),
            (f"echo 'Error: {'a' * 301}'; exit 1", f"exit code 1: {'a' * 300}..."),
            (f"echo 'Error: rows {list(range(400))}'; exit 1", "exit code 1: rows [0, 1, 2, ...]"),
            ("echo 'step 7'; kill -9 $$", "killed by SIGKILL: step 7"),
        ],
    )
    def test_is_told_by_the_last_error(self, tmp_path, code, expected):
        assert ended(tmp_path, code).failure() == expected


def test_news_are_new_once(tmp_path):
    process = ended(tmp_path, "true")
    assert not process.has_news()
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert (process.has_news(), process.has_news()) == (True, False)


def test_points_are_those_of_the_metric_that_are_finite(tmp_path):
    lines = [
        '{"step": 1, "split": "train", "metrics": {"a": 9}}',
        '{"step": 1, "split": "eval", "metrics": {"a": 0.5, "b": 7}}',
        '{"step": 2, "split": "eval", "metrics": {"a": "NaN"}}',
        '{"step": 3, "split": "eval", "metrics": {"a": 0.25}}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert points(tmp_path, Space("a", "max", (), ())) == [(1, 0.5), (3, 0.25)]
    assert points(tmp_path, Space("c", "max", (), ())) == []
