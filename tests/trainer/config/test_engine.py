"""These fail when gin no longer has what `engine` takes from its private names."""

import gin
import gin.config
import pytest
from tallyloop.trainer.config import engine, names


def test_gin_still_has_the_private_names():
    for name in ("_REGISTRY", "_INVERSE_REGISTRY", "_CONSTANTS", "_OPERATIVE_CONFIG", "_OPERATIVE_CONFIG_LOCK"):
        assert hasattr(gin.config, name), name


def test_configurables_are_found_by_full_and_by_partial_name():
    assert engine.configurables()["tests_config.tests_open"].name == "tests_open"
    assert engine.matching("tests_open") == ["tests_config.tests_open"]
    assert sorted(engine.matching("tests_twin")) == [
        "tests_config.one.tests_twin",
        "tests_config.two.tests_twin",
    ]
    assert engine.shortest("tests_config.one.tests_twin") == "one.tests_twin"
    assert engine.configurables()[engine.MACRO].name == "macro"


class Announced:
    def __init__(self, number=1):
        self.number = number


@pytest.mark.parametrize("by", ["tests_config.announced.Announced", Announced])
def test_a_class_that_is_announced_is_registered_when_it_is_used(by):
    engine.announce(Announced, "Announced", "tests_config.announced")
    assert engine.matching("Announced") == ["tests_config.announced.Announced"]
    before = engine.configurables()["tests_config.announced.Announced"]
    gin.parse_config("Announced.number = 2")
    made = gin.get_configurable(by)()
    assert (type(made), made.number) == (Announced, 2)
    assert engine.configurables()["tests_config.announced.Announced"] != before


def test_what_was_used_is_known_by_scope():
    gin.parse_config("tests_open.known_name = 5")
    with gin.config_scope("inner"):
        gin.get_configurable("tests_open")()
    assert engine.used() == {("inner", "tests_config.tests_open"): {"known_name": 5}}


def test_constants_are_found():
    gin.constant("tests_config.TESTS_CONSTANT", 1)
    assert engine.constants("TESTS_CONSTANT") == ["tests_config.TESTS_CONSTANT"]
    assert engine.constants("REQUIRED") == ["gin.REQUIRED"]
    gin.clear_config(clear_constants=True)


def test_anybodys_name_wins_over_keras(monkeypatch):
    both = ["keras.layers.Tests", "tests_config.Tests"]
    monkeypatch.setattr(engine, "matching", lambda selector: both)
    assert names.resolve("Tests") == "tests_config.Tests"


@pytest.mark.parametrize("module", ["tensorflow", "keras", "absl"])
def test_importing_the_package_imports_no(module):
    import subprocess
    import sys

    code = f"import sys, tallyloop.trainer.config.loading; print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
