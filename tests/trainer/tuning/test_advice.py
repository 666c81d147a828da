from tallyloop.trainer.tuning.advice import advice
from tallyloop.trainer.tuning.measured import Measured, Start
from tallyloop.trainer.tuning.settings import AS_GIVEN, Setting

JIT = Setting("jit", ("Trainer.jit_compile = True",))
MIXED = Setting("mixed", policy="mixed_bfloat16", changes="numbers")
THREADS = Setting("threads", variables={"TF_NUM_INTRAOP_THREADS": "1"})
GIVEN = Measured(AS_GIVEN, Start(2.0, 0.5, ()), 0.1, 10.0, 800_000_000)


def measured(setting, ratio, first_step=2.0):
    return Measured(setting, Start(first_step, 0.5, ()), 0.1 * ratio, 10.0, 900_000_000, (ratio,) * 3)


class TestAdvice:
    def test_is_to_take_what_ends_first(self):
        found = [measured(JIT, 0.5, first_step=7.0), measured(THREADS, 0.6)]
        assert advice(GIVEN, found, 10_000).splitlines() == [
            "Fastest: jit. 0.50 (0.50 to 0.50) times the time per example, 50.0 ms per step.",
            "  In the config:",
            "      Trainer.jit_compile = True",
        ]

    def test_is_what_sets_the_least_of_equals(self):
        both = Setting("both", JIT.bindings, THREADS.variables)
        assert "Fastest: threads." in advice(GIVEN, [measured(THREADS, 0.6), measured(both, 0.59)], 10_000)
        assert "Fastest: both." in advice(GIVEN, [measured(THREADS, 0.6), measured(both, 0.55)], 10_000)

    def test_leaves_out_what_the_run_is_too_short_for(self):
        # jit: 5 s more at the start, 0.05 s less a step: 100 steps
        found = [measured(JIT, 0.5, first_step=7.0), measured(THREADS, 0.6)]
        chosen, late = advice(GIVEN, found, 90).split("\n\n")
        assert "Fastest: threads." in chosen
        assert "TF_NUM_INTRAOP_THREADS=1" in chosen
        assert late == ("jit takes 0.50 times the time, but 100 steps to make up for its start; this config trains 90.")

    def test_is_none_if_nothing_gains(self):
        text = advice(GIVEN, [measured(JIT, 0.97), measured(MIXED, 1.2)], 100)
        assert text == "Keep the config as it is: no setting that trains the same gains 5% and more than the noise."

    def test_is_none_if_nothing_pays(self):
        text = advice(GIVEN, [measured(JIT, 0.5, first_step=7.0)], 90)
        assert text.startswith(
            "Keep the config as it is: nothing that is faster pays within its 90 steps.\n\njit takes"
        )

    def test_keeps_apart_what_changes_the_training(self):
        same, changing = advice(GIVEN, [measured(JIT, 0.8), measured(MIXED, 0.5)], 1000).split("\n\n")
        assert same.startswith("Fastest: jit.")
        assert changing.startswith("Faster, but trains differently: mixed.")
        assert "  Note: numbers." in changing
        assert "      import mixed_bfloat16" in changing

    def test_leaves_out_a_change_that_gains_less_than_none(self):
        assert "mixed" not in advice(GIVEN, [measured(JIT, 0.5), measured(MIXED, 0.6)], 1000)

    def test_has_the_best_of_each_change(self):
        sizes = [measured(Setting(f"size {n}", changes="size"), 1 / n) for n in (2, 4, 3)]
        text = advice(GIVEN, [*sizes, measured(MIXED, 0.8)], 1000)
        assert [line.split(":")[1].split(".")[0] for line in text.splitlines() if "differently" in line] == [
            " size 4",
            " mixed",
        ]
