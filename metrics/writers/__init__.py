"""Where the numbers go: TensorBoard, a JSON Lines file and the console."""

from .background import AsyncWriter
from .console import ConsoleWriter
from .jsonl import JsonlWriter
from .multi import MultiWriter
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
