"""Random changes of images."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input, augmented

IMAGE = np.random.default_rng(0).uniform(0.2, 0.8, (9, 12, 3)).astype(np.float32)
NOTHING = {"rotate": 0.0, "zoom": 0.0, "shift": 0.0}


def made(seed=0, image=IMAGE, **given):
    function = augmented(**(NOTHING | given))
    return function({"image": tf.constant(image), "label": 1}, tf.constant([seed, 1]))["image"].numpy()


class TestWhatItDoes:
    def test_leaves_the_image_alone_by_default(self):
        np.testing.assert_allclose(made(), IMAGE, atol=1e-6)

    def test_mirrors_half(self):
        found = [made(seed, flip=True) for seed in range(40)]
        mirrored = [np.allclose(each, IMAGE[:, ::-1], atol=1e-6) for each in found]
        assert all(
            is_mirrored or np.allclose(each, IMAGE, atol=1e-6)
            for is_mirrored, each in zip(mirrored, found, strict=True)
        )
        assert 10 < sum(mirrored) < 30

    def test_adds_to_all_pixels(self):
        added = [made(seed, brightness=0.2) - IMAGE for seed in range(10)]
        assert all(np.ptp(each) < 1e-6 and abs(each.mean()) <= 0.2 for each in added)
        assert np.std([each.mean() for each in added]) > 0.05

    def test_scales_around_the_mean(self):
        mean = IMAGE.mean((0, 1))
        factor = (made(3, contrast=0.5) - mean) / (IMAGE - mean)
        assert np.ptp(factor) < 1e-3
        assert 0.5 <= factor.mean() <= 1.5

    def test_shifts(self):
        """A ramp moves by the same everywhere; not at the edges, which are reflected."""
        ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32)[:, None, None], (1, 40, 1))
        moved = [(made(seed, ramp, shift=0.1) - ramp)[8:-8] * 39 for seed in range(10)]
        assert all(np.ptp(each) < 1e-3 and abs(each.mean()) <= 4 for each in moved)
        assert np.std([each.mean() for each in moved]) > 1

    def test_turns_and_zooms_around_the_center(self):
        dot = np.zeros((21, 21, 1), np.float32)
        dot[10, 10] = 1
        assert made(1, dot, rotate=90.0, zoom=0.5)[10, 10, 0] == pytest.approx(1, abs=1e-5)
        dot = np.zeros((21, 21, 1), np.float32)
        dot[10, 15] = dot[10, 16] = dot[9, 15] = dot[9, 16] = 1
        places = [np.unravel_index(made(seed, dot, rotate=180.0).argmax(), (21, 21)) for seed in range(10)]
        assert {round(float(np.hypot(row - 10, column - 10))) for row, column in places} <= {5, 6}
        assert len(set(places)) > 4


class TestSeeds:
    def test_are_of_the_example_and_epoch(self):
        """Two epochs differ, two runs do not."""
        data = {"image": np.tile(IMAGE, (4, 1, 1, 1)), "label": np.arange(4)}
        feeds = [Input(data, 4, map_fn=augmented(), shuffle=False, seed=5).open_train() for _ in range(2)]
        batches = []
        for opened in feeds:
            step = tf.constant(0, tf.int64)
            plan = opened.plan(step, step + 2)
            batches.append([opened.whole(opened.fetch(plan, step + i)[0])["image"].numpy() for i in range(2)])
        np.testing.assert_array_equal(batches[0], batches[1])
        assert np.abs(batches[0][0] - batches[0][1]).max() > 0.05
        assert np.abs(batches[0][0][0] - batches[0][0][1]).max() > 0.05


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rotate": 200}, "augmented.rotate = 200: expected a number from 0 to 180"),
        ({"zoom": "big"}, "augmented.zoom = 'big': expected a number from 0 to 0.9"),
        ({"shift": -0.1}, "augmented.shift = -0.1: expected a number from 0 to 0.9"),
        ({"contrast": True}, "augmented.contrast = True: expected a number from 0 to 1"),
        ({"decode": 3}, "augmented.decode = 3: expected a function of an example, such as @decode_image()"),
    ],
)
def test_mistakes_are_refused(refused, given, message):
    with refused(message):
        augmented(**given)


@pytest.mark.parametrize(
    ("example", "got"),
    [({"x": IMAGE, "label": 1}, "['label', 'x']"), ((IMAGE, 1), "a tuple")],
    ids=["dict", "tuple"],
)
def test_examples_without_the_image_are_refused(refused, example, got):
    with refused(f"augmented.key = 'image': expected one of the keys of an example, got {got}"):
        augmented()(example, tf.constant([0, 1]))
