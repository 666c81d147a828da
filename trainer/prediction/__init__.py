"""Predictions for every example of a dataset. Only its modules import TensorFlow."""

from typing import Literal, get_args

Format = Literal["npz", "jsonl", "parquet"]  # of the files of predictions
FORMATS: tuple[Format, ...] = get_args(Format)
NPZ: Format = "npz"
