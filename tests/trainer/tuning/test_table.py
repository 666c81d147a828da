import pytest
from tallyloop.trainer.tuning.measured import Measured, Start
from tallyloop.trainer.tuning.settings import AS_GIVEN, Setting
from tallyloop.trainer.tuning.table import Table, brief

LONG = "best + cache = True (from memory), and more"
JIT = Setting("jit", ("Trainer.jit_compile = True",))
FAST = Measured(JIT, Start(10.0, 8.0, ()), 0.06, 10.0, 900_000_000, (0.58, 0.6, 0.63))
SLOW = Measured(JIT, Start(10.0, 8.0, ()), 0.12, 10.0, 900_000_000, (1.2,) * 3)
GIVEN = Measured(AS_GIVEN, Start(2.0, 0.5, ()), 0.1, 10.0, 800_000_000)


class TestTable:
    def test_lines_up(self):
        table = Table(["jit"])
        assert "\n".join([table.header(), table.row(GIVEN), table.row(FAST, GIVEN)]).splitlines() == [
            "setting  step time  of given        spread  compiling  1st step  examples/s    memory  pays after",
            "-" * 97,
            "as given    100 ms                             500 ms    2.00 s         100    800 MB",
            "jit        60.0 ms      0.60     0.58-0.63     8.00 s    10.0 s         167    900 MB  200 steps",
        ]

    def test_is_as_wide_as_the_longest_name(self):
        table = Table(["jit", LONG])
        long = Measured(Setting(LONG), Start(10.0, 8.0, ()), 0.06, 10.0, 900_000_000, (0.6,) * 3)
        rows = [table.row(GIVEN), table.row(FAST, GIVEN), table.row(long, GIVEN)]
        assert {each.index(" MB") for each in rows} == {table.header().index("memory") + len("memory") - len(" MB")}

    def test_what_is_not_faster_never_pays(self):
        assert Table([]).row(SLOW, GIVEN).endswith("900 MB")

    def test_a_failure_has_its_reason_in_one_line(self):
        assert Table([]).failed_row(JIT, "no such op\n  here") == "jit       failed: no such op here"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(12.34, "12.3 s"), (1.5, "1.50 s"), (0.0841, "84.1 ms"), (0.000123, "123 us"), (4e-7, "0.40 us")],
    )
    def test_times_have_three_digits(self, seconds, text):
        assert brief(seconds) == text
