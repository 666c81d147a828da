"""These fail when gin no longer has what `engine` takes from its private names."""

import subprocess
import sys

import gin
import gin.config
import pytest
from tallyloop.trainer.config import engine


class TestPrivateNames:
    @pytest.mark.parametrize(
        "name", ["_REGISTRY", "_INVERSE_REGISTRY", "_CONSTANTS", "_OPERATIVE_CONFIG", "_OPERATIVE_CONFIG_LOCK"]
    )
    def test_exists(self, name):
        assert hasattr(gin.config, name)


class TestConfigurables:
    def test_are_found_by_full_name(self):
        assert engine.configurables()["tests_config.tests_open"].name == "tests_open"
        assert engine.configurables()[engine.MACRO].name == "macro"

    def test_are_matched_by_partial_name(self):
        assert engine.matching("tests_open") == ["tests_config.tests_open"]
        assert sorted(engine.matching("tests_twin")) == ["tests_config.one.tests_twin", "tests_config.two.tests_twin"]

    def test_have_a_shortest_unambiguous_name(self):
        assert engine.shortest("tests_config.one.tests_twin") == "one.tests_twin"


class Announced:
    def __init__(self, number=1):
        self.number = number


class TestAnnounce:
    @pytest.mark.parametrize("by", ["tests_config.announced.Announced", Announced])
    def test_the_class_is_registered_at_its_first_use(self, by):
        engine.announce(Announced, "Announced", "tests_config.announced")
        assert engine.matching("Announced") == ["tests_config.announced.Announced"]
        before = engine.configurables()["tests_config.announced.Announced"]
        gin.parse_config("Announced.number = 2")
        made = gin.get_configurable(by)()
        assert (type(made), made.number) == (Announced, 2)
        assert engine.configurables()["tests_config.announced.Announced"] != before


class TestUsed:
    def test_holds_values_by_scope(self):
        gin.parse_config("tests_open.known_name = 5")
        with gin.config_scope("inner"):
            gin.get_configurable("tests_open")()
        assert engine.used() == {("inner", "tests_config.tests_open"): {"known_name": 5}}


class TestConstants:
    def test_are_found_by_partial_name(self):
        gin.constant("tests_config.TESTS_CONSTANT", 1)
        assert engine.constants("TESTS_CONSTANT") == ["tests_config.TESTS_CONSTANT"]
        assert engine.constants("REQUIRED") == ["gin.REQUIRED"]
        gin.clear_config(clear_constants=True)


class TestUnlocked:
    def test_unlocks_and_locks_again(self, load):
        load("tests_input.batch = 1\n")
        assert gin.config_is_locked()
        with engine.unlocked():
            gin.bind_parameter("tests_input.batch", 2)
        assert gin.config_is_locked()
        assert gin.get_configurable("tests_input")()["batch"] == 2

    def test_locks_again_after_an_exception(self, load):
        load("tests_input.batch = 1\n")
        with pytest.raises(ValueError, match="nothing"), engine.unlocked():
            gin.bind_parameter("nothing.batch", 2)
        assert gin.config_is_locked()


@pytest.mark.parametrize("module", ["tensorflow", "keras", "absl"])
def test_importing_the_package_does_not_import(module):
    code = "import sys; from tallyloop.trainer import config; [getattr(config, name) for name in config.__all__]; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print({module!r} in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
