import math
import random

import pytest
from tallyloop.trainer.report import comparing, tables
from tallyloop.trainer.report.page import page
from tallyloop.trainer.report.run import Metric, named, read, short

from .conftest import line

ACCURACY = Metric("eval", "accuracy")


class TestMetrics:
    def test_are_in_order_of_their_steps(self, make_run):
        run = read("a", make_run(extra=line(50, "eval", accuracy=0.5)))
        assert run.metrics[ACCURACY] == [(50, 0.5), (100, 0.9), (200, 0.8)]
        assert run.step == 200

    def test_arrays_are_left_out(self, make_run):
        assert (
            Metric("eval", "confusion") not in read("a", make_run(extra=line(300, "eval", confusion=[[1, 2]]))).metrics
        )

    def test_numbers_that_are_not_finite(self, make_run):
        run = read("a", make_run(extra=line(300, "eval", accuracy="NaN")))
        assert math.isnan(run.metrics[ACCURACY][-1][1])
        assert run.best(ACCURACY) == (100, 0.9)


class TestDamage:
    def test_is_counted(self, make_run):
        garbage = '{"step": 1}\n[]\n\xff\n{"step": 300, "split": "eval", "metrics": {"accuracy": "high"}}\n{"step": 4'
        run = read("a", make_run(extra=garbage))
        assert (run.damaged, run.is_torn) == (4, True)
        assert run.metrics[ACCURACY] == [(100, 0.9), (200, 0.8)]

    def test_of_any_kind_is_no_error(self, make_run):
        """Random bytes in the three files, and JSON of other types, in 300 ways."""
        folder, chance = make_run(), random.Random(0)
        names = ("metrics.jsonl", "run.json", "operative_config.gin")
        whole = {name: (folder / name).read_bytes() for name in names}
        values = [b"null", b"[]", b"{}", b"1e999", b'"x"', b"-1", b"true", b"\xff", b"\n", b"NaN"]
        for _ in range(300):
            for name, content in whole.items():
                start = chance.randrange(len(content))
                end = start + chance.choice([0, 1, 2, 5, 50])
                (folder / name).write_bytes(content[:start] + chance.choice(values) + content[end:])
            run = read("a", folder)
            shown = [comparing.results([run], comparing.metrics_of([run])), comparing.time([run])]
            assert all(tables.text(table, 80) for table in shown)
            assert all(write([run]) for write in (tables.to_csv, tables.to_json, page))

    @pytest.mark.parametrize("step", ["1e999", "null", '"x"', "[]"])
    def test_a_step_that_is_none(self, make_run, step):
        assert (
            read("a", make_run(extra=f'{{"step": {step}, "split": "eval", "metrics": {{"accuracy": 1}}}}\n')).damaged
            == 1
        )

    def test_an_empty_folder(self, tmp_path):
        run = read("a", tmp_path)
        assert (run.metrics, run.bindings, run.step, run.damaged) == ({}, {}, None, 0)


class TestBest:
    def test_is_by_the_config(self, make_run):
        folder = make_run(accuracies=(0.2, 0.9))
        config = folder / "operative_config.gin"
        config.write_text(config.read_text().replace("'max'", "'min'"))
        assert read("a", folder).best(ACCURACY) == (100, 0.2)

    def test_else_by_the_name(self, make_run):
        assert read("a", make_run()).best(Metric("train", "loss")) == (200, 1.0)

    def test_is_none_where_neither_tells(self, make_run):
        run = read("a", make_run(extra=line(300, "eval", width=3.0)))
        assert run.best(Metric("eval", "width")) is None


class TestNamed:
    def test_with_one_eval_set(self):
        metrics = [Metric("train", "a"), Metric("eval", "a"), Metric("eval", "loss/a")]
        assert named(metrics, "a") == named(metrics, "test/a") == Metric("eval", "a")
        assert named(metrics, "loss/a") == Metric("eval", "loss/a")

    def test_with_several(self):
        metrics = [Metric("eval/dev", "a"), Metric("eval/test", "a")]
        assert named(metrics, "test/a") == Metric("eval/test", "a")
        assert named(metrics, "b") is None


class TestBindings:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("critic/keras.optimizers.Adam.learning_rate", "critic/Adam.learning_rate"),
            ("a.b.mlp.hidden[1]", "mlp.hidden[1]"),
            ("Adam.learning_rate", "Adam.learning_rate"),
            ("batch_size", "batch_size"),
        ],
    )
    def test_without_modules(self, name, expected):
        assert short(name) == expected

    def test_over_several_lines_and_of_scopes_that_only_code_enters(self, make_run):
        folder = make_run()
        (folder / "operative_config.gin").write_text(
            "a.b = [\n    1,\n    2,\n]\n# code/c.d = 'x'\n\n# Bindings\ne.f = 3\n"
        )
        assert read("a", folder).bindings == {"a.b": "[ 1, 2, ]", "code/c.d": "'x'", "e.f": "3"}

    def test_as_given_where_the_run_ended_early(self, make_run):
        folder = make_run()
        (folder / "operative_config.gin").rename(folder / "config.gin")
        assert read("a", folder).bindings["Adam.learning_rate"] == "0.1"
