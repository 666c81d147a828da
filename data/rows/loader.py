"""Loading the examples of a step: read by number, transformed in Python, mapped by TensorFlow."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError, UsageError
from ..checks import with_fix
from ..elements import Nest, batch_spec
from ..feeds.feed import Share
from ..feeds.order import Order
from .mapped import Mapped
from .processes.processes import Processes
from .rows import Rows
from .shares import Shares
from .transforms import Examples, Transform

_MOST_BAD_IN_A_ROW = 1000  # a source that begins with so many is not what the user thinks it is
_WHOLE = Share(0, 1)


class Good(NamedTuple):
    """The rest of a global batch without its bad examples.

    Attributes:
      examples: a nest of arrays (k, ...); None if all are bad.
      lost: the number of bad ones.
      reason: what is wrong with the first of them; empty if there is none.
    """

    examples: Nest | None
    lost: int
    reason: str


class Loader:
    """Loads the examples of any step. May be called by several threads at once.

    Args:
      rows: the source.
      order: the order of its rows.
      transform: `Input.transform`, or None.
      map_fn: `Input.map_fn`, or None.
      skip: whether `good` will be asked for; the first rows may be bad then.
      processes: `Input.read_processes`.

    Attributes:
      element_spec: a nest of `tf.TensorSpec`, a single example.
      maps: whether there is a `map_fn`.
      repeatable: whether `map_fn` gives the same again for the same row.
      processes: how many read.
    """

    def __init__(
        self,
        rows: Rows,
        order: Order,
        transform: Transform | None = None,
        map_fn: Callable[..., Any] | None = None,
        skip: bool = False,
        processes: int = 0,
    ):
        self._rows = rows
        examples = Examples(rows, transform, order.seed)
        self._read = examples.read
        self._shares = Shares(order, rows.arrange)
        self._origin = "the source of Input" if transform is None else "Input.transform"
        self._first, spec = self._spec_of_first(skip)
        self._spec = spec
        self._kinds = [_Kind.of(each) for each in tf.nest.flatten(spec)]
        self._mapped = None if map_fn is None else Mapped(map_fn, spec, order.seed, rows.name)
        self.element_spec: Nest = spec if self._mapped is None else self._mapped.element_spec
        self.maps: bool = self._mapped is not None
        self.processes: int = processes
        if processes:
            self._read = Processes(examples, processes).read
        self.repeatable: bool = self._mapped is None or self._mapped.repeatable

    def specs(self, size: int | None) -> list[tf.TensorSpec]:
        """Return what `block` gives of a step of so many examples."""
        flat = tf.nest.flatten(batch_spec(self._spec, size))
        return flat if self._mapped is None else [*flat, tf.TensorSpec([size, 2], tf.int32)]

    def block(self, first: int, count: int, share: Share) -> list[np.ndarray]:
        """Return the examples of `count` steps of one epoch, flattened, (count, k, ...); before `map_fn`, with its seeds.

        Raises:
          DataError: one cannot be read or transformed. The message names its row.
        """
        epoch, rows = self._shares.block(first, count, share)
        flat = tf.nest.flatten(self._fitting(epoch, rows.ravel()))
        if self._mapped is not None:
            flat.append(self._mapped.keys(epoch, rows.ravel()))
        return [each.reshape(*rows.shape, *each.shape[1:]) for each in flat]

    def finish(self, flat: list[tf.Tensor], threads: int) -> tf.data.Dataset[Any]:
        """Return a dataset of the examples of a step after `map_fn`, in a graph; given what `block` gives of it."""
        assert self._mapped is not None
        return self._mapped.batch(tf.nest.pack_sequence_as(self._spec, flat[:-1]), flat[-1], threads)

    def rows(self, step: int, share: Share) -> np.ndarray:
        """Return the numbers of the rows of a share of a step, int64 (k,)."""
        return self._shares.rows(step, share)[1]

    def share(self, step: int, share: Share) -> Nest:
        """Return the examples of a share of a step, in NumPy.

        Raises:
          DataError: one cannot be read, transformed or mapped. The message names its row.
        """
        return self._examples(*self._shares.rows(step, share))

    def digest_of_first(self) -> str:
        """Return a fingerprint of the first row, or of the first good one."""
        digest = hashlib.sha256()
        for array in tf.nest.flatten(self._read(0, np.array([self._first]))):
            digest.update(
                repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
            )
        return digest.hexdigest()[:16]

    def good(self, step: int) -> Good:
        """Return the examples of a global batch that can be read, transformed and mapped."""
        epoch, rows = self._shares.rows(step, _WHOLE)
        try:
            return Good(self._examples(epoch, rows), 0, "")
        except DataError:
            return self._one_by_one(epoch, rows)

    def _one_by_one(self, epoch: int, rows: np.ndarray) -> Good:
        good, reasons = [], []
        for row in rows:
            try:
                good.append(self._examples(epoch, row[np.newaxis]))
            except DataError as error:
                reasons.append(str(error))
        joined = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *good) if good else None
        return Good(joined, len(reasons), reasons[0] if reasons else "")

    def _examples(self, epoch: int, rows: np.ndarray) -> Nest:
        found = self._fitting(epoch, rows)
        return found if self._mapped is None else self._mapped(found, epoch, rows)

    def _fitting(self, epoch: int, rows: np.ndarray) -> Nest:
        found = self._read(epoch, rows)
        if not self._fits(found):
            self._refuse_unlike(epoch, rows)
        return found

    def _fits(self, examples: Nest) -> bool:
        """Return whether stacked examples have the structure, dtypes and shapes of the first one."""
        try:
            tf.nest.assert_same_structure(examples, self._spec)
        except (TypeError, ValueError):
            return False
        return all(map(_Kind.fits, self._kinds, tf.nest.flatten(examples)))

    def _refuse_unlike(self, epoch: int, rows: np.ndarray) -> None:
        """Name the first of some rows that has other keys, dtypes or shapes than the first row of the source."""
        for row in rows:
            found = self._read(epoch, row[np.newaxis])
            if not self._fits(found):
                name, first = self._rows.name(int(row)), self._rows.name(self._first)
                raise DataError(
                    with_fix(f"{self._origin}, {name}: expected {_kinds(self._spec)}, as {first}, got {_kinds(found)}")
                )

    def _spec_of_first(self, skip: bool) -> tuple[int, Nest]:
        """Return (its number, the spec) of the first row; of the first good one if bad ones are skipped."""
        last = min(self._rows.length, _MOST_BAD_IN_A_ROW) - 1 if skip else 0
        for row in range(last + 1):
            try:
                return row, element_spec(
                    lambda row=row: [self._read(0, np.array([row + probe])) for probe in self._rows.probes]
                )
            except DataError:
                if row == last:
                    raise
        raise AssertionError("the last row returns or raises")


def element_spec(examples: Callable[[], Sequence[Nest]]) -> Nest:
    """Return a nest of `tf.TensorSpec` of a single example.

    Args:
      examples: returns stacked examples, such as the first one, that have all shapes there are.

    Raises:
      UsageError: they cannot be read, or they aren't nests of numbers, booleans or strings.
    """
    try:
        return tf.nest.map_structure(_common_spec, *examples())
    except (DataError, UsageError):
        raise
    except Exception as error:
        raise UsageError(
            f"the source of Input, row 0: expected arrays, numbers or strings, in a dict or tuple: {error}"
        ) from error


def _common_spec(*arrays: np.ndarray) -> tf.TensorSpec:
    shapes = [tf.TensorShape(array.shape[1:]) for array in arrays]
    common = functools.reduce(lambda one, other: one.most_specific_compatible_shape(other), shapes)
    return tf.TensorSpec(common, _tf_dtype(arrays[0]))


class _Kind(NamedTuple):
    """The dtype and shape of a part of an example; a size of None may be any."""

    dtype: np.dtype
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, spec: tf.TensorSpec) -> _Kind:
        return cls(np.dtype(spec.dtype.as_numpy_dtype), tuple(spec.shape))

    def fits(self, array: np.ndarray) -> bool:
        """Return whether stacked parts are of this kind."""
        shape = array.shape[1:]
        same = shape == self.shape or (
            len(shape) == len(self.shape)
            and all(size in (None, got) for size, got in zip(self.shape, shape, strict=True))
        )
        return same and array.dtype == self.dtype and (array.dtype != object or _are_strings(array))


def _kinds(nest: Nest) -> Nest:
    """Return "int64 ()", the dtype and shape of an example, in place of each spec or stack of arrays."""

    def told(each: tf.TensorSpec | np.ndarray) -> str:
        if isinstance(each, tf.TensorSpec):
            return f"{each.dtype.name} {tuple(each.shape)}"
        kinds = {type(value).__name__ for value in each.ravel()} if each.dtype == object else ()
        return f"{each.dtype}{' of ' if kinds else ''}{' and '.join(sorted(kinds))} {each.shape[1:]}"

    return tf.nest.map_structure(told, nest)


def _are_strings(array: np.ndarray) -> bool:
    return all(isinstance(each, bytes | str) for each in array.ravel())


def _tf_dtype(array: np.ndarray) -> tf.DType:
    if array.dtype == object:
        if not _are_strings(array):
            raise TypeError(f"got Python objects such as {array.ravel()[0]!r}")
        return tf.string
    return tf.as_dtype(array.dtype)
