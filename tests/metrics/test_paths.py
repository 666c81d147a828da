import pytest
from tallyloop.metrics import UsageError
from tallyloop.metrics.paths import flatten, join, normalize


class TestNormalize:
    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("loss", "loss"),
            ("loss/stage_1/combined", "loss/stage_1/combined"),
            ("stage_1.interm_1", "stage_1/interm_1"),
            ("a.b.c", "a/b/c"),
            ("_private._x", "_private/_x"),
            ("top-5.hits", "top-5/hits"),
            ("a.b/c.d", "a/b/c/d"),
            ("recall_at_0.5", "recall_at_0.5"),
            ("at_0.5.hits", "at_0.5/hits"),
            ("v1.2", "v1.2"),
        ],
    )
    def test_slashes_and_dots_between_identifiers_separate(self, name, path):
        assert normalize(name) == path

    @pytest.mark.parametrize(
        "name", ["", "/", "a/", "/a", "a//b", "a b", "a:b", "loss\n", "\u00e9", "100%", ".", "a/..", "a\\b"]
    )
    def test_refuses_a_malformed_name(self, name):
        with pytest.raises(UsageError, match=r"^Metric name .*: expected letters, digits") as caught:
            normalize(name)
        assert repr(name) in str(caught.value)

    @pytest.mark.parametrize("name", [3, None, b"loss", ("a", "b")])
    def test_refuses_what_is_not_a_string(self, name):
        with pytest.raises(UsageError, match=f"expected a string, got {type(name).__name__}"):
            normalize(name)


class TestFlatten:
    def test_nested_dicts_become_paths_in_their_order(self):
        tree = {"z": 1, "stage_1": {"a.b": 2, "deep": {"c": 3}}, "at_0.5": 4}
        assert list(flatten(tree)) == [("z", 1), ("stage_1/a/b", 2), ("stage_1/deep/c", 3), ("at_0.5", 4)]

    def test_refuses_a_malformed_name_at_any_depth(self):
        with pytest.raises(UsageError, match="'not good'"):
            list(flatten({"a": {"b": {"not good": 1}}}))


def test_join_leaves_empty_parts_out():
    assert join("", "a", "", "b/c") == "a/b/c"
