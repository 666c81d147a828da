"""Files in the formats of the sources."""

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
