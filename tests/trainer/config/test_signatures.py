import functools

from tallyloop.trainer.config import engine, list_configurables
from tallyloop.trainer.config.signatures import NO_DEFAULT, Parameter, Signature, Unresolved, signature


class Base:
    def __init__(self, needed, size: int = 3, **kwargs):
        pass


class Root:
    def __init__(self, *, root: str = "r"):
        pass


class Derived(Base, Root):
    def __init__(self, own: "list[int]", strange: "NoSuchName" = 1, **kwargs):  # noqa: F821
        super().__init__(**kwargs)


class Bare:
    pass


def of(target, allow=None, deny=None) -> Signature:
    return signature(engine.Configurable(target, target, "x", "m", None, allow, deny, "m.x"))


class TestClasses:
    def test_take_their_bases_parameters_while_constructors_take_kwargs(self):
        found = of(Derived)
        assert found.open
        assert list(found.parameters.values()) == [
            Parameter("own", list[int], NO_DEFAULT),
            Parameter("strange", Unresolved("NoSuchName"), 1),
            Parameter("needed", default=None),  # Derived may pass it
            Parameter("size", int, 3),
            Parameter("root", str, "r"),
        ]
        assert [parameter.required for parameter in found.parameters.values()] == [True, False, False, False, False]

    def test_without_a_constructor_take_nothing(self):
        found = of(Bare)
        assert (found.parameters, found.open) == ({}, False)
        assert "anything" not in found


class TestFunctions:
    def test_what_cannot_be_bound_by_name_is_left_out(self):
        def function(a, /, b, *args, c=1):
            pass

        assert list(of(function).parameters) == ["b", "c"]
        assert list(of(function, allow=["c"]).parameters) == ["c"]
        assert list(of(function, deny=["c"]).parameters) == ["b"]

    def test_a_decorator_is_seen_through(self):
        def function(b, c: int = 1):
            pass

        @functools.wraps(function)
        def decorated(*args, **kwargs):
            return function(*args, **kwargs)

        assert list(of(decorated).parameters.values()) == [Parameter("b"), Parameter("c", int, 1)]


class TestList:
    def test_has_parameters_defaults_and_first_lines(self):
        text = list_configurables()
        yours = text[text.index("Yours\n") :]
        assert "\n  TestsTask(width, depth=2)\n    A task for tests.\n" in yours
        assert "\n  tests_open(known_name=1, **kwargs)\n" in yours
        assert "It says more here" not in text
        assert "secret" not in text
        assert "macro" not in text
