import pytest
from tallyloop.metrics.stopwatch import Speedometer, Stopwatch


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def speed(clock):
    return Speedometer(clock)


def advance(speed, clock, step, seconds):
    clock.now += seconds
    speed.advance(step)


class TestStopwatch:
    def test_nested_pauses_do_not_count(self, clock):
        watch = Stopwatch(clock)
        start = watch.elapsed()
        clock.now += 1
        with watch.paused():
            clock.now += 30
            with watch.paused():
                clock.now += 30
            assert watch.elapsed() - start == 1
            clock.now += 30
        clock.now += 2
        assert watch.elapsed() - start == 3

    def test_an_error_ends_the_pause(self, clock):
        watch = Stopwatch(clock)
        start = watch.elapsed()

        def failing_evaluation():
            with watch.paused():
                clock.now += 30
                raise KeyError

        with pytest.raises(KeyError):
            failing_evaluation()
        clock.now += 4
        assert watch.elapsed() - start == 4


class TestSpeedometer:
    def test_the_first_step_starts_the_clock(self, speed, clock):
        advance(speed, clock, 100, 10)
        assert (speed.step, speed.steps_per_second) == (100, None)
        advance(speed, clock, 200, 10)
        assert (speed.step, speed.steps_per_second) == (200, 10.0)

    def test_lap_starts_a_new_interval(self, speed, clock):
        advance(speed, clock, 100, 10)
        advance(speed, clock, 200, 10)
        speed.lap()
        assert speed.steps_per_second == 10.0
        advance(speed, clock, 300, 1)
        assert speed.steps_per_second == 100.0

    def test_a_step_reported_twice_is_not_a_standstill(self, speed, clock):
        advance(speed, clock, 100, 1)
        advance(speed, clock, 200, 1)
        speed.lap()
        advance(speed, clock, 200, 1)
        assert speed.steps_per_second == 100.0
        advance(speed, clock, 300, 1)  # the 100 steps took 2 s
        assert speed.steps_per_second == 50.0

    def test_a_rollback_starts_a_new_interval(self, speed, clock):
        advance(speed, clock, 100, 1)
        advance(speed, clock, 200, 1)
        advance(speed, clock, 50, 7)
        advance(speed, clock, 150, 4)
        assert speed.steps_per_second == 25.0

    def test_pauses_do_not_count(self, speed, clock):
        advance(speed, clock, 100, 0)
        clock.now += 1
        with speed.paused():
            advance(speed, clock, 150, 90)
            assert speed.steps_per_second == 50.0
        advance(speed, clock, 200, 1)
        assert speed.steps_per_second == 50.0
