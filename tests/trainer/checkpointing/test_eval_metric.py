"""A metric of the evaluations by its name: found, refused, compared."""

import math

import numpy as np
import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.checkpointing.eval_metric import EvalMetric

KNOWN = {"test": ["loss", "accuracy", "f1"]}
BOTH = {**KNOWN, "other": ["loss"]}


def metric(name, mode="max"):
    return EvalMetric("Some.metric", name, mode)


class TestName:
    @pytest.mark.parametrize("name", ["loss", "test/loss", "f1/class_0", "test/f1/class_0"])
    def test_of_the_only_dataset(self, name):
        metric(name).check(KNOWN)

    def test_needs_the_dataset_where_there_are_several(self):
        metric("other/loss").check(BOTH)
        with pytest.raises(
            UsageError, match=r"Some.metric = 'loss': no evaluation computes it\. Expected one of other/loss,"
        ):
            metric("loss").check(BOTH)

    def test_suggests_what_was_meant(self):
        with pytest.raises(
            UsageError, match=r"'acuracy': no evaluation computes it: did you mean \"accuracy\"\? Expected one"
        ):
            metric("acuracy").check(KNOWN)


class TestValue:
    @pytest.mark.parametrize(
        ("name", "evaluated", "only", "value"),
        [
            ("loss", {"test": {"loss": 2.0}}, True, 2.0),
            ("test/loss", {"test": {"loss": np.float32(2.5)}}, True, 2.5),
            ("loss", {"test": {}}, True, None),  # no examples
            ("test/loss", {"test": {"loss": 2.0}}, False, 2.0),
            ("loss", {"test": {"loss": 2.0}}, False, None),
        ],
    )
    def test_is_that_of_the_name(self, name, evaluated, only, value):
        assert metric(name).value(evaluated, only) == value

    def test_is_a_single_number(self):
        with pytest.raises(UsageError, match=r"Some.metric = 'f1' is an array: expected a single number"):
            metric("f1").value({"test": {"f1": np.ones(3)}}, True)

    def test_of_one_dataset_or_another(self):
        assert metric("loss").is_of("test", only=True)
        assert metric("test/loss").is_of("test", only=False)
        assert not metric("test/loss").is_of("other", only=False)


class TestBetter:
    @pytest.mark.parametrize(
        ("mode", "value", "than", "min_delta", "better"),
        [
            ("max", 0.5, 0.25, 0.0, True),
            ("max", 0.5, 0.5, 0.0, False),
            ("max", 0.5, 0.25, 0.25, False),
            ("min", 0.5, 0.25, 0.0, False),
            ("min", 0.25, 0.5, 0.125, True),
            ("min", 0.25, 0.5, 0.25, False),
            ("max", math.nan, 0.5, 0.0, False),
            ("max", 0.5, math.nan, 0.0, True),
            ("min", math.nan, math.nan, 0.0, False),
        ],
    )
    def test_is_more_or_less_by_the_mode(self, mode, value, than, min_delta, better):
        assert metric("loss", mode).is_better(value, than, min_delta) is better
