"""The course of a tuning, with contestants whose speed is made up."""

import dataclasses
import re

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.tuning.contestant import Failure
from tallyloop.trainer.tuning.measured import Lap, Start
from tallyloop.trainer.tuning.tune import GivenFailure, tune


class Made:
    """Takes for each setting the product of the factors of what it sets."""

    def __init__(self, setting, factors, first_step, facts, can_cache=False):
        self.can_cache = lambda: can_cache
        self.lines = lines = [*setting.bindings, *setting.variables, *([setting.policy] if setting.policy else [])]
        self.seconds, self.memory = 0.0, 10**6
        self._step = 0.1
        size = facts.examples_per_step
        for line in lines:
            if "batch_size" in line:
                size = int(line.split()[-1])
            else:
                self._step *= factors.get(line.split(" ")[0], 1.0)
        self.facts = dataclasses.replace(facts, examples_per_step=size)
        self.start = Start(first_step if any("jit" in line for line in lines) else 1.0, 0.5, ())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def lap(self):
        return Lap(10 * self._step, 10)


@pytest.fixture
def run(capsys, facts):
    """run(factors) -> (what was started, what was printed)"""

    def run(factors, sizes=(), fails=(), first_step=1.0, cores=3, can_cache=False, **changed):
        tried = []

        def start(setting):
            tried.append(setting)
            if any(line.startswith(tuple(fails)) for line in setting.bindings if fails):
                raise Failure("XLA has no such op")
            return Made(setting, factors, first_step, dataclasses.replace(facts, **changed), can_cache)

        tune(start, sizes, cores, {})
        return tried, capsys.readouterr().out

    return run


JIT, AHEAD, INTRA, INTER = (
    "Trainer.jit_compile",
    "train/Input.read_processes",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


class TestTune:
    def test_tries_the_faster_ones_together(self, run):
        tried, printed = run({JIT: 0.5, INTER: 0.8, AHEAD: 1.5})
        assert tried[-1].bindings == ("Trainer.jit_compile = True",)
        assert tried[-1].variables == {INTER: "2"}
        assert "Fastest: the faster ones together. 0.40 (0.40 to 0.40)" in printed
        assert "      TF_NUM_INTEROP_THREADS=2" in printed

    def test_tries_nothing_together_if_one_alone_is_faster(self, run):
        tried, printed = run({JIT: 0.5})
        assert [each.name for each in tried] == [
            "as given",
            "as given",
            "jit_compile = True",
            "read_processes = 1 (read ahead)",
            "intra-op threads = 1",
            "inter-op threads = 2",
            "oneDNN",
            "memory pool",
            "mixed_bfloat16",
        ]
        assert "Fastest: jit_compile = True." in printed

    def test_takes_the_better_of_what_excludes_each_other(self, run):
        tried, _ = run({INTRA: 0.7, JIT: 0.5}, cores=8)
        assert tried[-1].variables == {INTRA: "1"}  # of 1 and 4, as fast as each other

    def test_tries_xla_again_where_reading_took_the_time(self, run):
        tried, printed = run({AHEAD: 0.5, INTER: 0.8})
        assert tried[-1].bindings == (f"{AHEAD} = 1", "Trainer.jit_compile = True")
        assert tried[-1].variables == {INTER: "2"}
        assert re.search(r"^best \+ jit_compile = True +40", printed, re.M)

    @pytest.mark.parametrize(
        ("factors", "fails"),
        [({INTER: 0.8}, []), ({AHEAD: 0.5}, ["Trainer.jit_compile"]), ({AHEAD: 0.5, JIT: 0.5}, [])],
        ids=["nothing is read in another way", "it failed", "it is in the best"],
    )
    def test_tries_xla_once_otherwise(self, run, factors, fails):
        tried, _ = run(factors, fails=fails)
        alone = [each for each in tried if each.bindings == ("Trainer.jit_compile = True",)]
        together = [each for each in tried if len(each.bindings) > 1]
        assert len(alone) == 1
        assert len(together) == (JIT in factors)

    def test_does_not_combine_what_does_not_pay(self, run):
        # 0.05 s less a step, 99 s more at the start: 1,980 steps
        tried, printed = run({JIT: 0.5, INTER: 0.8}, first_step=100.0, train_steps=1000)
        assert tried[-1].name == "mixed_bfloat16"
        assert "jit_compile = True takes 0.50 times the time, but 1,980 steps" in printed

    def test_tries_what_changes_the_training_on_top_of_the_best(self, run):
        tried, printed = run({JIT: 0.5, "mixed_bfloat16": 0.5})
        assert (tried[-1].bindings, tried[-1].policy) == (("Trainer.jit_compile = True",), "mixed_bfloat16")
        assert "Faster, but trains differently: best + mixed_bfloat16. 0.25" in printed

    def test_tries_batch_sizes_with_the_best(self, run):
        tried, printed = run({JIT: 0.5}, sizes=[32, 128])
        assert [each.bindings[-1] for each in tried[-2:]] == [f"train/Input.global_batch_size = {n}" for n in (32, 128)]
        assert all("Trainer.jit_compile = True" in each.bindings for each in tried[-2:])
        assert (
            "trains differently: best + global_batch_size = 128. 0.25" in printed
        )  # a step of 128 takes as long as one of 64

    @pytest.mark.parametrize("can_cache", [True, False])
    def test_tries_the_cache_where_the_data_fits(self, run, can_cache):
        tried, _ = run({}, feed="stream", can_cache=can_cache)
        assert ("train/Input.cache = True" in [line for each in tried for line in each.bindings]) is can_cache

    def test_all_rows_line_up(self, run):
        _, printed = run({JIT: 0.5, "mixed_bfloat16": 0.5}, sizes=[10**6], cores=8)
        assert "best + global_batch_size = 1000000 " in printed
        assert len({line.index(" MB") for line in printed.splitlines() if " MB" in line}) == 1

    def test_a_setting_that_fails_is_a_row(self, run):
        _, printed = run({INTER: 0.5}, fails=["Trainer.jit_compile"])
        assert re.search(r"^jit_compile = True +failed: XLA has no such op$", printed, re.M)
        assert "Fastest: inter-op threads = 2." in printed

    def test_ends_if_the_config_as_given_fails_later(self, facts, capsys):
        class Failing(Made):
            laps = 7  # the sixth tells how long it will take

            def lap(self):
                self.laps -= 1
                if self.laps < 0 and not self.lines:
                    raise Failure("train loss is nan")
                return super().lap()

        with pytest.raises(GivenFailure, match="train loss is nan"):
            tune(lambda setting: Failing(setting, {}, 1.0, facts), (), 1, {})
        assert "failed" not in capsys.readouterr().out

    def test_says_first_how_long_it_will_take(self, run):
        _, printed = run({})
        assert printed.startswith("Up to 8 settings in turn")
        assert "about 2 min" in printed.splitlines()[0]  # 8 times 10 s and more

    def test_refuses_batch_sizes_of_data_that_it_cannot_bind(self, run):
        with pytest.raises(UsageError, match=r"--tune_batch_sizes: expected Trainer.train_dataset = @train/Input\(\)"):
            run({}, sizes=[32], dataset="")
