"""The wording of TensorFlow's errors."""

import pytest
import tensorflow as tf
from tallyloop.data.messages.failures import FAILURES, message, reason


def raised_by(examples):
    with pytest.raises(FAILURES) as caught:
        list(examples)
    return caught.value


class TestReason:
    def test_is_one_line_without_names_of_nodes(self):
        def check(i):
            with tf.control_dependencies([tf.debugging.Assert(i > 0, ["a bad one:", i])]):
                return tf.identity(i)

        error = raised_by(tf.data.Dataset.range(1).map(check))
        assert "{{" in str(error)
        assert reason(error) == "assertion failed: [a bad one:] [0]"

    def test_keeps_what_python_raised(self):
        def fail(i):
            raise ValueError("no luck")

        error = raised_by(tf.data.Dataset.range(1).map(lambda i: tf.py_function(fail, [i], tf.int64)))
        assert reason(error).startswith("ValueError: no luck")

    def test_falls_back_on_the_type(self):
        assert reason(tf.errors.DataLossError(None, None, "")) == "DataLossError"


def test_a_message_that_is_not_text_is_escaped():
    error = UnicodeDecodeError("utf-8", b"lost: \xff", 6, 7, "invalid start byte")
    assert message(error) == "lost: \\xff"
    assert reason(error) == "lost: \\xff"
