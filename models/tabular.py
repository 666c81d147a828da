"""A number predicted from the columns of a table: numbers, categories, and weights of the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gin
import keras
import numpy as np
import tensorflow as tf

from ..metrics.errors import UsageError
from .batch import FEATURES, numbers_of, part_of, training_rows
from .networks.dropout import InvariantDropout, dropout_rate
from .regression import Loss, RegressionTask

_WHERE = "TabularTask.rows"
_WIDE = "float32"  # of the layers that have columns in their own unit, which half precision would round
# What a layer cannot be called: nothing, a path, or as Keras calls the operations below.
_NO_NAME = re.compile(r"|.*/.*|(stack|expand_dims)(_\d+)?", re.DOTALL)


@gin.register(module="tallyloop")
class TabularTask(RegressionTask):
    """Regression on columns by a linear model plus a network, with the metrics `mae` and `rmse`, in the unit of the target.

    The mean and variance of the numbers, the categories, and the scale of the target are learned from the training rows, and are
    a part of the model: an exported model takes the columns as they are in the file. A category that the training rows lack is
    "another one", which has a place of its own. A column of numbers that is constant in them is shifted, and not scaled.

    Args:
      rows: a source of training rows, without parentheses: `@train/csv`. They are read again for predictions and exports, and
        compared with what the checkpoint says was learned.
      target: the column to predict, of numbers.
      numeric: the columns of numbers.
      categorical: the columns of strings or whole numbers that stand for categories.
      hidden: the widths of the network's layers; empty for the linear model alone.
      dropout: the fraction of each hidden layer's outputs dropped in training; see `InvariantDropout`.
      most_categories: of a column; the rarest beyond them are "another one".
      loss: see `RegressionTask`.
      sample_weight: the column of the rows' weights, which a batch of an evaluation may lack; see `RegressionTask`.

    Raises:
      UsageError: an argument is not as described.
    """

    _TARGETS = "TabularTask.target"

    def __init__(
        self,
        rows: Callable[[], Any],
        target: str,
        numeric: Sequence[str] = (),
        categorical: Sequence[str] = (),
        hidden: Sequence[int] = (64, 64),
        dropout: float = 0.0,
        most_categories: int = 1000,
        loss: Loss = "mse",
        sample_weight: str | None = None,
    ):
        super().__init__(self._model, targets=target, loss=loss, sample_weight=sample_weight)
        self._rows, self._target, self._weight = rows, target, sample_weight
        self._numeric = _names("TabularTask.numeric", numeric)
        self._categorical = _names("TabularTask.categorical", categorical)
        self._hidden, self._most = hidden, most_categories
        self._dropout = dropout_rate("TabularTask.dropout", dropout)
        named = [*self._numeric, *self._categorical]
        if not named:
            raise UsageError("TabularTask.numeric, TabularTask.categorical: expected at least one column, got none")
        if twice := [name for name in named if named.count(name) > 1 or name in (target, sample_weight)]:
            raise UsageError(
                f"TabularTask: the column {twice[0]!r} is named twice: expected each in one of numeric, categorical, target and "
                "sample_weight"
            )

    def _model(self) -> keras.Model:
        table = training_rows(self._rows, _WHERE)
        target = _numbers(table, self._target, "target")
        if self._weight is not None and _numbers(table, self._weight, "sample_weight").min() < 0:
            raise UsageError(f"{_WHERE}: column {self._weight!r} has a weight below 0: expected weights of at least 0")
        names = _LayerNames([*self._numeric, *self._categorical])
        inputs, features = self._inputs(table, names)
        wide = keras.layers.Concatenate(name=names("features"))(features) if len(features) > 1 else features[0]
        outputs = keras.layers.Dense(1, name=names("linear"))(wide)
        if self._hidden:
            outputs = keras.layers.Add(name=names("sum"))([outputs, self._network(wide, names)])
        scale, offset = float(target.std()) or 1.0, float(target.mean())
        predicted = keras.layers.Rescaling(scale, offset, dtype=_WIDE, name=names(self._target))(outputs)
        return keras.Model(inputs, predicted, name="tabular")

    def _inputs(self, table: Mapping[str, Any], names: _LayerNames) -> tuple[dict[str, Any], list[Any]]:
        """Return column -> input, and the features made of all of them."""
        inputs, features = {}, []
        if self._numeric:
            columns = np.stack([_numbers(table, name, "numeric") for name in self._numeric], axis=-1)
            inputs |= {name: _input(name, "float32", names) for name in self._numeric}
            features.append(_normalized([inputs[name] for name in self._numeric], columns, names("normalization")))
        for name in self._categorical:
            values = _categories(table, name)
            inputs[name] = _input(name, values.dtype.name if values.dtype != object else "string", names)
            features.append(_one_hot(inputs[name], values, names(f"categories_{name}"), self._most))
        return inputs, features

    def _network(self, features: Any, names: _LayerNames) -> Any:
        for number, width in enumerate(self._hidden):
            features = keras.layers.Dense(width, "relu", name=names(f"hidden_{number}"))(features)
            features = InvariantDropout(self._dropout, name=names(f"dropout_{number}"))(features)
        return keras.layers.Dense(1, name=names("network"))(features)

    def _features_of(self, model: keras.Model, batch: Any) -> dict[str, tf.Tensor]:
        fix = "correct TabularTask.numeric and TabularTask.categorical"
        column = {
            name: part_of(batch, name, FEATURES, "The batch", fix) for name in (*self._numeric, *self._categorical)
        }
        numbers = {name: numbers_of(column[name], name, "TabularTask.numeric") for name in self._numeric}
        known: Any = model.input  # a dict
        return numbers | {name: _of_kind(column[name], name, known[name].dtype) for name in self._categorical}


@gin.register(module="tallyloop")
def balanced_rows(rows: Callable[[], Any], column: str, weight: str = "weight") -> dict[str, Any]:
    """Return the rows of a source with weights by which each value of a column counts the same in all: a source of training rows.

    Args:
      rows: a source, without parentheses: `@train/csv`.
      column: the column of categories.
      weight: the name of the new column. Of n rows with k values in `column`, one whose value m rows have weighs n / (k * m), so
        that the mean is 1.

    Raises:
      UsageError: `rows` is not such a source, lacks the column, or has the new one.
    """
    table = training_rows(rows, "balanced_rows.rows")
    if weight in table:
        raise UsageError(
            f"balanced_rows.weight = {weight!r}: expected a new name, and the rows have such a column already"
        )
    _, place, counts = np.unique(
        _column(table, column, "balanced_rows.column"), return_inverse=True, return_counts=True
    )
    return {**table, weight: (len(place) / (len(counts) * counts[place])).astype(np.float32)}


class _LayerNames:
    """Names of layers, which must be unique in a model and valid in TensorFlow's graph, whatever the columns are called."""

    def __init__(self, columns: Iterable[str]):
        self._taken = set(columns)  # by the inputs

    def __call__(self, name: str) -> str:
        """Return the name; with other characters where a layer cannot have them, and longer if it is taken."""
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", name) or "_"
        while name in self._taken or _NO_NAME.fullmatch(name):
            name += "_"
        self._taken.add(name)
        return name


