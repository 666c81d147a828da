"""Sources of examples, and the feeds that cut them into global batches."""

from .feeds.feed import Feed
from .input import Input
from .sources.digits import digits
from .sources.files.npy import npy
from .sources.files.text import text
from .sources.idx import idx
from .sources.npz import npz
from .sources.tfrecord import tfrecord

__all__ = ["Feed", "Input", "digits", "idx", "npy", "npz", "text", "tfrecord"]
