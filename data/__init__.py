"""Sources of examples, and the feeds that cut them into global batches."""

from .feeds.feed import Feed
from .input import Input
from .sources.digits import digits
from .sources.files.npy import npy
from .sources.files.text import text
from .sources.idx import idx
from .sources.npz import npz
from .sources.plans.mixture import Mixture
from .sources.tables.csv import csv
from .sources.tables.parquet import parquet
from .sources.tfrecord import tfrecord

__all__ = ["Feed", "Input", "Mixture", "csv", "digits", "idx", "npy", "npz", "parquet", "text", "tfrecord"]