def _input(column: str, dtype: str, names: _LayerNames) -> Any:
    """Return the input of a column. Its tensor has the column's name, as Keras compares it with the key in the model's dict."""
    found: Any = keras.Input((), name=names("column") if _NO_NAME.fullmatch(column) else column, dtype=dtype)
    found.name = column
    return found


def _normalized(inputs: Sequence[Any], columns: np.ndarray, name: str) -> Any:
    layer = keras.layers.Normalization(dtype=_WIDE, name=name)
    layer.adapt(columns)
    # Of a constant column, rounding leaves a deviation near 0, by which a value that is new would be divided.
    constant = columns.min(axis=0) == columns.max(axis=0)
    layer.adapt_variance.assign(np.where(constant, 1, layer.adapt_variance))
    layer.finalize_state()
    return layer(keras.ops.stack(inputs, axis=-1))


def _one_hot(inputs: Any, values: np.ndarray, name: str, most: int) -> Any:
    lookup = keras.layers.StringLookup if values.dtype == object else keras.layers.IntegerLookup
    layer = lookup(max_tokens=most + 1, output_mode="one_hot", name=name)
    layer.adapt(tf.constant(values))
    return layer(keras.ops.expand_dims(inputs, -1))


def _of_kind(column: tf.Tensor, name: str, known: str) -> tf.Tensor:
    """Return a column of categories, which must be strings if those of the training rows are."""
    if (column.dtype == tf.string) != (known == "string"):
        expected, dtype = ("strings", "string") if known == "string" else ("whole numbers", "int64")
        raise UsageError(
            f"The batch: column {name!r} holds {column.dtype.name}: expected {expected}, as in the training rows; give all files "
            f"one dtype, as in csv.columns = {{{name!r}: {dtype!r}}}"
        )
    return column


def _names(binding: str, columns: Any) -> list[str]:
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise UsageError(f"{binding} = {columns!r}: expected a list of columns, such as ['age', 'height']")
    return list(columns)


def _column(table: Mapping[str, Any], name: str, binding: str) -> np.ndarray:
    if name not in table:
        raise UsageError(
            f"{binding}: {name!r} is not a column of the training rows: expected one of {sorted(table)}; correct it"
        )
    column = np.asarray(table[name])
    if column.ndim != 1:
        raise UsageError(f"{_WHERE}: column {name!r} has shape {column.shape}: expected one value per row")
    return column


def _numbers(table: Mapping[str, Any], name: str, argument: str) -> np.ndarray:
    """Return a column as float32.

    Raises:
      UsageError: it isn't there, or a row has none.
    """
    column = _column(table, name, f"TabularTask.{argument}")
    if column.dtype.kind in "OSU":
        cells = column.tolist()
        row, value = next((each for each in enumerate(cells) if not _is_number(each[1])), (0, cells[0]))
        raise UsageError(
            f"{_WHERE}: column {name!r}, row {row} (counted from 0): expected a number, as TabularTask.{argument} has the "
            f"column, got {value!r}; correct the file, or name the column in TabularTask.categorical. With a dtype in the "
            f"source, as in csv.columns = {{{name!r}: 'float32'}}, the message names the line"
        )
    numbers = column.astype(np.float32)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise UsageError(
            f"{_WHERE}: column {name!r}, row {row} (counted from 0): expected a finite number, got {column[row]}; correct "
            "the file"
        )
    return numbers


def _categories(table: Mapping[str, Any], name: str) -> np.ndarray:
    """Return a column as strings, in objects, or as int64."""
    column = _column(table, name, "TabularTask.categorical")
    if column.dtype.kind in "OSU":
        return column.astype(object)
    if column.dtype.kind in "iub":
        return column.astype(np.int64)
    raise UsageError(
        f"{_WHERE}: column {name!r} is {column.dtype}: expected strings or whole numbers, as TabularTask.categorical has it; "
        "name it in TabularTask.numeric"
    )


def _is_number(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except ValueError:
        return False
