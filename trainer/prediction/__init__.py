"""Predictions for every example of a dataset. Nothing here imports TensorFlow before it is needed."""

from typing import Literal, get_args

Format = Literal["npz", "jsonl", "parquet"]  # of the files of predictions
FORMATS: tuple[Format, ...] = get_args(Format)
NPZ: Format = "npz"
