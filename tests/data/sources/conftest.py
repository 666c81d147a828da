"""Files in the formats of the sources."""

import concurrent.futures
import pickle
import struct

import numpy as np
import pytest
import tensorflow as tf

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


@pytest.fixture(scope="session")
def packed():
    """packed(array, kind="u1") -> the array in the IDX format, packed by hand as the format says."""

    def pack(array, kind="u1"):
        array = np.asarray(array)
        header = struct.pack(">BBBB", 0, 0, IDX_CODES[kind], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
        return header + array.astype(f">{kind}").tobytes()

    return pack


@pytest.fixture(scope="session")
def record():
    """record(i, **changes) -> a serialized example of x = [i, i + 0.5] and y = i; a feature that is None is left out."""

    def serialized(i, **changes):
        parts = {
            "x": tf.train.Feature(float_list=tf.train.FloatList(value=[i, i + 0.5])),
            "y": tf.train.Feature(int64_list=tf.train.Int64List(value=[i])),
            **changes,
        }
        features = {name: part for name, part in parts.items() if part is not None}
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    return serialized


@pytest.fixture(scope="session")
def write_records():
    """write_records(path, records, compression="") -> the path."""

    def write(path, records, compression=""):
        with tf.io.TFRecordWriter(str(path), compression) as writer:
            for each in records:
                writer.write(each)
        return path

    return write


@pytest.fixture
def three(tmp_path, record, write_records):
    """Three files with the examples 0-4, 5-9 and 10-14."""
    return [
        write_records(tmp_path / f"{name}.tfr", map(record, range(5 * i, 5 * i + 5))) for i, name in enumerate("abc")
    ]


@pytest.fixture
def features():
    """What to parse of `record`."""
    return {"x": ("float32", [2]), "y": "int64"}


def _same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.fixture(scope="session")
def by_number():
    """by_number(source) -> all its rows by key, after a check of the protocol.

    Any rows, repeated ones too, are those that are read one by one, also by several threads, and of a copy in another process.
    """

    def read(source):
        one_by_one = [source.__getitems__(np.array([row])) for row in range(len(source))]
        whole = {key: np.concatenate([each[key] for each in one_by_one]) for key in one_by_one[0]}
        rng = np.random.default_rng(len(source))
        asked = [rng.integers(0, len(source), size) for size in (1, 2, 7, 3 * len(source))]
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            for reader in (source, pickle.loads(pickle.dumps(source))):
                for rows, found in zip(asked, threads.map(reader.__getitems__, asked), strict=True):
                    _same(found, {key: value[rows] for key, value in whole.items()})
        for bad in (-1, len(source)):
            with pytest.raises(IndexError, match="expected rows from 0 to"):
                source.__getitems__(np.array([0, bad]))
        return whole

    return read
