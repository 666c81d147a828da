import pytest
from tallyloop.trainer.loop.schedule import LoopLength


def lengths(length, step_seconds, host_seconds, loops):
    """The lengths of loops whose steps and whose host take always as long."""
    found = []
    for _ in range(loops):
        found.append(length.steps)
        length.change(*length.wishes(length.steps, length.steps * step_seconds, host_seconds))
    return found


def test_a_number_stays_but_for_the_intervals():
    assert lengths(LoopLength(50, 1000), 1e-4, 1e-3, 3) == [50, 50, 50]
    assert LoopLength(50, 20).steps == LoopLength(50, 20).longest == 20


def test_loops_grow_until_the_host_has_under_two_percent():
    """The host's share is 0.1 / (0.1 + n): 0.024 with 4 steps of 1 s / 1000, 0.012 with 8."""
    assert lengths(LoopLength("auto", 1000), 1e-3, 1e-4, 5) == [1, 2, 4, 8, 8]


def test_they_do_not_grow_past_the_intervals_or_the_most_that_is_planned():
    assert lengths(LoopLength("auto", 5), 1e-5, 1e-3, 5) == [1, 2, 4, 5, 5]
    assert lengths(LoopLength("auto", 10**6), 1e-5, 1e-1, 12)[-1] == LoopLength("auto", 10**6).longest == 512


def test_a_loop_takes_about_a_second_at_most():
    """A run that is asked to stop does so at the end of a loop."""
    assert lengths(LoopLength("auto", 1000), 0.2, 1.0, 4) == [1, 2, 4, 4]
    assert lengths(LoopLength("auto", 1000), 3.0, 9.0, 2) == [1, 1]


def test_it_shrinks_when_steps_become_slow():
    length = LoopLength("auto", 1000)
    assert lengths(length, 1e-3, 1e-3, 7)[-1] == 64
    assert lengths(length, 0.05, 1e-3, 4) == [64, 32, 16, 16]


@pytest.mark.parametrize(("steps", "longer"), [(8, True), (7, False)])
def test_a_loop_that_was_cut_short_says_nothing(steps, longer):
    length = LoopLength("auto", 1000)
    lengths(length, 1e-6, 1.0, 3)
    assert length.wishes(steps, 1e-4, 1e-3) == (longer, False)


def test_what_one_worker_finds_too_long_is_shortened_for_all():
    length = LoopLength("auto", 1000)
    lengths(length, 1e-6, 1.0, 3)
    length.change(longer=True, shorter=True)
    assert length.steps == 4
