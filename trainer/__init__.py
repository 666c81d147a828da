"""The training loop: a `Task` is what to train, a `Trainer` trains it."""

from ..metrics.lazy import lazy_exports

__all__ = ["NonFiniteError", "Task", "Trainer", "mirrored", "one_device"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "NonFiniteError": ".errors",
        "Task": ".task",
        "Trainer": ".trainer",
        "mirrored": ".strategies",
        "one_device": ".strategies",
    },
)
