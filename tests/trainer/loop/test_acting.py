"""The actions of a run: which of their methods are called, and what they remember in its checkpoints."""

import functools
import math

import numpy as np
import pytest
from tallyloop.metrics import UsageError
from tallyloop.metrics.writers import Summary
from tallyloop.trainer.loop.acting import Actions, StopRequest

SUMMARY = Summary(1, "train", {}, {})


class Remembers:
    """An action that counts its summaries; the name is that of its memory."""

    def __init__(self, name, memory=None):
        self.name = name
        self.memory = memory

    def __call__(self, trainer, summary):
        self.memory = (self.memory or 0) + 1

    def state(self):
        return {"memory": self.memory}

    def restore(self, state):
        self.memory = state["memory"]


def actions(*each):
    return Actions(each, "the trainer", StopRequest())


def moved(before, after):
    """Save the first actions, and restore the others from that."""
    before.before_save()
    after._memory.assign(before._memory)
    after.after_restore()


class TestMemory:
    @pytest.mark.parametrize(
        "value",
        [
            0.1 + 0.2,
            -0.0,
            math.inf,
            2**70,
            "text, and ümlauts",
            None,
            True,
            [1, [2.5, "x"]],
            {"a": {"b": []}},
        ],
    )
    def test_is_the_same_after_a_restore(self, value):
        after = Remembers("a")
        moved(actions(Remembers("a", value)), actions(after))
        assert after.memory == value
        assert type(after.memory) is type(value)

    @pytest.mark.parametrize(
        "array",
        [
            np.array([[0.1, np.nan], [-np.inf, 3]], np.float32),
            np.zeros([0, 3], np.int8),
            np.arange(6).reshape(2, 3).T,
            np.array(["a", "bc"]),
            np.float64(0.1),
            np.array(7),
        ],
    )
    def test_holds_arrays_to_the_last_bit(self, array):
        after = Remembers("a")
        moved(actions(Remembers("a", {"in": [array]})), actions(after))
        (found,) = after.memory["in"]
        assert type(found) is type(array)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()

    def test_follows_the_name_not_the_place(self):
        one, other, new = Remembers("one"), Remembers("other"), Remembers("new", "fresh")
        moved(actions(Remembers("one", 1), Remembers("other", 2), Remembers("gone", 3)), actions(new, other, one))
        assert (one.memory, other.memory, new.memory) == (1, 2, "fresh")

    def test_of_a_removed_action_is_reported(self, caplog):
        moved(actions(Remembers("gone", 3)), actions(Remembers("one")))
        assert "Trainer.actions: what ['gone'] remembered is dropped" in caplog.text

    def test_is_named_after_the_class_otherwise(self):
        before, after = Remembers("x", 5), Remembers("x")
        del before.name, after.name
        moved(actions(before), actions(after))
        assert after.memory == 5

    def test_needs_different_names(self):
        with pytest.raises(UsageError, match=r"expected one action named 'a' with a state, got two"):
            actions(Remembers("a"), Remembers("a"))

    @pytest.mark.parametrize("value", [(1, 2), {1: 2}, {1, 2}, object(), np.array([object()]), b"bytes"])
    def test_that_cannot_be_saved_is_refused_before_the_first_step(self, value):
        with pytest.raises(UsageError, match=r"Trainer.actions: a.state\(\) returned .*: expected dicts with strings"):
            actions(Remembers("a", value)).check()

    def test_without_any_adds_nothing_to_the_checkpoint(self):
        assert actions(print).state() == {}
        assert actions(print, Remembers("a")).state().keys() == {"actions"}

    def test_an_error_of_restore_names_the_action(self):
        after = Remembers("a")
        after.restore = lambda state: state["other"]
        with pytest.raises(KeyError) as raised:
            moved(actions(Remembers("a", 1)), actions(after))
        assert raised.value.__notes__ == [
            "(while the action 'a' took what it remembered from the checkpoint: {'memory': 1})"
        ]


class Hooks:
    """Notes which of its methods are called, with what."""

    steps = (3, 5)

    def __init__(self, fails=False):
        self.log = []
        self.fails = fails

    def check(self, trainer):
        self.log.append(("check", trainer))

    def start(self, trainer):
        self.log.append(("start", trainer))

    def reached(self, trainer):
        self.log.append(("reached", trainer))

    def end(self, trainer):
        self.log.append(("end", trainer))
        if self.fails:
            raise ValueError("end failed")


class TestHooks:
    def test_are_called_with_the_trainer(self):
        hooks = Hooks()
        found = actions(hooks, print)
        found.check()
        with found.running():
            found.start()
            found.reached(3)
            found.reached(4)
        assert hooks.log == [(name, "the trainer") for name in ("check", "start", "reached", "end")]

    def test_the_end_comes_after_an_error_too(self):
        for fails, notes in ((False, []), (True, ["Later: ValueError('end failed')"])):
            hooks = Hooks(fails)
            with pytest.raises(KeyError) as raised, actions(hooks).running():
                raise KeyError
            assert hooks.log == [("end", "the trainer")]
            assert getattr(raised.value, "__notes__", []) == notes

    def test_only_what_is_callable_gets_summaries(self):
        seen = []
        for call in actions(Hooks(), lambda *given: seen.append(given)).on_summary:
            call(SUMMARY)
        assert seen == [("the trainer", SUMMARY)]

    def test_attributes_of_these_names_are_not_methods(self):
        class Plain:
            start, end, steps, state, check = 0.5, 1.5, 3, "on", True

            def __call__(self, trainer, summary):
                pass

        found = actions(Plain())
        found.check()
        with found.running():
            found.start()
        assert (found.marks, found.state()) == (frozenset(), {})

    @pytest.mark.parametrize("action", [lambda trainer: 0, lambda: 0, lambda a, b, c: 0])
    def test_a_function_of_other_parameters_is_told(self, action):
        (call,) = actions(action).on_summary
        with pytest.raises(
            UsageError, match=r"Trainer.actions = <function .*expected a function of \(trainer, summary\), got"
        ):
            call(SUMMARY)

    @pytest.mark.parametrize("action", [lambda trainer: 0, lambda: 0, lambda a, b, c: 0])
    def test_a_function_of_other_parameters_is_told_before_the_first_step(self, action):
        with pytest.raises(UsageError, match=r"expected a function of \(trainer, summary\), got one of \("):
            actions(print, action).check()

    def test_what_takes_both_passes(self):
        @functools.wraps(print)
        def bound_by_gin(trainer, summary, folder):
            pass

        actions(print, dict.update, lambda *both: 0, lambda a, b, c=0: 0, bound_by_gin, Remembers("a")).check()

    def test_an_error_inside_stays_itself(self):
        (call,) = actions(lambda trainer, summary: (lambda x: x)()).on_summary
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            call(SUMMARY)

    def test_steps_to_the_next_mark(self):
        found = actions(Hooks(), print)
        assert [found.steps_to_mark(step) for step in (0, 2, 3, 4, 5)] == [3, 1, 2, 1, None]


class TestStopRequest:
    def test_of_one_worker(self, mirrored_on):
        stop = StopRequest()
        stop.ask("first")
        stop.ask("second")
        assert stop.agree(mirrored_on(1), 7) == stop.outcome == "stopped at step 7: first"
