import functools

from tallyloop.trainer.config import engine
from tallyloop.trainer.config.signatures import NOTHING, Parameter, Unresolved, signature


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


def of(target, **lists):
    return signature(engine.Configurable(target, target, "x", "m", None, *_lists(**lists), "m.x"))


def _lists(allow=None, deny=None):
    return allow, deny


def test_a_class_takes_its_bases_parameters_while_constructors_take_keywords():
    found = of(Derived)
    assert found.open
    assert list(found.parameters.values()) == [
        Parameter("own", list[int], NOTHING),
        Parameter("strange", Unresolved("NoSuchName"), 1),
        Parameter("needed", default=None),  # Derived may give it
        Parameter("size", int, 3),
        Parameter("root", str, "r"),
    ]
    assert [parameter.required for parameter in found.parameters.values()] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_class_without_a_constructor_takes_nothing():
    found = of(Bare)
    assert (found.parameters, found.open) == ({}, False)
    assert "anything" not in found


def test_what_cannot_be_bound_by_name_is_left_out():
    def function(a, /, b, *args, c=1):
        pass

    assert list(of(function).parameters) == ["b", "c"]
    assert list(of(function, allow=["c"]).parameters) == ["c"]
    assert list(of(function, deny=["c"]).parameters) == ["b"]


def test_a_decorator_is_seen_through():
    def function(b, c: int = 1):
        pass

    @functools.wraps(function)
    def decorated(*args, **kwargs):
        return function(*args, **kwargs)

    assert list(of(decorated).parameters.values()) == [Parameter("b"), Parameter("c", int, 1)]
