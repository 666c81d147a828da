"""Naming the first bad example of a source: its file or source, its index, and what it raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from .bad_examples import first_bad
from .elements import Nest
from .failures import reason
from .feeds.pipelines import mapped_examples
from .sources.records import Records


def name_first_bad(examples: tf.data.Dataset[Nest] | Nest, map_fn: Callable[..., Any] | None) -> str | None:
    """Return the place and reason of the first example that cannot be read or mapped; None if none was found.

    It is the first in the order of the source, so in a shuffled pass it may not be the one that ended the run.

    Args:
      examples: a dataset of single examples, or a nest of tensors with one row per example.
      map_fn: the map function, or None to read only.
    """
    if isinstance(examples, Records):
        return _name_record(examples, map_fn)
    bad = first_bad(mapped_examples(examples, map_fn))
    return None if bad is None else f"the source of Input, example {bad.index} (counted from 0): {reason(bad.error)}"


def _name_record(records: Records, map_fn: Callable[..., Any] | None) -> str | None:
    for file in records.files:
        bad = first_bad(mapped_examples(records.of([file]), map_fn))
        if bad is not None:
            return f"tfrecord: {file.path!r}, record {bad.index} (counted from 0): {reason(bad.error)}"
    return None
