"""Damaged data files: a clear error or the right arrays, never a hang, a crash or a bare traceback."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from mutations import mutated
from tallyloop.data import Input, idx, npz, tfrecord
from tallyloop.metrics.errors import DataError, UsageError

TFRECORDS = 20  # files in a case, as it takes long to build a pipeline


def _check_message(error, path):
    text = str(error)
    assert path.name in text, text
    assert "Traceback" not in text


def npz_check(folder):
    contents = []
    for save in (np.savez, np.savez_compressed):
        save(folder / "whole.npz", x=np.arange(80.0).reshape(40, 2), y=np.arange(40))
        contents.append((folder / "whole.npz").read_bytes())

    def check(seed):
        path = folder / "bad.npz"
        path.write_bytes(mutated(contents[seed % 2], seed))
        try:
            arrays = npz(path)
        except UsageError as error:
            return _check_message(error, path)
        assert len({len(array) for array in arrays.values()}) == 1
        for name, array in arrays.items():  # a name may be damaged, as no sum protects it
            np.testing.assert_array_equal(array, np.arange(array.size).reshape(array.shape), err_msg=name)

    return check


def idx_check(folder):
    images = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (10, 4, 5)) + bytes(range(200))
    labels = b"\0\0\x08\x01" + (10).to_bytes(4, "big") + bytes(range(10))

    def check(seed):
        path, other = folder / "images", folder / "labels"
        contents = [images, labels]
        contents[seed % 2] = mutated(gzip.compress(contents[seed % 2]) if seed % 4 > 1 else contents[seed % 2], seed)
        path.write_bytes(contents[0])
        other.write_bytes(contents[1])
        try:
            arrays = idx(path, other)
        except UsageError as error:
            return _check_message(error, (path, other)[seed % 2])
        assert len(arrays["x"]) == len(arrays["y"])
        assert (arrays["x"].dtype, arrays["y"].dtype) == (np.float32, np.int64)

    return check


def tfrecord_check(folder):
    contents = []
    for compression in ("", "GZIP"):
        with tf.io.TFRecordWriter(str(folder / "whole"), compression) as writer:
            for i in range(20):
                feature = {"y": tf.train.Feature(int64_list=tf.train.Int64List(value=[i]))}
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        contents.append((folder / "whole").read_bytes())

    def opened(paths, compression):
        """The source of those files that can be opened."""
        paths = list(paths)
        while True:
            try:
                return tfrecord(paths, {"y": "int64"}, compression)
            except UsageError as error:
                (refused,) = (path for path in paths if repr(str(path)) in str(error))
                paths.remove(refused)

    def check(seed):
        paths = [folder / f"bad-{seed}-{i}" for i in range(TFRECORDS)]
        for i, path in enumerate(paths):
            path.write_bytes(mutated(contents[seed % 2], TFRECORDS * seed + i))
        source = opened(paths, ["", "GZIP"][seed % 2])
        feed = Input(source, 400, on_error="skip").open_eval()
        part, n = feed.fetch((), tf.constant(0, tf.int64))
        labels = feed.shard(part, n, 0, 1)[0]["y"].numpy().tolist()
        if seed % 2:  # what gzip holds has a checksum; without it a record may be there twice, or be gone whole
            assert set(labels) <= set(range(20))
        short = sum(not _is_well_formed(Path(file.path)) for file in source.files) if seed % 2 == 0 else 0
        assert int(feed.skipped(part)) >= short
        with pytest.raises((UsageError, DataError), match=f"bad-{seed}-.*record") as raised:
            read_all(source)
        assert "\n" not in str(raised.value)

    return check


def read_all(source):
    feed = Input(source, 400).open_eval()
    try:
        feed.fetch((), tf.constant(0, tf.int64))
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise feed.data_error(error, 0) or error from error


def _is_well_formed(path):
    """Whether a file without compression is records from its begin to its end: cut between two, or one twice."""
    content, at = path.read_bytes(), 0
    while at < len(content):
        at += 16 + int.from_bytes(content[at : at + 8], "little")
    return at == len(content)
