"""A loaded config: its bindings, and lookups in them."""

import pytest
from tallyloop.trainer.config.config import Binding, Config, Location
from tallyloop.trainer.config.syntax import Macro

TRAINER = "tests_config.TestsTrainer"
INPUT = "tests_config.tests_input"


def config(*written):
    """A config of (scope, selector, param, value), in this order, on the lines 1, 2, ... of a.gin."""
    return Config(tuple(Binding(*each, Location("a.gin", i + 1), i) for i, each in enumerate(written)))


def macro(name, value):
    return name, "gin.macro", "value", value


class TestLocation:
    @pytest.mark.parametrize(
        ("location", "text"),
        [
            (Location("a.gin", 3), "a.gin:3"),
            (Location("a.gin"), "a.gin"),
            (Location("--gin_param", param="Trainer.train_steps=5"), '--gin_param "Trainer.train_steps=5"'),
        ],
    )
    def test_as_text(self, location, text):
        assert str(location) == text


class TestBinding:
    def test_as_text(self):
        one, other = config(("train/inner", INPUT, "names", ["a"]), macro("size", 8)).bindings
        assert str(one) == "train/inner/tests_input.names = ['a']"
        assert (one.name, one.value_text) == ("train/inner/tests_input.names", "['a']")
        assert one.key == ("train/inner", INPUT, "names")
        assert str(other) == "size = 8"
        assert (one.is_macro, other.is_macro) == (False, True)


class TestOverrides:
    def test_last_one_wins(self):
        found = config(
            ("", INPUT, "batch", 1), ("train", INPUT, "batch", 2), ("", INPUT, "batch", 3), ("", INPUT, "batch", 4)
        )
        assert {key[0]: binding.value for key, binding in found.effective.items()} == {"": 4, "train": 2}
        assert [(lost.value, won.value) for lost, won in found.overridden()] == [(1, 4), (3, 4)]

    def test_none(self):
        assert list(config(("", INPUT, "batch", 1), ("train", INPUT, "batch", 2)).overridden()) == []


class TestBindingsFor:
    FOUND = config(
        ("train/inner", INPUT, "batch", 3),
        ("", INPUT, "batch", 1),
        ("train", INPUT, "batch", 2),
        ("", INPUT, "path", "x"),
        ("", TRAINER, "rate", 0.5),
    )

    @pytest.mark.parametrize(
        ("scope", "batch"), [("", 1), ("test", 1), ("train", 2), ("train/other", 2), ("train/inner", 3), ("trainer", 1)]
    )
    def test_innermost_scope_wins(self, scope, batch):
        found = self.FOUND.bindings_for(scope, INPUT)
        assert {param: binding.value for param, binding in found.items()} == {"batch": batch, "path": "x"}

    def test_of_nothing_bound(self):
        assert self.FOUND.bindings_for("", "tests_config.TestsTask") == {}


class TestMacros:
    def test_lookup(self):
        found = config(macro("size", 8), macro("size", 16))
        assert found.macro("size").value == 16
        assert found.macro("other") is None

    def test_are_resolved_wherever_they_are(self):
        found = config(macro("size", 8), macro("sizes", [Macro("size"), 16]))
        value = {"a": Macro("sizes"), "b": (Macro("size"), 1)}
        assert found.resolved(value) == {"a": [8, 16], "b": (8, 1)}

    def test_undefined_and_circular_ones_stay(self):
        found = config(macro("a", Macro("b")), macro("b", [Macro("a")]))
        assert found.resolved(Macro("nowhere")) == Macro("nowhere")
        assert found.resolved(Macro("a")) == [Macro("a")]

    def test_used_twice_is_not_circular(self):
        assert config(macro("size", 8)).resolved([Macro("size"), Macro("size")]) == [8, 8]
