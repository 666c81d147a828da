import pytest
from tallyloop.trainer.loop.schedule import Schedule


def events(schedule, most):
    """Runs the schedule in loops of at most so many steps; returns the steps at which loops end, and those of each event."""
    step, ends, found = 0, [], {"summarizes": [], "evaluates": [], "saves": []}
    while step < schedule.train_steps:
        step += schedule.loop_steps(step, most)
        ends.append(step)
        for name, steps in found.items():
            if getattr(schedule, name)(step):
                steps.append(step)
    return ends, found["summarizes"], found["evaluates"], found["saves"]


def test_a_loop_ends_at_each_event_and_at_the_end():
    ends, summaries, evaluations, saves = events(Schedule(23, 5, 7, 10), 100)
    assert ends == [5, 7, 10, 14, 15, 20, 21, 23]
    assert summaries == [5, 10, 15, 20, 23]
    assert evaluations == [7, 14, 21, 23]
    assert saves == [10, 20, 23]


def test_a_loop_is_never_longer_than_steps_per_loop():
    ends, summaries, evaluations, saves = events(Schedule(10, 100, 100, 4), 3)
    assert ends == [3, 4, 7, 8, 10]
    assert (summaries, evaluations, saves) == ([10], [10], [4, 8, 10])


def test_all_at_one_step_are_one_loop_end():
    assert events(Schedule(20, 10, 10, 10), 50) == ([10, 20],) + ([10, 20],) * 3


def test_intervals_past_the_end_happen_once_at_the_end():
    assert events(Schedule(3, 10, 10, 10), 50) == ([3],) * 4


@pytest.mark.parametrize(("step", "steps"), [(0, 4), (1, 3), (4, 4), (99, 1), (97, 3)])
def test_a_rerun_from_the_middle_meets_the_same_events(step, steps):
    assert Schedule(100, 4, 1000, 1000).loop_steps(step, 50) == steps


def test_the_longest_loop_is_what_the_intervals_leave():
    assert Schedule(train_steps=25, summary_interval=10, eval_interval=8, checkpoint_interval=100).longest_loop == 8
    assert Schedule(train_steps=5, summary_interval=10, eval_interval=8, checkpoint_interval=100).longest_loop == 5
