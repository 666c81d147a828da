"""The feed of a sharded stream: the shares of replicas, and the places in a checkpoint."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input


class TestShares:
    @pytest.mark.parametrize(("workers", "replicas", "batch"), [(2, 4, 9), (2, 6, 4), (4, 12, 5)])
    def test_are_those_of_the_global_batch(self, shards_of, workers, replicas, batch):
        """Also empty ones, which borrow an example."""
        feeds = [
            Input(shards_of([9] * 4), batch, shards=4, shuffle=False).open_train(index, workers)
            for index in range(workers)
        ]
        fetched = [feed.fetch((), tf.constant(0, tf.int64)) for feed in feeds]
        whole = np.concatenate([feed.whole(part).numpy() for feed, (part, _) in zip(feeds, fetched, strict=True)])
        assert len(whole) == batch
        for replica in range(replicas):
            feed, (part, n) = (each[replica * workers // replicas] for each in (feeds, fetched))
            begin, end = batch * replica // replicas, batch * (replica + 1) // replicas
            share, rows = feed.shard(part, n, tf.constant(replica, tf.int64), replicas)
            assert (int(n), int(rows)) == (batch, end - begin)
            assert share[:rows].numpy().tolist() == whole[begin:end].tolist()
            assert len(share) == max(end - begin, 1)

    def test_have_static_shapes(self, shards_of):
        data = Input(shards_of([9] * 4), 8, shards=4)
        feed = data.open_train(1, 2)
        assert feed.element_spec == data.element_spec == tf.TensorSpec([8], tf.int64)
        assert (feed.full_batch, feed.num_examples, feed.batches_per_epoch) == (8, None, None)
        share = tf.function(
            lambda: feed.shard(*feed.fetch((), tf.constant(0, tf.int64)), 2, 4)[0]
        ).get_concrete_function()
        assert share.structured_outputs.shape == [2]
        assert data.open_eval(1, 2).element_spec == tf.TensorSpec([None], tf.int64)


class TestCheckpoint:
    @pytest.mark.parametrize(
        ("other", "told"),
        [
            ({"seed": 2}, "expected seed = 1, as in the checkpoint, got 2"),
            ({"shuffle": True}, "expected shuffle_buffer = None, as in the checkpoint, got 5000"),
            ({"global_batch_size": 6}, "expected global_batch_size = 4, as in the checkpoint, got 6"),
        ],
    )
    def test_of_other_batches_is_refused(self, tmp_path, workers_of, shards_of, refused, other, told):
        settings = {"source": shards_of([5, 5]), "global_batch_size": 4, "shards": 2, "seed": 1}
        path = workers_of(1, **settings).save(tmp_path / "checkpoint")
        with refused("The train data: " + told):
            workers_of(1, **{**settings, **other}).restore(path, 0)

    def test_of_another_number_of_shards_is_refused(self, tmp_path, workers_of, shards_of, refused):
        path = workers_of(1, shards_of([5, 5]), 4, shards=2).save(tmp_path / "checkpoint")
        with refused("expected shards = 2, as in the checkpoint, got 3"):
            workers_of(1, shards_of([5, 5, 5]), 4, shards=3).restore(path, 0)

    def test_without_a_place_what_was_read_is_read_again(self, tmp_path, workers_of, warnings):
        """A shuffle of the source's own is another one in each pass, so the third can only be found after two others."""

        def source(shard, shards):
            return tf.data.Dataset.range(10).shuffle(10, seed=shard)

        two = workers_of(2, source, 4, shards=2)
        assert "read them again from their start" in " ".join(warnings[0].replace("reads", "read").split())
        whole = two.batches(14)
        one = workers_of(1, source, 4, shards=2)
        one.restore(two.save(tmp_path / "checkpoint"), 12)
        assert one.batches(2) == whole[12:]

    def test_a_used_up_generator_ends_with_an_error(self, workers_of):
        once = [iter(range(10)), iter(range(10))]

        def source(shard, shards):
            return tf.data.Dataset.from_generator(lambda: once[shard], output_signature=tf.TensorSpec([], tf.int64))

        workers = workers_of(1, source, 4, shards=2)
        with pytest.raises(tf.errors.OutOfRangeError):
            workers.batches(6)
