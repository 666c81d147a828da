"""The source `packed`: token sequences of different lengths, several to an example of fixed length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import gin
import numpy as np

from ....metrics.errors import UsageError
from ...checks import whole_number
from ..storage.files import cached
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
      UsageError: an argument is not as described, a document is not a sequence of tokens, or there are none.
    """
    documents = Documents(source, key, tokenizer)
    size = whole_number("packed.length", length, least=1)
    if not documents.covers_content:
        return Packs(documents, plan_packs(documents.lengths(), size), size)
    depends_on = ("packed", documents.fingerprint, len(documents), size)
    folder = cached(None, depends_on, lambda place: plan_packs(documents.lengths(), size).save(place))
    return Packs(documents, Plan.load(folder), size)


class Packs:
    """The packs of a plan, by row number.

    Args:
      documents: what is packed.
      plan: of these documents.
      length: the tokens of a pack.

    Attributes:
      fingerprint: what must be the same on a rerun: the plan, and the fingerprint of the documents, if they have one.
      covers_content: whether other documents have another fingerprint.

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
        self.covers_content: bool = documents.covers_content
        self.fingerprint: str = f"{len(self)} packs of {length} tokens ({digest.hexdigest()[:16]})"

    def __len__(self) -> int:
        return len(self._plan.packs) - 1

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the packs `tokens`, `segment_ids` and `positions`."""
        plan, rows = self._arrays, checked(rows, len(self))
        counts = plan.packs[rows + 1] - plan.packs[rows]  # pieces
        pieces = _ranges(plan.packs[rows], counts)
        lengths, within = plan.lengths[pieces], _ranges(np.ones(len(counts), np.int32), counts)
        positions = _ranges(np.zeros(len(lengths), np.int32), lengths)
        found = {
            "tokens": self._tokens(pieces, positions),
            "segment_ids": np.repeat(within, lengths),
            "positions": positions,
        }
        if len(positions) == len(rows) * self._length:  # all are full
            return {name: values.reshape(len(rows), self._length) for name, values in found.items()}
        owners = np.repeat(np.arange(len(rows)), counts)
        ends = np.cumsum(lengths)
        before = np.concatenate([[0], ends])[np.cumsum(counts) - counts]  # tokens in the packs before each
        places = np.repeat(owners * self._length + ends - lengths - before[owners], lengths) + positions
        return {name: self._spread(values, places, len(rows)) for name, values in found.items()}

    @property
    def _arrays(self) -> Plan:
        """The plan as plain arrays: NumPy's class for a mapping makes each operation slower, but goes to processes as a file."""
        return Plan(*map(np.asarray, self._plan))

    def _tokens(self, pieces: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the tokens of some pieces of the plan, one after the other; `positions` are those in their pieces."""
        plan = self._arrays
        documents, totals = plan.documents[pieces], plan.totals[pieces]
        whole = bool((plan.lengths[pieces] == totals).all())
        numbers, places = (documents, slice(None)) if whole else np.unique(documents, return_inverse=True)
        tokens, sizes = self._documents.joined(numbers)
        found = sizes[places]
        for wrong in np.flatnonzero(found != totals)[:1]:
            raise UsageError(
                f"packed: document {plan.documents[pieces[wrong]]} (counted from 0) has {found[wrong]} tokens: expected "
                f"{totals[wrong]}, as when the plan was made; the source has changed without its fingerprint, or is not the same "
                "each time"
            )
        if whole:
            return tokens
        begins = (np.cumsum(sizes) - sizes)[places] + plan.starts[pieces]
        return tokens[np.repeat(begins, plan.lengths[pieces]) + positions]

    def _spread(self, values: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
        """Return packs with values at some places, in rising order, and 0 elsewhere."""
        found = np.zeros(count * self._length, np.int32)
        found[places] = values
        return found.reshape(count, self._length)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return start, start + 1, ... of each length, one range after the other, in the dtype of the starts."""
    ends = np.cumsum(lengths)
    found = np.repeat((starts - (ends - lengths)).astype(starts.dtype), lengths)
    found += np.arange(len(found), dtype=starts.dtype)
    return found
