"""Sources of examples, and the feeds that cut them into global batches."""

from .feeds.feed import Feed
from .input import Input
from .sources.diabetes import diabetes
from .sources.digit_files import digits_as_images, digits_as_mnist
from .sources.digits import digit_halves, digits
from .sources.files.augment import augmented
from .sources.files.decode import decode_image
from .sources.files.images import images
from .sources.files.labelled import labelled_text, standard_packages
from .sources.files.npy import npy
from .sources.files.text import python_sources, text
from .sources.idx import idx
from .sources.libraries.array_record import array_record
from .sources.libraries.grain import grain
from .sources.libraries.huggingface import huggingface
from .sources.libraries.tfds import tfds
from .sources.mnist import mnist
from .sources.npz import npz
from .sources.plans.bucketed import bucketed
from .sources.plans.mixture import Mixture
from .sources.plans.packed import packed
from .sources.tables.csv import csv
from .sources.tables.parquet import parquet
from .sources.tfrecord import tfrecord

__all__ = [
    "Feed",
    "Input",
    "Mixture",
    "array_record",
    "augmented",
    "bucketed",
    "csv",
    "decode_image",
    "diabetes",
    "digit_halves",
    "digits",
    "digits_as_images",
    "digits_as_mnist",
    "grain",
    "huggingface",
    "idx",
    "images",
    "labelled_text",
    "mnist",
    "npy",
    "npz",
    "packed",
    "parquet",
    "python_sources",
    "standard_packages",
    "text",
    "tfds",
    "tfrecord",
]
