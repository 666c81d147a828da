"""All expected numbers are worked out by hand."""

import pytest
from tallyloop.trainer.tuning.measured import Lap, Measured, Start, paired
from tallyloop.trainer.tuning.settings import AS_GIVEN, Setting


def measured(step=0.1, first_step=2.0, examples=10.0, ratios=(1.0,), warm_up=(), setting=AS_GIVEN):
    return Measured(setting, Start(first_step, 0.5, warm_up), step, examples, 0, tuple(ratios))


GIVEN = measured()


class TestCost:
    def test_is_the_time_to_the_first_step_and_what_compiles_later(self):
        # 10 steps of 0.1 s in 1 s, and 5 of them in 2.5 s: 2 s more than they take
        assert measured(warm_up=(Lap(1.0, 10), Lap(2.5, 5))).cost == pytest.approx(2.0 + 2.0)

    def test_is_not_less_for_a_lap_that_was_quick(self):
        assert measured(warm_up=(Lap(0.5, 10),)).cost == 2.0


class TestPaysAfter:
    @pytest.mark.parametrize(
        ("other", "expected"),
        [
            (measured(step=0.06, first_step=10.0), 200),  # 8 s more at the start, 0.04 s less a step
            (measured(step=0.06, first_step=10.01), 201),
            (measured(step=0.06, first_step=1.0), 0),
            (measured(step=0.1, first_step=1.0), None),
            (measured(step=0.12), None),
            (
                measured(step=0.15, first_step=3.0, examples=20.0),
                20,
            ),  # a step of twice the examples: 0.05 s less than 2 steps
        ],
    )
    def test_is_the_extra_start_over_what_a_step_saves(self, other, expected):
        assert other.pays_after(GIVEN) == expected

    def test_of_so_many_steps_takes_as_long_as_the_config_as_given(self):
        other = measured(step=0.06, first_step=10.0)
        assert other.seconds_for(200, GIVEN) == pytest.approx(GIVEN.seconds_for(200, GIVEN)) == 22.0

    def test_the_same_examples_are_fewer_larger_steps(self):
        assert measured(step=0.15, first_step=3.0, examples=20.0).seconds_for(100, GIVEN) == pytest.approx(3.0 + 7.5)


class TestSpread:
    def test_drops_the_ends_of_many(self):
        assert measured(ratios=(0.1, 0.5, 0.6, 0.6, 0.6, 0.6, 0.7, 9.0)).spread == (0.5, 0.7)

    def test_keeps_those_of_few(self):
        assert measured(ratios=(0.5, 0.6, 0.9)).spread == (0.5, 0.9)


class TestIsFaster:
    @pytest.mark.parametrize(
        ("ratios", "expected"),
        [
            ((0.8, 0.9, 0.95), True),
            ((0.8, 0.9, 1.01), False),  # noise
            ((0.96, 0.96, 0.96), False),  # sure, and not worth a line
            ((1.1, 1.2, 1.3), False),
        ],
    )
    def test_needs_a_gain_beyond_noise(self, ratios, expected):
        assert measured(ratios=ratios).is_faster is expected


class TestPaired:
    def test_takes_the_ratios_of_laps_side_by_side(self):
        # the machine slows down to half in the second pair: the ratio stays
        pairs = [(Lap(1.0, 10), Lap(1.0, 20)), (Lap(1.0, 5), Lap(1.0, 10)), (Lap(1.0, 10), Lap(1.2, 20))]
        found = paired(Setting("s"), Start(1.0, 0.5, ()), pairs, GIVEN, 10.0, 7)
        assert found.ratios == pytest.approx((0.5, 0.5, 0.6))
        assert found.step == pytest.approx(0.05)
        assert found.examples_per_second == pytest.approx(200)
        assert found.memory == 7

    def test_compares_per_example(self):
        found = paired(Setting("s"), Start(1.0, 0.5, ()), [(Lap(1.0, 10), Lap(1.0, 8))] * 3, GIVEN, 20.0, 0)
        assert found.ratio == pytest.approx(0.625)
        assert found.step == pytest.approx(0.125)
