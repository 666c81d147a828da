"""Where the numbers go: TensorBoard, a JSON Lines file and other programs. Nothing here imports TensorFlow."""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .composed import AsyncWriter, MultiWriter
    from .jsonl import JsonlWriter
    from .outside.csv_file import CsvWriter
    from .outside.isolated import Writer
    from .outside.mlflow_run import MlflowWriter
    from .outside.wandb_run import WandbWriter
    from .summary import Ending, RunDescription, Summary, SummaryWriter
    from .tensorboard import TensorBoardWriter

__all__ = [
    "AsyncWriter",
    "CsvWriter",
    "Ending",
    "JsonlWriter",
    "MlflowWriter",
    "MultiWriter",
    "RunDescription",
    "Summary",
    "SummaryWriter",
    "TensorBoardWriter",
    "WandbWriter",
    "Writer",
]

if not TYPE_CHECKING:  # a type checker would take any name for an export
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "AsyncWriter": ".composed",
            "CsvWriter": ".outside.csv_file",
            "Ending": ".summary",
            "JsonlWriter": ".jsonl",
            "MlflowWriter": ".outside.mlflow_run",
            "MultiWriter": ".composed",
            "RunDescription": ".summary",
            "Summary": ".summary",
            "SummaryWriter": ".summary",
            "TensorBoardWriter": ".tensorboard",
            "WandbWriter": ".outside.wandb_run",
            "Writer": ".outside.isolated",
        },
    )
