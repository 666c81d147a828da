"""The random numbers of a row in an epoch: the same at each call, and others than those of any other row."""

import itertools

import numpy as np
import pytest
from tallyloop.data.rows.row_seed import EpochSeed


def drawn(seed, epoch, row, count=4):
    return EpochSeed(seed, epoch).generator(row).random(count)


class TestGenerator:
    def test_is_the_same_at_each_call(self):
        seeds = EpochSeed(5, 1)
        np.testing.assert_array_equal(seeds.generator(7).random(9), seeds.generator(7).random(9))
        np.testing.assert_array_equal(seeds.generator(7).random(9), drawn(5, 1, 7, 9))

    def test_is_the_same_in_each_version(self):
        """A run that is resumed with another version of NumPy or of this package draws the same numbers."""
        key = np.random.SeedSequence((5, 1)).generate_state(2, np.uint64) ^ np.array([0, 7], np.uint64)
        np.testing.assert_array_equal(drawn(5, 1, 7), np.random.Generator(np.random.Philox(key=key)).random(4))
        assert drawn(5, 1, 7)[0] == 0.15625876318015297

    def test_is_another_for_each_seed_epoch_and_row(self):
        keys = list(itertools.product(range(4), range(4), [*range(50), 2**40, 2**40 + 1]))
        assert len({drawn(*key).tobytes() for key in keys}) == len(keys)

    def test_does_not_know_the_generator_of_the_row_before(self):
        """Neighbours are independent: no correlation, and all together are uniform."""
        first = EpochSeed(0, 0)
        table = np.array([first.generator(row).random(4) for row in range(20000)])
        correlations = np.corrcoef(np.concatenate([table[:-1], table[1:]], 1), rowvar=False) - np.eye(8)
        assert np.abs(correlations).max() < 5 / np.sqrt(len(table))
        counts = np.histogram(table, 50, (0, 1))[0]
        expected = table.size / 50
        assert ((counts - expected) ** 2 / expected).sum() < 95  # chi-squared with 49 degrees of freedom: 1 in 10,000


class TestSeed:
    def test_spawns_generators(self):
        rng = EpochSeed(5, 1).generator(7)
        one, other = rng.spawn(2)
        (third,) = rng.spawn(1)
        (again,) = EpochSeed(5, 1).generator(7).spawn(1)
        values = [each.random() for each in (rng, one, other, third)]
        assert len({*values}) == 4
        assert again.random() == values[1]

    @pytest.mark.parametrize("asked", [(2, np.uint32), (8, np.uint64)])
    def test_gives_numbers_for_other_generators(self, asked):
        seed = EpochSeed(5, 1).generator(7).bit_generator.seed_seq
        np.testing.assert_array_equal(
            seed.generate_state(*asked), np.random.SeedSequence((5, 1, 7)).generate_state(*asked)
        )
