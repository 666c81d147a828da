"""Retrieval: a tower for queries and one for items, trained so that each query finds its item among all of the global batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import keras
import numpy as np
import tensorflow as tf

from ... import metrics
from ...data.checks import number, whole_number
from ...metrics.errors import UsageError
from ...trainer import gather_rows
from ...trainer.task import Task
from ..batch import TARGETS, maker, outputs_of, part_of, wide
from .towers import dense_tower

_ROUNDING = 1e-6  # of a product, relative to the lengths of the vectors
_FIX = "set TwoTowerTask.query and TwoTowerTask.item"


class TwoTowers(keras.Model):
    """The two towers, each a model of its own."""

    def __init__(self, query: keras.Model, item: keras.Model):
        super().__init__(name="two_tower")
        self.query, self.item = query, item


@gin.register(module="tallyloop")
class TwoTowerTask(Task):
    """Softmax over in-batch negatives: the items of all other queries of the global batch, on whichever replica they are.

    A batch is a dict; or a tuple `(query, item)`. The metrics `recall_at_K` are the share of the queries whose item is among the
    K nearest of the global batch; an item that is as near, within rounding, counts as nearer. For the recall among a whole
    eval set, make its batch as large as the set.

    Args:
      query_tower: a function that returns a model from queries to vectors (batch, width), without parentheses.
      item_tower: the same for items.
      query: the key of the queries in the batch.
      item: the key of the items.
      item_id: the key of a whole number for each item: equal ones are not negatives of each other. None if items are such numbers
        themselves, or all differ.
      temperature: divides the products of vectors of length 1. Lower ones care more about the nearest items.
      recall_at: the numbers K.

    Raises:
      UsageError: an argument is not as described.
    """

    def __init__(
        self,
        query_tower: Callable[[], keras.Model] = dense_tower,
        item_tower: Callable[[], keras.Model] = dense_tower,
        query: str = "query",
        item: str = "item",
        item_id: str | None = None,
        temperature: float = 0.05,
        recall_at: Sequence[int] = (1, 10),
    ):
        if isinstance(recall_at, str) or not isinstance(recall_at, Sequence) or not recall_at:
            raise UsageError(
                f"TwoTowerTask.recall_at = {recall_at!r}: expected a list of whole numbers, such as [1, 10]"
            )
        self._make = (
            maker("TwoTowerTask.query_tower", query_tower, "dense_tower"),
            maker("TwoTowerTask.item_tower", item_tower, "dense_tower"),
        )
        self._keys, self._item_id = (query, item), item_id
        self._temperature = number("TwoTowerTask.temperature", temperature, above=0)
        self._recall_at = [whole_number("TwoTowerTask.recall_at", each, least=1) for each in recall_at]

    def build_model(self) -> TwoTowers:
        """Return both towers."""
        return TwoTowers(*(make() for make in self._make))

    def loss(self, model: TwoTowers, batch: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the cross-entropy of each query's own item, (batch,), and the logits, (batch, items of the global batch)."""
        queries, mine = self._vectors(model, batch, training)
        ids = self._ids(batch)
        (items, all_ids), places = gather_rows((mine, tf.zeros_like(queries[:, 0]) if ids is None else ids))
        logits = tf.matmul(queries, items, transpose_b=True) / self._temperature
        if ids is not None:
            others = tf.range(tf.shape(items, tf.int64)[0]) != places[:, tf.newaxis]
            logits = tf.where((all_ids == ids[:, tf.newaxis]) & others, logits.dtype.min, logits)
        own = tf.gather(logits, places, axis=1, batch_dims=1)[:, tf.newaxis]
        # At least as near, not nearer: where all vectors are one, nothing is found. Equal products differ by rounding.
        products = tf.norm(queries, axis=1, keepdims=True) * tf.reduce_max(tf.norm(items, axis=1)) / self._temperature
        rounding = _ROUNDING * tf.cast(products, tf.float32)
        before = tf.math.count_nonzero(tf.cast(logits, tf.float32) >= tf.cast(own, tf.float32) - rounding, 1) - 1
        for k in self._recall_at:
            metrics.add(f"recall_at_{k}", before < k)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(places, logits), logits

    def predict_step(self, model: TwoTowers, batch: Any) -> dict[str, tf.Tensor]:
        """Return the vectors of the `query` and of the `item`, (batch, width); of a batch with one of them, that one."""
        towers = dict(zip(self._keys, (model.query, model.item), strict=True))
        if isinstance(batch, Mapping) and (found := [key for key in self._keys if key in batch]):
            return {key: wide(towers[key](batch[key], training=False)) for key in found}
        return dict(zip(self._keys, self._vectors(model, batch, training=False), strict=True))

    def export(self, model: TwoTowers, folder: Path, batch_spec: Any = None) -> None:
        """Write each tower, into the folders `query` and `item`."""
        for place, (name, tower) in enumerate((("query", model.query), ("item", model.item))):
            (folder / name).mkdir()
            spec = None if batch_spec is None else part_of(batch_spec, self._keys[place], place, "The batch", _FIX)
            super().export(tower, folder / name, spec)

    def check_data(self, model: TwoTowers, arrays: Any, where: str) -> None:
        """Refuse numbers that an embedding does not have: TensorFlow's kernels would read zeros, or fail in mid-run.

        Raises:
          UsageError: there is one.
        """
        for place, (key, tower) in enumerate(zip(self._keys, (model.query, model.item), strict=True)):
            given = np.asarray(part_of(arrays, key, place, where, _FIX))
            table = next((layer for layer in tower.layers if isinstance(layer, keras.layers.Embedding)), None)
            if table is None:
                continue
            if given.dtype.kind not in "iu" or given.ndim != 1:
                raise UsageError(
                    f"{where}: {key!r} is {given.dtype} of shape {given.shape}: expected whole numbers of shape (n,) for an "
                    "embedding; take @dense_tower for features"
                )
            if not 0 <= given.min() <= given.max() < table.input_dim:
                raise UsageError(
                    f"{where}: {key!r} has numbers from {given.min()} to {given.max()}: expected numbers from 0 to "
                    f"{table.input_dim - 1}; set embedding_tower.size"
                )

    def _vectors(self, model: TwoTowers, batch: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        found = [part_of(batch, key, place, "The batch", _FIX) for place, key in enumerate(self._keys)]
        fix = "bind a tower that takes them: @dense_tower for features, @embedding_tower for numbers from 0 on"
        queries, items = (
            outputs_of(getattr(model, name), each, training, f"TwoTowerTask.{name}_tower", fix)
            for name, each in zip(("query", "item"), found, strict=True)
        )
        if queries.shape.rank != 2 or queries.shape[1:] != items.shape[1:]:
            raise UsageError(
                "TwoTowerTask: expected towers with vectors of one width (batch, width), got vectors of shape "
                f"{tuple(queries.shape[1:])} for queries and {tuple(items.shape[1:])} for items; set the width of both"
            )
        return wide(queries), wide(items)

    def _ids(self, batch: Any) -> tf.Tensor | None:
        if self._item_id is not None:
            return part_of(batch, self._item_id, len(self._keys), "The batch", "set TwoTowerTask.item_id")
        items = part_of(batch, self._keys[1], TARGETS, "The batch", _FIX)
        return items if items.dtype.is_integer and items.shape.rank == 1 else None
