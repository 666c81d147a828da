"""Where the numbers go: TensorBoard, a JSON Lines file and the console. Nothing here imports TensorFlow."""

from .composed import AsyncWriter, MultiWriter
from .console import ConsoleWriter
from .jsonl import JsonlWriter
from .summary import Summary, Writer
from .tensorboard import TensorBoardWriter

__all__ = [
    "AsyncWriter",
    "ConsoleWriter",
    "JsonlWriter",
    "MultiWriter",
    "Summary",
    "TensorBoardWriter",
    "Writer",
]
