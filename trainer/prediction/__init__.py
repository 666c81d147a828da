"""Predictions for every example of a dataset. Importing this package does not import TensorFlow; its modules do."""

from typing import Literal, get_args

Format = Literal["npz", "jsonl", "parquet"]  # of the files of predictions
FORMATS: tuple[Format, ...] = get_args(Format)
NPZ: Format = "npz"
