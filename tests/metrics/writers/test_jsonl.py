import errno
import json
import math
import os

import numpy as np
import pytest
from tallyloop.metrics.writers import JsonlWriter, Summary
from tallyloop.metrics.writers.jsonl import json_value


def summary(step, split="train", **metrics):
    return Summary(step, split, metrics, dict.fromkeys(metrics, 16.0))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "metrics.jsonl"


@pytest.fixture
def killed_run(path):
    writer = JsonlWriter(path)
    for step in (10, 20, 30, 40):
        writer.write(summary(step, loss=step / 10))
    writer.write(summary(20, "eval/test", loss=2.5))
    writer.write(summary(40, "eval/test", loss=4.5))
    return path


def steps(path):
    return [(line["step"], line["split"]) for line in map(json.loads, path.read_text().splitlines())]


class TestWrite:
    def test_creates_nothing_before(self, path):
        JsonlWriter(path).close()
        assert not path.parent.exists()

    def test_format_of_a_line(self, path):
        JsonlWriter(path).write(Summary(500, "eval/test", {"loss": 0.25, "f1": 1}, {"loss": 360.0, "f1": 2.5}))
        assert path.read_text() == (
            '{"step": 500, "split": "eval/test", "metrics": {"loss": 0.25, "f1": 1}, '
            '"counts": {"loss": 360.0, "f1": 2.5}}\n'
        )

    def test_is_in_the_file_on_return_and_a_new_writer_appends(self, path):
        for step in (1, 2):
            JsonlWriter(path).write(summary(step, loss=1.0))
        assert steps(path) == [(1, "train"), (2, "train")]

    @pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2.0**53 + 2])
    def test_float64_round_trips(self, path, value):
        JsonlWriter(path).write(summary(1, loss=np.float64(value)))
        read = json.loads(path.read_text())["metrics"]["loss"]
        assert np.float64(read).tobytes() == np.float64(value).tobytes()

    def test_float32_keeps_its_own_value(self, path):
        JsonlWriter(path).write(summary(1, loss=np.float32(0.1)))
        assert json.loads(path.read_text())["metrics"]["loss"] == 0.10000000149011612

    def test_arrays_are_nested_lists(self, path):
        matrix, vector = np.array([[5, 1], [0, 2**60]]), np.array([0.5, np.nan])
        JsonlWriter(path).write(summary(1, matrix=matrix, vector=vector, scalar=np.array(3.5)))
        assert json.loads(path.read_text())["metrics"] == {
            "matrix": [[5, 1], [0, 2**60]],
            "vector": [0.5, "NaN"],
            "scalar": 3.5,
        }

    def test_non_finite_values_are_strings_in_strict_json(self, path):
        def refuse(constant):
            raise AssertionError(constant)

        inf = float("inf")
        JsonlWriter(path).write(Summary(1, "train", {"a": float("nan"), "b": inf, "c": -inf}, {"a": inf}))
        line = json.loads(path.read_text(), parse_constant=refuse)
        assert line["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}
        assert line["counts"] == {"a": "Infinity"}
        assert float(line["metrics"]["c"]) == -inf

    def test_a_line_is_not_glued_to_a_torn_one(self, killed_run):
        killed_run.write_bytes(killed_run.read_bytes()[:-9])
        JsonlWriter(killed_run).write(summary(50, loss=5.0))
        assert steps(killed_run)[-2:] == [(20, "eval/test"), (50, "train")]

    def test_empties_a_file_that_is_one_torn_line(self, path):
        path.parent.mkdir()
        path.write_text('{"step": 1')
        JsonlWriter(path).write(summary(2, loss=5.0))
        assert steps(path) == [(2, "train")]

    def test_follows_a_file_that_another_process_replaced(self, killed_run):
        evaluator = JsonlWriter(killed_run)
        evaluator.write(summary(30, "eval/other", loss=1.0))
        JsonlWriter(killed_run).truncate_after(10)
        evaluator.write(summary(10, "eval/other", loss=1.0))
        assert steps(killed_run) == [(10, "train"), (10, "eval/other")]


class TestTruncateAfter:
    def test_drops_later_lines_of_every_split(self, killed_run):
        assert JsonlWriter(killed_run).truncate_after(30) == 2
        assert steps(killed_run) == [(10, "train"), (20, "train"), (30, "train"), (20, "eval/test")]

    def test_keeps_the_bytes_of_what_it_keeps(self, killed_run):
        lines = killed_run.read_bytes().splitlines(keepends=True)
        JsonlWriter(killed_run).truncate_after(20)
        assert killed_run.read_bytes() == lines[0] + lines[1] + lines[4]

    def test_drops_a_torn_line_and_counts_it(self, killed_run):
        torn = killed_run.read_bytes()[:-9]
        killed_run.write_bytes(torn)
        assert JsonlWriter(killed_run).truncate_after(100) == 1
        assert killed_run.read_bytes() == torn[: torn.rindex(b"\n") + 1]

    def test_drops_a_line_that_a_power_cut_left(self, killed_run):
        killed_run.write_bytes(b"\0\0\0\n[1]\n" + killed_run.read_bytes())
        assert JsonlWriter(killed_run).truncate_after(100) == 2
        assert len(steps(killed_run)) == 6

    def test_with_nothing_to_drop_leaves_the_file_alone(self, killed_run):
        before = killed_run.stat()
        assert JsonlWriter(killed_run).truncate_after(40) == 0
        assert (killed_run.stat().st_ino, killed_run.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_without_a_file_makes_none(self, path):
        assert JsonlWriter(path).truncate_after(0) == 0
        assert not path.exists()

    def test_a_failure_leaves_the_file_as_it_was(self, killed_run, monkeypatch):
        before = killed_run.read_bytes()

        def full_disk(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            JsonlWriter(killed_run).truncate_after(10)
        assert killed_run.read_bytes() == before
        assert [entry.name for entry in killed_run.parent.iterdir()] == ["metrics.jsonl"]


class TestUpsert:
    def test_replaces_the_line_of_its_step_and_split(self, killed_run):
        writer = JsonlWriter(killed_run)
        for _ in range(2):
            writer.upsert(summary(20, "eval/test", loss=9.0))
            writer.upsert(summary(30, "eval/test", loss=3.5))
        assert steps(killed_run) == [
            *[(step, "train") for step in (10, 20, 30, 40)],
            *[(step, "eval/test") for step in (20, 40, 30)],
        ]
        losses = [json.loads(line)["metrics"]["loss"] for line in killed_run.read_text().splitlines()]
        assert losses == [1, 2, 3, 4, 9, 4.5, 3.5]

    def test_leaves_an_equal_line_alone(self, killed_run):
        before = killed_run.stat()
        JsonlWriter(killed_run).upsert(summary(20, "eval/test", loss=2.5))
        assert (killed_run.stat().st_ino, killed_run.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_creates_the_file(self, path):
        JsonlWriter(path).upsert(summary(20, "eval", loss=2.5))
        assert steps(path) == [(20, "eval")]


class TestJsonValue:
    def test_nan_and_infinities_are_strings_that_python_reads(self):
        found = json_value({"a": [math.nan, (math.inf, -math.inf)], "b": 1.5})
        assert found == {"a": ["NaN", ["Infinity", "-Infinity"]], "b": 1.5}
        assert math.isnan(float(found["a"][0]))
        assert [float(each) for each in found["a"][1]] == [math.inf, -math.inf]

    def test_whatever_else_there_is_stays(self):
        value = {"text": "NaN", "true": True, "none": None, "whole": 3}
        assert json_value(value) == value
        assert json.loads(json.dumps(json_value(value), allow_nan=False)) == value
