"""A mixture: which rows of which source, counted."""

import collections
import pickle

import gin
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input, Mixture, bucketed, packed
from tallyloop.data.rows.rows import as_rows
from tallyloop.metrics.errors import DataError


def rows(name, n):
    """Arrays whose rows are {"of": name, "y": i}."""
    return {"of": np.array([name] * n), "y": np.arange(n)}


@pytest.fixture(scope="module")
def mixture():
    return Mixture([rows("large", 40), rows("small", 7)], weights=[0.75, 0.25])


class TestRows:
    def test_any_of_them(self, mixture):
        ahead = np.arange(3 * len(mixture))
        whole = mixture.__getitems__(ahead)
        asked = np.random.default_rng(0).integers(0, len(ahead), 50)
        found = pickle.loads(pickle.dumps(mixture)).__getitems__(asked)
        np.testing.assert_array_equal(found["of"], whole["of"][asked])
        np.testing.assert_array_equal(found["y"], whole["y"][asked])
        assert mixture.__getitems__(ahead[:0])["y"].shape == (0,)
        with pytest.raises(IndexError, match="row -1: expected rows from 0"):
            mixture.__getitems__(np.array([-1]))

    @pytest.mark.parametrize("step", [1, 3])
    def test_many_near_each_other_are_those_that_are_read_alone(self, mixture, step):
        """The former are taken from chunks that are kept; few rows are drawn for the call."""
        for begin in (0, 8000, 60_000, 30_000, 3):  # chunks that are new, and one that was dropped
            many = np.arange(begin, begin + 9000, step)
            chosen = np.random.default_rng(begin).choice(len(many), 100, replace=False)
            found, alone = mixture.__getitems__(many), mixture.__getitems__(many[chosen])
            for name, values in alone.items():
                np.testing.assert_array_equal(found[name][chosen], values)

    def test_are_drawn_once(self, mixture, monkeypatch):
        fresh = pickle.loads(pickle.dumps(mixture))
        draw, drawn = fresh._draw, []
        monkeypatch.setattr(fresh, "_draw", lambda rows: drawn.append(len(rows)) or draw(rows))
        for begin in range(0, 8000, 1000):
            fresh.__getitems__(np.arange(begin, begin + 1000))
        fresh.__getitems__(np.arange(0, 8000, 2))  # the part of one of two workers
        assert drawn == [8192]

    def test_each_source_is_read_whole_again_and_again(self, mixture):
        found = mixture.__getitems__(np.arange(400))
        for name, size in ((b"large", 40), (b"small", 7)):
            read = found["y"][found["of"] == name]
            epochs = [read[i : i + size] for i in range(0, len(read) - size + 1, size)]
            assert all(sorted(epoch.tolist()) == list(range(size)) for epoch in epochs)
            assert len({tuple(epoch) for epoch in epochs}) == len(epochs) > 5

    def test_an_epoch_ends_where_each_source_was_read_whole(self, mixture):
        found = mixture.__getitems__(np.arange(len(mixture)))
        assert set(found["y"][found["of"] == b"large"].tolist()) == set(range(40))
        assert (found["of"] == b"large").sum() == 40
        assert found["of"][-1] == b"large"
        rare = Mixture([rows("large", 40), rows("rare", 7)], weights=[19, 1])
        assert (rare.__getitems__(np.arange(len(rare)))["of"] == b"rare").sum() == 7

    def test_weights_hold_over_every_window(self, mixture):
        of = mixture.__getitems__(np.arange(300))["of"] == b"small"
        for size in (1, 2, 5, 64):
            for start in range(len(of) - size):
                assert abs(of[start : start + size].sum() - size / 4) <= 1

    def test_sources_of_one_size_are_in_different_orders(self):
        found = Mixture([rows("a", 40), rows("b", 40)], [1, 1]).__getitems__(np.arange(80))
        assert found["y"][found["of"] == b"a"].tolist() != found["y"][found["of"] == b"b"].tolist()


