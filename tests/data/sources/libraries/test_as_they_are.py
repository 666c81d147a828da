"""Objects of other libraries, given to `Input` without a source of ours: the batches are those of the same arrays."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import UsageError

ROWS = 11


def missing(name):
    return f'{name} is not installed: pip install "tallyloop[{name}]"'


@pytest.fixture
def check(read, numbered):
    """check(source, **options): two epochs of training, shuffled, in batches of 4, and an evaluation."""

    def same(source, **options):
        given, arrays = Input(source, 4, **options), Input(numbered(ROWS), 4)
        assert given.batches_per_epoch == 3
        for opened, steps in (("open_train", 6), ("open_eval", 3)):
            found, expected = (read(getattr(each, opened)(), 0, steps) for each in (given, arrays))
            for batch, rows in zip(found, expected, strict=True):
                x, y = batch if isinstance(batch, tuple) else (batch["x"], batch["y"])
                np.testing.assert_array_equal(x, rows["x"])
                np.testing.assert_array_equal(y, rows["y"])

    return same


@pytest.mark.slow  # PyTorch takes seconds to import
class TestPyTorch:
    @pytest.fixture
    def data(self):
        return pytest.importorskip("torch.utils.data", reason="PyTorch is not installed: pip install torch")

    @pytest.fixture
    def tensors(self, data, numbered):
        torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
        return {key: torch.from_numpy(array) for key, array in numbered(ROWS).items()}

    def test_dataset_of_a_user(self, data, tensors, check):
        class Pairs(data.Dataset):
            def __len__(self):
                return ROWS

            def __getitem__(self, index):
                return {"x": tensors["x"][index], "y": int(tensors["y"][index])}

        check(Pairs())

    def test_tensors_and_parts_of_them(self, data, tensors, check):
        """A subset is read by `__getitems__`; here it has the first rows of a shuffled dataset, in order."""
        whole = data.TensorDataset(tensors["x"], tensors["y"])
        check(whole)
        turned = data.TensorDataset(*(each.flip(0) for each in (tensors["x"], tensors["y"])))
        check(data.Subset(turned, list(range(ROWS))[::-1]))
        check(data.ConcatDataset([data.Subset(whole, range(4)), data.Subset(whole, range(4, ROWS))]))

    def test_loaders_and_streams_are_refused(self, data, tensors):
        class Stream(data.IterableDataset):
            def __iter__(self):
                return iter(())

        for each in (data.DataLoader(data.TensorDataset(tensors["x"])), Stream()):
            with pytest.raises(UsageError, match=r"expected .*an object with __len__ and __getitem__"):
                Input(each, 4).open_train()


class TestGrain:
    @pytest.fixture
    def maps(self):
        return pytest.importorskip("grain", reason=missing("grain")).MapDataset

    def test_map_dataset(self, maps, numbered, check):
        arrays = numbered(ROWS)
        check(maps.range(ROWS).map(lambda row: {key: array[row] for key, array in arrays.items()}))
        check(maps.source(list(zip(*arrays.values(), strict=True))))

    def test_without_an_end_is_refused(self, maps):
        with pytest.raises(UsageError, match=r"never ends: .* got that of an endless RepeatMapDataset; remove its"):
            Input(maps.range(ROWS).repeat(), 4).open_eval()


class TestArrayRecord:
    @pytest.fixture
    def file(self, tmp_path, record):
        module = pytest.importorskip("array_record.python.array_record_module", reason=missing("array_record"))
        path = str(tmp_path / "a.array_record")
        writer = module.ArrayRecordWriter(path, "group_size:1")
        for row in range(ROWS):
            writer.write(record(row))
        writer.close()
        return path

    def test_data_source(self, file, check):
        """It gives bytes, which are parsed in the graph."""
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        features = {"x": tf.io.FixedLenFeature([2], tf.float32), "y": tf.io.FixedLenFeature([], tf.int64)}
        check(ArrayRecordDataSource([file]), map_fn=lambda one: tf.io.parse_single_example(one, features))


class TestHuggingFace:
    def test_dataset(self, numbered, check):
        """Its numbers are float64, unless its features say otherwise."""
        datasets = pytest.importorskip("datasets", reason=missing("huggingface"))
        made = datasets.Dataset.from_dict({key: array.tolist() for key, array in numbered(ROWS).items()})
        for given in (made, made.with_format("numpy"), made.shuffle(seed=0).sort("y")):
            check(given)
