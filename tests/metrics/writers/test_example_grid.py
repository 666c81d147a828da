import numpy as np
from tallyloop.metrics.writers.example_grid import grid, pictures


class TestPictures:
    def test_span_from_black_to_white(self):
        np.testing.assert_array_equal(
            pictures(np.array([[[0.0, 8.0]], [[16.0, np.nan]]]))[..., 0], [[[0, 128]], [[255, 0]]]
        )

    def test_of_one_value_are_black(self):
        assert pictures(np.full([1, 2, 2, 3], 7.0)).max() == 0


class TestGrid:
    def test_has_each_example_enlarged_in_its_place(self):
        images = np.zeros([9, 8, 8, 1], np.uint8)
        images[8] = 200
        picture = grid(images, [str(number) for number in range(9)])
        # 4 columns; each example has 96 pixels, 8 of a gap, and 22 for a line of text below it.
        assert picture.shape == (3 * (96 + 22 + 8) + 8, 4 * (96 + 8) + 8, 3)
        last_row = 8 + 2 * (96 + 22 + 8)
        assert (picture[last_row : last_row + 96, 8 : 8 + 96] == 200).all()
        assert (picture[last_row : last_row + 96, 8 + 104 :] == 255).all()

    def test_has_a_line_of_text_below_each(self):
        picture = grid(np.zeros([1, 96, 96, 3], np.uint8), ["7 as 1"])
        assert picture[8 + 96 :].min() < 64