class TestNests:
    """Examples as Keras takes them: tuples, and dicts in dicts."""

    def test_of_tuples(self, read):
        mixture = Mixture([(np.full((3, 2), 1.0), [0, 1, 2]), (np.full((3, 2), 2.0), [3, 4, 5])], [1, 1])
        x, y = mixture.__getitems__(np.arange(6))
        assert sorted(y.tolist()) == [0, 1, 2, 3, 4, 5]
        np.testing.assert_array_equal(x[:, 1], 1 + (y >= 3))
        batch = read(Input(mixture, 6).open_train(), 0, 1)[0]
        assert batch[1].tolist() == y.tolist()

    def test_of_nested_dicts(self):
        mixture = Mixture([{"in": {"a": [1, 1]}, "y": [0, 0]}, {"y": [1, 1], "in": {"a": [2, 2]}}], [1, 1])
        found = mixture.__getitems__(np.arange(4))
        assert found["in"]["a"].tolist() == (found["y"] + 1).tolist()


class Tokens:
    """Documents of their own token numbers, of different lengths: 1, 2, ... of them from `first` on."""

    def __init__(self, first, count):
        self.documents = [[first + document] * (document + 1) for document in range(count)]

    def __len__(self):
        return len(self.documents)


class ByNumber(Tokens):
    """One at a time."""

    def __getitem__(self, row):
        return {"tokens": self.documents[row]}


class Listed(Tokens):
    """Any number at once, as a list of examples."""

    def __getitems__(self, rows):
        return [{"tokens": np.array(self.documents[row])} for row in rows]


def counted(mixture_of, sources):
    """How often each token is in an epoch of the mixture: its rows of each source, times the length of each."""
    tokens = [token for row in range(len(mixture_of)) for token in mixture_of[row]["tokens"]]
    assert set(tokens) == {token for source in sources for document in source.documents for token in document}
    return collections.Counter(tokens)


class TestOfDifferentLengths:
    """An epoch has each of 9 documents once, and each of 4 twice."""

    @pytest.fixture
    def sources(self):
        return [ByNumber(100, 9), Listed(200, 4)]

    @pytest.fixture
    def mixed(self, sources):
        return Mixture(sources, [1, 1], seed=2)

    def test_a_row_is_that_of_its_source(self, mixed, sources):
        found = collections.Counter(tuple(mixed[row]["tokens"]) for row in range(len(mixed)))
        assert len(mixed) == 17
        assert [found[tuple(document)] for document in sources[0].documents] == [1] * 9
        assert [found[tuple(document)] for document in sources[1].documents] == [2] * 4

    def test_is_the_row_that_is_read_at_once(self, mixture):
        whole = mixture.__getitems__(np.arange(len(mixture)))
        assert [mixture[row]["y"] for row in range(len(mixture))] == whole["y"].tolist()
        assert len(list(mixture)) == len(mixture)
        with pytest.raises(IndexError, match="row 53: expected rows from 0 to 52"):
            mixture[len(mixture)]

    def test_packed_has_all_tokens(self, mixed, sources):
        source = packed(mixed, length=8)
        found = source.__getitems__(np.arange(len(source)))
        tokens = found["tokens"][found["segment_ids"] > 0]
        assert collections.Counter(tokens.tolist()) == counted(mixed, sources)

    @pytest.mark.parametrize("opened", ["open_train", "open_eval"])
    def test_bucketed_has_all_tokens(self, mixed, sources, read, opened):
        data = Input(bucketed(mixed, sizes=[4, 9]), 4)
        found = read(getattr(data, opened)(), 0, data.batches_per_epoch)
        assert {batch["tokens"].shape[1] for batch in found} == {4, 9}
        tokens = np.concatenate([batch["tokens"].ravel() for batch in found])
        assert collections.Counter(tokens[tokens > 0].tolist()) == counted(mixed, sources)

    def test_texts_are_given_to_the_tokenizer_as_they_are(self):
        texts = [[{"text": "ab"}, {"text": "c"}], [{"text": "d"}]]
        source = packed(Mixture(texts, [2, 1]), 4, key="text", tokenizer=lambda text: [ord(each) for each in text])
        assert sorted(source.__getitems__(np.arange(1))["tokens"][0].tolist()) == [97, 98, 99, 100]

    def test_without_packing_are_told_by_their_rows(self, mixed):
        with pytest.raises(
            DataError, match=r"is unlike row \d of source \d of the mixture .*expected examples of one shape"
        ):
            Input(mixed, 8).open_train().first_batch()


