"""Damage of every kind is found, and named."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer.checkpointing.folder import CheckpointFolder
from tallyloop.trainer.checkpointing.integrity import damage

SUMS, DATA = "ckpt-5.sha256.json", "ckpt-5.data-00000-of-00001"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """name -> content of the files of a checkpoint of numbers, of strings, of an empty tensor, and of a place in a dataset."""
    folder = CheckpointFolder(tmp_path_factory.mktemp("checkpoints"))
    values = {
        "weights": np.random.default_rng(0).normal(size=300).astype("float32"),
        "steps": np.int64(7),
        "flags": np.array([True, False]),
        "text": np.array([b"some", b"", b"words of text"]),
        "nothing": np.zeros((0, 3)),
    }
    folder.add(
        5, lambda prefix: tf.train.Checkpoint(**{k: tf.Variable(v) for k, v in values.items()}).write(str(prefix))
    )
    return {path.name: path.read_bytes() for path in folder.path.glob("ckpt-5.*")}


@pytest.fixture
def checkpoint(saved, tmp_path):
    """The prefix of a copy."""
    for name, content in saved.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path / "ckpt-5"


class TestDamage:
    def test_none(self, checkpoint):
        assert damage(checkpoint) is None

    @pytest.mark.parametrize("ending", ["index", "data-00000-of-00001", "sha256.json"])
    @pytest.mark.parametrize("how", ["truncated", "emptied", "deleted", "flipped"])
    def test_names_the_file(self, checkpoint, ending, how):
        path = checkpoint.with_name(f"ckpt-5.{ending}")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 8
        changed = {"truncated": content[: len(content) // 2], "emptied": b"", "flipped": bytes(content)}
        if how == "deleted":
            path.unlink()
        else:
            path.write_bytes(changed[how])
        found = damage(checkpoint)
        if how == "deleted" and ending == "sha256.json":
            assert found is None  # TensorFlow's own checksums remain
        else:
            assert found is not None
            assert "ckpt-5" in found

    def test_any_flipped_bit_of_the_data(self, checkpoint, saved):
        size = len(saved[DATA])
        for place in np.random.default_rng(1).permutation(size)[:100]:
            content = bytearray(saved[DATA])
            content[place] ^= 1 << place % 8
            checkpoint.with_name(DATA).write_bytes(content)
            assert f"in {DATA} differs" in (damage(checkpoint) or ""), f"byte {place} of {size}"

    def test_names_the_tensor(self, checkpoint, saved):
        weights = np.random.default_rng(0).normal(size=300).astype("float32")
        place = saved[DATA].index(weights.tobytes()) + 17
        content = bytearray(saved[DATA])
        content[place] ^= 1
        checkpoint.with_name(DATA).write_bytes(content)
        assert damage(checkpoint) == (
            f"the checksum of weights/.ATTRIBUTES/VARIABLE_VALUE in {DATA} differs from what was written"
        )

    def test_names_both_sizes(self, checkpoint, saved):
        checkpoint.with_name(DATA).write_bytes(saved[DATA] + b"0")
        size = len(saved[DATA])
        assert damage(checkpoint) == f"{DATA} has {size + 1} bytes, of {size} that were written"

    @pytest.mark.parametrize("flipped", [False, True])
    def test_with_a_checksum_of_the_data_as_version_0_1_wrote(self, checkpoint, saved, flipped):
        sums = {
            ending: hashlib.sha256(saved["ckpt-5" + ending]).hexdigest()
            for ending in (".index", ".data-00000-of-00001")
        }
        checkpoint.with_name(SUMS).write_text(json.dumps(sums))
        if flipped:
            content = bytearray(saved[DATA])
            content[-1] ^= 1
            checkpoint.with_name(DATA).write_bytes(content)
        assert damage(checkpoint) == (f"the checksum of {DATA} differs from what was written" if flipped else None)
