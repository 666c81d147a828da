"""Where the numbers go: TensorBoard, a JSON Lines file and the console. Nothing here imports TensorFlow."""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
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

if not TYPE_CHECKING:  # a type checker would take any name for an export
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "AsyncWriter": ".composed",
            "ConsoleWriter": ".console",
            "JsonlWriter": ".jsonl",
            "MultiWriter": ".composed",
            "Summary": ".summary",
            "TensorBoardWriter": ".tensorboard",
            "Writer": ".summary",
        },
    )