class TestOrder:
    def test_goes_on_from_epoch_to_epoch(self, mixture, read):
        """Whatever `Input.shuffle` is: of 8 rows, 2 are of the small source."""
        expected = mixture.__getitems__(np.arange(200 * 8))
        steps = len(mixture) // 8
        for shuffle in (True, False):
            data = Input(mixture, 8, shuffle=shuffle, seed=3, drop_remainder=True)
            assert data.batches_per_epoch == steps
            for epoch, batch in enumerate(read(data.open_train(), 0, steps + 1)[::steps]):
                start = epoch * len(mixture)
                assert batch["y"].tolist() == expected["y"][start : start + 8].tolist()
        assert read(Input(mixture, 8).open_eval(), 0, 1)[0]["y"].tolist() == expected["y"][:8].tolist()

    def test_errors_name_the_row_of_the_source(self):
        broken = Mixture([rows("a", 4), Broken()], [1, 1])
        with pytest.raises(DataError, match=r"row [01] of source 1 of the mixture \(counted from 0\): OSError: gone"):
            as_rows(broken).examples(np.arange(2))

    def test_errors_name_the_row_as_its_source_does(self):
        broken = Broken()
        broken.named = lambda row: f"row {row}, '{row}.png'"
        with pytest.raises(
            DataError, match=r"row ([01]), '\1.png' of source 1 of the mixture \(counted from 0\): OSError"
        ):
            as_rows(Mixture([rows("a", 4), broken], [1, 1])).examples(np.arange(2))


class TestWorkers:
    """53 rows in batches of 8, the last of 5."""

    @pytest.mark.parametrize(("workers", "first"), [(3, 6), pytest.param(2, 10**6, marks=pytest.mark.slow)])
    def test_share_the_batches(self, mixture, read_by_workers, workers, first):
        """And go on from epoch to epoch, of 7 steps."""
        data, length = Input(mixture, 8), len(mixture)
        found = read_by_workers([data.open_train(index, workers) for index in range(workers)], first, 3)
        for step, batch in enumerate(found, first):
            epoch, place = divmod(step, 7)
            expected = mixture.__getitems__(epoch * length + np.arange(8 * place, min(8 * place + 8, length)))
            assert batch["of"].tolist() == expected["of"].tolist()
            assert batch["y"].tolist() == expected["y"].tolist()

    def test_read_their_own_rows_only(self, read_by_workers):
        """Of two sources by turns, in batches of 8: the second of two workers has 4 of 8 rows, and 2 of 4."""
        sources = [Noted("a", 10), Noted("b", 10)]
        mixture = Mixture(sources, [1, 1], seed=3)
        expected = mixture.__getitems__(np.array([4, 5, 6, 7, 12, 13, 14, 15, 18, 19]))
        feed = Input(mixture, 8).open_eval(1, 2)
        for source in sources:
            source.read.clear()
        steps = [feed.fetch((tf.constant(0, tf.int64),), tf.constant(i, tf.int64))[0] for i in range(3)]
        assert np.concatenate([each["y"] for each in steps]).tolist() == expected["y"].tolist()
        assert {len(source.read) for source in sources} == {5}
        for source in sources:
            assert sorted(source.read) == sorted(expected["y"][expected["of"] == source.name.encode()].tolist())


class Noted:
    """Notes the rows that are read."""

    def __init__(self, name, length):
        self.name, self.length, self.read = name, length, []

    def __len__(self):
        return self.length

    def __getitems__(self, rows):
        self.read += rows.tolist()
        return {"of": [self.name] * len(rows), "y": rows}


class Broken:
    """Can be read once, to see what it is."""

    reads = 0

    def __len__(self):
        return 2

    def __getitem__(self, row):
        self.reads += 1
        if self.reads > 1:
            raise OSError("gone")
        return {"of": "b", "y": np.int64(row)}


