"""Creating a variable in the middle of a trace."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import tensorflow as tf

T = TypeVar("T")


@tf.autograph.experimental.do_not_convert
def outside_trace(create: Callable[[], T]) -> T:
    """Call `create` as if no `tf.function` were being traced, and return its result.

    The call runs in a thread of its own, because what is being traced is a property of the thread. `tf.init_scope` would
    do for tensors, but a `tf.function` that sees a variable being created traces itself a second time, even there.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(create).result()
