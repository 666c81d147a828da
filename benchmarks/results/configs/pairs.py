"""The config of pairs: two_tower."""

from __future__ import annotations

import numpy as np

from ..config import ABOVE, Config, Figure, Reference, last
from ..run import Run

_COMPONENTS = 16  # the best of 8, 16 and 24 on the test set, to the reference's advantage


def recall(scores: np.ndarray, k: int) -> float:
    """Return the share of the rows in whose scores the diagonal is among the k largest; a tie counts against it."""
    own = np.diag(scores)[:, None]
    return float(((scores >= own).sum(1) - 1 < k).mean())


def correlation(k: int) -> Reference:
    """Return the recall of scikit-learn's canonical correlation analysis, a linear two-tower model."""
    from sklearn.cross_decomposition import CCA
    from tallyloop.data import digit_halves

    train, test = (digit_halves(split) for split in ("train", "test"))
    flat = [each[key].reshape(len(each[key]), -1) for each in (train, test) for key in ("query", "item")]
    model = CCA(_COMPONENTS, max_iter=2000).fit(*flat[:2])
    query, item = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in model.transform(*flat[2:]))
    return Reference(f"canonical correlation, {_COMPONENTS} components", recall(query @ item.T, k))


def _at(k: int) -> Figure:
    def reference(run: Run) -> Reference:
        return correlation(k)

    return Figure(f"recall at {k} of the 359 test items", last(f"recall_at_{k}"), ABOVE, reference)


CONFIGS = (
    Config(
        "two_tower",
        "retrieval: the right half of an image for its left half",
        """
A tower for queries and one for items; the items of all other queries of the global batch are the wrong answers. Look at it
for `gather_rows`, with which a loss compares the examples of all replicas and still trains to the same weights on any number
of them, and for a metric over the global batch. Your own pairs come as arrays (`npz`), or as numbers of users and items in a
CSV file; the config's head says how.
""",
        (_at(10), _at(1)),
        curve="recall_at_10",
    ),
)
