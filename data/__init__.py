"""Where the examples come from, and how they are cut into batches."""

from .feed import Feed
from .input import Input
from .source_digits import digits
from .source_idx import idx
from .source_npz import npz
from .source_tfrecord import tfrecord

__all__ = ["Feed", "Input", "digits", "idx", "npz", "tfrecord"]
