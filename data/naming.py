"""Naming the first bad example of a source: its file, its index and what it raises."""

from collections.abc import Callable

import tensorflow as tf

from .bad_examples import first_bad, reason
from .feeds.feed import Nest
from .feeds.pipelines import MappedRows, mapped_examples
from .sources.records import Records


def name_first_bad(examples: tf.data.Dataset | Nest, map_fn: Callable | None) -> str | None:
    """Names the first example of the source that cannot be read or mapped; None if none was found.

    It is the first of the source, which in a shuffled pass need not be the one that was met.
    """
    if isinstance(examples, Records):
        return _name_record(examples, map_fn)
    bad = first_bad(mapped_examples(examples, map_fn))
    return None if bad is None else f"the source of Input, example {bad.index} (counted from 0): {reason(bad.error)}"


def name_row(rows: MappedRows, first_step: int) -> str | None:
    """Names the first row from a step on for which the map function raises; None if there is none within an epoch."""
    found = rows.first_bad(first_step)
    if found is None:
        return None
    return f"Input.map_fn, example {found[0]} of the source (counted from 0): {reason(found[1])}"


def with_fix(place: str) -> str:
    """A sentence with what can be done."""
    return f'{place}. Mend or remove it, or leave such examples out with Input.on_error = "skip"'


def _name_record(records: Records, map_fn: Callable | None) -> str | None:
    for file in records.files:
        bad = first_bad(mapped_examples(records.of([file]), map_fn))
        if bad is not None:
            return f"tfrecord: {file.path!r}, record {bad.index} (counted from 0): {reason(bad.error)}"
    return None