class TestFingerprint:
    def test_is_of_sources_weights_and_seed(self):
        sources = [rows("a", 4), rows("b", 4)]
        found = [Mixture(sources, [1, 1]), Mixture(sources, [1, 2]), Mixture(sources, [1, 1], seed=1)]
        found.append(Mixture([rows("a", 4), rows("b", 5)], [1, 1]))
        assert len({each.fingerprint for each in found}) == 4
        assert Mixture(sources, [2, 2]).fingerprint == found[0].fingerprint

    def test_covers_the_content_if_all_of_its_sources_have_one(self):
        assert Mixture([Numbers(), Mixture([Numbers()], [1])], [1, 1]).covers_content
        assert not Mixture([Numbers(), {"y": [1, 2]}], [1, 1]).covers_content
        assert not Mixture([Numbers(), Mixture([{"y": [1, 2]}], [1])], [1, 1]).covers_content
        assert as_rows(Mixture([Numbers()], [1])).covers_content
        assert not as_rows(Mixture([{"y": [1, 2]}], [1])).covers_content

    @pytest.mark.parametrize(
        "made",
        [
            lambda source: source,
            lambda source: packed(source, 3),
            lambda source: bucketed(source, [3]),
            lambda source: Mixture([packed(source, 3)], [1]),
        ],
        ids=["itself", "packed", "bucketed", "packed in a mixture"],
    )
    def test_without_the_content_workers_compare_the_first_row(self, made, tmp_path, monkeypatch):
        """Two workers have other tokens, of the same lengths."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        sources = [Mixture([[{"tokens": [first, 2]}] * 3], [1]) for first in (1, 3)]
        told = [Input(made(source), 1).open_train(worker, 2).described for worker, source in enumerate(sources)]
        assert told[0] != told[1]

    def test_without_the_content_no_plan_is_kept(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        for lengths in ([1, 4], [4, 1]):
            mixture = Mixture([[{"tokens": [length] * length} for length in lengths]], [1])
            packs = packed(mixture, 5).__getitems__(np.arange(1))
            assert sorted(packs["tokens"][0].tolist()) == [1, 4, 4, 4, 4]
            buckets = bucketed(mixture, [1, 4]).__getitems__(np.array([2, 3]))
            assert sorted(buckets["length"].tolist()) == [1, 4]
        assert not list(tmp_path.iterdir())


class Numbers:
    fingerprint = "numbers"

    def __len__(self):
        return 3

    def __getitem__(self, row):
        return {"y": np.int64(row)}


class TestArguments:
    def test_sources_with_their_weights(self):
        assert len(Mixture({Numbers(): 2, Numbers: 1})) == 8  # turns 0 1 0 | 0 1 0 | 0 1

    def test_in_a_config(self):
        gin.register(rows, module="test_mixture")
        with gin.unlock_config():
            gin.parse_config("""
                a/rows.name = "a"
                b/rows.name = "b"
                rows.n = 4
                Mixture.sources = [@a/rows(), @b/rows()]
                Mixture.weights = [0.5, 0.5]
            """)
        try:
            assert len(gin.get_configurable("Mixture")()) == 8
        finally:
            gin.clear_config()

    @pytest.mark.parametrize(
        ("sources", "weights", "message"),
        [
            ([Numbers()], None, "expected {source: weight}, or a list of sources and a list of as many weights"),
            ([], [], "expected {source: weight}, or a list of sources"),
            ([Numbers()], [1, 2], "expected {source: weight}, or a list of sources"),
            ({Numbers: 1}, [1], "Mixture.weights = [1]: expected none beside the weights in Mixture.sources"),
            ([3], [1], "Mixture.sources, source 0: expected arrays, or an object with __len__ and __getitems__"),
            ([{"y": [1]}, {"z": [1]}], [1, 1], "source 1 (counted from 0) has {'z': 'int64 ()'}: expected the keys"),
            (
                [{"y": [1]}, {"y": [1.0]}],
                [1, 1],
                "source 1 (counted from 0) has {'y': 'float64 ()'}: expected the keys",
            ),
            (
                [{"y": [[[1, 2]]]}, {"y": [[[1, 2, 3]]]}],
                [1, 1],
                "source 1 (counted from 0) has {'y': 'int64 (any, 3)'}: expected the keys",
            ),
            ([{"y": [[1]]}, {"y": [1]}], [1, 1], "source 1 (counted from 0) has {'y': 'int64 ()'}: expected the keys"),
            ([([1], [2]), [1]], [1, 1], "source 1 (counted from 0) has int64 (): expected the keys"),
            ([{"y": []}], [1], "Mixture.sources, source 0 has no examples"),
            ([bucketed([{"tokens": [1]}], [4, 8])], [1], "give the mixture to it, as bucketed(Mixture(...), ...)"),
        ],
    )
    def test_mistakes_are_refused(self, refused, sources, weights, message):
        with refused(message):
            Mixture(sources, weights)
