import dataclasses
import re

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.tuning.settings import (
    AS_GIVEN,
    Setting,
    alternatives,
    batch_sizes,
    combined,
    of_batch_size,
)


@pytest.fixture
def names(facts):
    """names(...) -> of what is tried for a config that differs so"""

    def names(cores=1, environment=None, **changed):
        found = alternatives(dataclasses.replace(facts, **changed), False, cores, environment or {})
        return [each.name for each in found]

    return names


@pytest.fixture
def reading(facts):
    """reading(...) -> the lines that are tried of the reading alone"""

    def reading(can_cache=False, **changed):
        found = alternatives(dataclasses.replace(facts, policy="other", **changed), can_cache, 1, {})
        return [line for each in found for line in each.bindings if "jit_compile" not in line]

    return reading


class TestAlternatives:
    def test_of_a_plain_config_on_two_cores(self, names):
        assert names(cores=2) == [
            "jit_compile = True",
            "read_processes = 1 (read ahead)",
            "intra-op threads = 1",
            "oneDNN",
            "memory pool",
            "mixed_bfloat16",
        ]

    def test_turn_off_what_is_on(self, names):
        assert "jit_compile = False" in names(jit_compile=True)
        assert "mixed_bfloat16" not in names(policy="mixed_bfloat16")
        assert [name for name in names(onednn=True) if "DNN" in name] == ["no oneDNN"]

    @pytest.mark.parametrize(("onednn", "value"), [(False, "1"), (True, "0")])
    def test_turn_onednn_on_or_off(self, facts, onednn, value):
        found = alternatives(dataclasses.replace(facts, onednn=onednn), False, 1, {})
        assert {"TF_ENABLE_ONEDNN_OPTS": value} in [each.variables for each in found]

    def test_what_the_environment_has_is_not_tried(self, names):
        assert "memory pool" in names(environment={"TF_CPU_ALLOCATOR_USE_BFC": "0"})
        assert "memory pool" not in names(environment={"TF_CPU_ALLOCATOR_USE_BFC": "1"})

    def test_huge_pages_where_they_have_to_be_asked_for(self, names):
        assert "huge pages" in names(huge_pages=True)
        assert "huge pages" not in names(huge_pages=False)
        assert "huge pages" not in names(huge_pages=True, environment={"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"})

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({}, ["train/Input.read_processes = 1"]),
            ({"cache": True}, ["train/Input.cache = False"]),
            ({"cache": True, "dataset": "Input", "maps": True}, ["Input.cache = False"]),
            ({"feed": "stream"}, []),
            ({"feed": "stream", "can_cache": True}, ["train/Input.cache = True"]),
            ({"feed": "rows"}, ["train/Input.read_threads = 4"]),
            ({"feed": "rows", "can_cache": True}, ["train/Input.cache = True", "train/Input.read_threads = 4"]),
            ({"feed": "rows", "transforms": True}, ["train/Input.read_threads = 4", "train/Input.read_processes = 1"]),
            ({"feed": "rows", "dataset": ""}, []),  # a function of the user's makes the Input
        ],
        ids=str,
    )
    def test_of_reading_depend_on_how_batches_come(self, reading, changed, expected):
        assert reading(**changed) == expected

    @pytest.mark.parametrize(
        ("cores", "given", "expected"),
        [
            (1, {}, []),
            (2, {}, ["intra-op threads = 1"]),
            (3, {}, ["intra-op threads = 1", "inter-op threads = 2"]),
            (8, {}, ["intra-op threads = 1", "intra-op threads = 4", "inter-op threads = 2"]),
            (8, {"replicas": 2}, ["intra-op threads = 1", "intra-op threads = 4"]),  # which wait for each other
            (3, {"environment": {"TF_NUM_INTRAOP_THREADS": "1"}}, ["inter-op threads = 2"]),
        ],
        ids=str,
    )
    def test_of_threads_are_fewer(self, names, cores, given, expected):
        assert [name for name in names(cores, **given) if "-op threads" in name] == expected

    def test_say_what_else_they_change(self, facts):
        mapped = dataclasses.replace(facts, feed="rows", maps=True)
        found = {each.name: each for each in alternatives(mapped, True, 2, {})}
        assert "random numbers" in found["cache = True (from memory)"].changes
        assert "bfloat16" in found["mixed_bfloat16"].changes
        assert [found[name].changes for name in ("jit_compile = True", "intra-op threads = 1")] == ["", ""]

    @pytest.mark.parametrize("maps", [False, True])
    def test_without_cache_map_fn_may_draw_other_numbers(self, facts, maps):
        cached = dataclasses.replace(facts, cache=True, maps=maps)
        (found,) = (each for each in alternatives(cached, False, 1, {}) if "cache" in each.name)
        assert ("random numbers" in found.changes) is maps

    def test_of_a_stream_say_that_its_order_changes(self, facts):
        (cached,) = (
            each for each in alternatives(dataclasses.replace(facts, feed="stream"), True, 1, {}) if each.remark
        )
        assert (cached.changes, "another order" in cached.remark) == ("", True)


class TestCombined:
    def test_has_all_of_each(self):
        one = Setting("one", ("a.b = 1",), {"X": "1"}, None, "this", "")
        other = Setting("other", ("c.d = 2",), {"Y": "2"}, "p", "that", "mind")
        expected = Setting("both", ("a.b = 1", "c.d = 2"), {"X": "1", "Y": "2"}, "p", "this; that", "mind")
        assert combined([one, other], "both") == expected


class TestLines:
    def test_name_their_places(self):
        setting = Setting("s", ("Trainer.jit_compile = True",), {"A": "1", "B": "2"}, "mixed_bfloat16")
        assert setting.lines == [
            "In the config:",
            "    import mixed_bfloat16",
            "    Trainer.jit_compile = True",
            "In mixed_bfloat16.py, in the working folder:",
            "    import keras",
            '    keras.config.set_dtype_policy("mixed_bfloat16")',
            "Before the command:",
            "    A=1 B=2",
        ]

    def test_of_the_config_as_given_are_none(self):
        assert AS_GIVEN.lines == []


class TestBatchSizes:
    @pytest.mark.parametrize(("text", "expected"), [(None, []), ("32", [32]), ("32, 64,8", [32, 64, 8])])
    def test_are_numbers_between_commas(self, text, expected):
        assert batch_sizes(text) == expected

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "between commas, such as 32,64, got ''."),
            ("32,", "got ''."),
            ("32;64", "got '32;64'."),
            ("0,32", "got '0'."),
            ("-1", "got '-1'."),
            ("3.5", "got '3.5'."),
            ("32,32", "expected different numbers, got 32 twice."),
            ("[32,64]", "got '[32'."),
        ],
    )
    def test_mistakes_are_refused(self, text, told):
        with pytest.raises(
            UsageError, match=rf"^--tune_batch_sizes={re.escape(text)}: (expected.*)?{re.escape(told)}$"
        ):
            batch_sizes(text)

    def test_bind_the_train_data(self):
        assert of_batch_size("train/Input", 32).bindings == ("train/Input.global_batch_size = 32",)
