"""The source `packed`: token sequences of different lengths, several to an example of fixed length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import gin
import numpy as np

from ....metrics.errors import UsageError
from ...checks import whole_number
from ..storage.files import kept
from ..storage.rows import checked
from .documents import Documents
from .packing import Plan, plan_packs


@gin.register(module="tallyloop")
def packed(
    source: Any, length: int, key: str = "tokens", tokenizer: Callable[[str], Sequence[int]] | None = None
) -> Packs:
    """Return the documents of a source in packs of `length` tokens, by row number; no token is lost or stands twice.

    All documents are read once, for their lengths. The plan that is made of these is kept in the cache folder if the source has
    a fingerprint and there is no tokenizer.

    Args:
      source: sequences of token numbers: a list, or an object with `__len__` and `__getitem__` or `__getitems__`, such as a
        Hugging Face dataset; or texts, such as `text` with lines, and a tokenizer.
      length: the tokens of a pack. A longer document is cut into pieces.
      key: where the source gives dicts, which value of them.
      tokenizer: text -> its token numbers.

    Returns:
      Rows of `tokens`, `segment_ids` (1, 2, ... for each piece in the pack, 0 where there is none) and `positions` (from 0 in
      each piece), all int32 (length,).

    Raises:
      UsageError: an argument is not as described, a document is no sequence of tokens, or there are none.
    """
    documents = Documents(source, key, tokenizer)
    size = whole_number("packed.length", length, least=1)
    told = documents.fingerprint
    if told is None:
        return Packs(documents, plan_packs(documents.lengths(), size), size)
    folder = kept(
        None, ("packed", told, len(documents), size), lambda place: plan_packs(documents.lengths(), size).save(place)
    )
    return Packs(documents, Plan.load(folder), size)


class Packs:
    """The packs of a plan, by row number.

    Args:
      documents: what is packed.
      plan: of these documents.
      length: the tokens of a pack.

    Raises:
      UsageError: there are no tokens.
    """

    def __init__(self, documents: Documents, plan: Plan, length: int):
        self._documents, self._plan, self._length = documents, plan, length
        if len(self) == 0:
            raise UsageError("packed.source has no tokens: expected at least one")
        digest = hashlib.sha256(repr(documents.fingerprint).encode())
        for array in plan:
            digest.update(np.ascontiguousarray(array).data)
        self.fingerprint: str = f"{len(self)} packs of {length} tokens ({digest.hexdigest()[:16]})"

    def __len__(self) -> int:
        return len(self._plan.packs) - 1

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the packs `tokens`, `segment_ids` and `positions`."""
        rows = checked(rows, len(self))
        found = {name: np.zeros((len(rows), self._length), np.int32) for name in ("tokens", "segment_ids", "positions")}
        for number, row in enumerate(rows.tolist()):
            self._fill({name: array[number] for name, array in found.items()}, row)
        return found

    def _fill(self, pack: dict[str, np.ndarray], row: int) -> None:
        plan, pieces = self._plan, slice(*self._plan.packs[row : row + 2].tolist())
        documents = plan.documents[pieces].tolist()
        end = 0
        for segment, (start, length, total, tokens) in enumerate(
            zip(
                plan.starts[pieces].tolist(),
                plan.lengths[pieces].tolist(),
                plan.totals[pieces].tolist(),
                self._documents.read(documents),
                strict=True,
            )
        ):
            if len(tokens) != total:
                raise UsageError(
                    f"packed: document {documents[segment]} (counted from 0) has {len(tokens)} tokens: expected {total}, as when "
                    "the plan was made; the source has changed without its fingerprint, or is not the same each time"
                )
            here = slice(end, end := end + length)
            pack["tokens"][here] = tokens[start : start + length]
            pack["segment_ids"][here], pack["positions"][here] = segment + 1, np.arange(length)
