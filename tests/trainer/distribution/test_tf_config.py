"""TF_CONFIG: every way to get it wrong is reported with what was got and what is expected."""

import json

import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.distribution import tf_config

WORKERS = {"worker": ["a:1", "b:2"]}

FIRST = {"type": "worker", "index": 0}


def text(cluster=None, task=None):
    return json.dumps({"cluster": WORKERS if cluster is None else cluster, "task": FIRST if task is None else task})


BAD = {
    "not_json": ("{cluster", ["isn't JSON", "{cluster"]),
    "not_an_object": ("[1]", ["'cluster' and 'task'", "[1]"]),
    "no_cluster": (json.dumps({"task": FIRST}), ["'cluster'", "None"]),
    "empty_cluster": (text({}), ["'cluster'", "{}"]),
    "no_task": (json.dumps({"cluster": WORKERS}), ["'task'", "None"]),
    "no_index": (text(task={"type": "worker"}), ["'task'", "'index'"]),
    "index_too_large": (text(task={"type": "worker", "index": 2}), ["index 2", "from 0 to 1"]),
    "index_negative": (text(task={"type": "worker", "index": -1}), ["index -1", "from 0 to 1"]),
    "index_is_a_float": (text(task={"type": "worker", "index": 0.5}), ["index 0.5", "from 0 to 1"]),
    "index_is_true": (text(task={"type": "worker", "index": True}), ["index True", "from 0 to 1"]),
    "index_is_a_word": (text(task={"type": "worker", "index": "first"}), ["'first'", "from 0 to 1"]),
    "unknown_type": (text(task={"type": "wroker", "index": 0}), ["'wroker'", "'chief' or 'worker'"]),
    "type_not_in_cluster": (text(task={"type": "chief", "index": 0}), ["'chief'", "only 'worker'"]),
    "evaluator": (text(task={"type": "evaluator", "index": 0}), ["'evaluator'", "--mode=eval"]),
    "parameter_server": (text({**WORKERS, "ps": ["c:3"]}), ["'ps'", "asynchronously"]),
    "no_port": (text({"worker": ["a", "b:2"]}), ["'a'", "host:port"]),
    "port_is_a_word": (text({"worker": ["a:http", "b:2"]}), ["'a:http'", "host:port"]),
    "port_out_of_range": (text({"worker": ["a:65536", "b:2"]}), ["'a:65536'", "host:port"]),
    "address_is_a_number": (text({"worker": [2222, "b:2"]}), ["2222", "host:port"]),
    "addresses_are_text": (text({"worker": "a:1,b:2"}), ["'a:1,b:2'", "a list"]),
    "no_addresses": (text({"worker": []}), ["[]", "a list"]),
    "twice": (text({"worker": ["a:1", "a:1"]}), ["'a:1'", "more than once"]),
    "twice_with_the_chief": (text({"chief": ["a:1"], "worker": ["a:1"]}), ["'a:1'", "more than once"]),
    "two_chiefs": (text({"chief": ["a:1", "b:1"], "worker": ["c:1"]}), ["2 chiefs", "at most one"]),
}


class TestRead:
    def test_numbers_workers_in_order(self):
        place = tf_config.read(text(task={"type": "worker", "index": 1}))
        assert (place.addresses, place.index, place.port) == (("a:1", "b:2"), 1, 2)
        assert place.peers == {0: ("a", 1)}

    def test_chief_comes_first(self):
        cluster = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}
        place = tf_config.read(text(cluster, {"type": "worker", "index": 1}))
        assert (place.addresses, place.index) == (("c:3", "a:1", "b:2"), 2)
        assert tf_config.read(text(cluster, {"type": "chief", "index": 0})).index == 0

    def test_index_as_a_string(self):
        assert tf_config.read(text(task={"type": "worker", "index": "1"})).index == 1

    def test_ipv6(self):
        assert tf_config.read(text({"worker": ["[::1]:1", "[fe80::1]:2"]})).peers == {1: ("fe80::1", 2)}

    def test_reads_what_is_written(self):
        place = tf_config.read(tf_config.write(["a:1", "b:2"], 1))
        assert (place.addresses, place.index) == (("a:1", "b:2"), 1)

    @pytest.mark.parametrize("case", BAD)
    def test_reports_what_is_wrong(self, case):
        given, fragments = BAD[case]
        with pytest.raises(UsageError) as error:
            tf_config.read(given)
        for fragment in ["TF_CONFIG", *fragments, "10.0.0.1:2222"]:
            assert fragment in str(error.value)

    def test_example_in_the_messages(self):
        assert tf_config.read(tf_config.EXAMPLE.removeprefix("TF_CONFIG='").removesuffix("'")).index == 0
