"""What the Trainer's arguments say about the compiled loops, made once; `Trainer` documents each setting."""

from __future__ import annotations

import dataclasses
from typing import Literal

OnNonFinite = Literal["halt", "skip", "rollback"]


@dataclasses.dataclass(frozen=True)
class UpdateSettings:
    """How the gradients of some steps become one update. See the `Trainer` arguments of the same names."""

    gradient_accumulation: int = 1
    clip_global_norm: float | None = None
    on_nonfinite: OnNonFinite = "halt"
    max_consecutive_skips: int = 10
    jit_compile: bool = False

    @property
    def allowed_skips(self) -> int:
        """The number of updates in a row that may be skipped; 0 stops at the first."""
        return self.max_consecutive_skips if self.on_nonfinite == "skip" else 0

    @property
    def allowed_rollbacks(self) -> int:
        """The number of rollbacks in a row; 0 never rolls back."""
        return self.max_consecutive_skips if self.on_nonfinite == "rollback" else 0
