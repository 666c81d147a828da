"""The hardest images, and the colors of their borders."""

from types import SimpleNamespace

import numpy as np
import pytest
from tallyloop.data import Input
from tallyloop.models import hardest_images

GREY = np.linspace(0.1, 0.6, 6, dtype=np.float32)  # of each image, whose logit of class 1 grows with it
LABELS = np.array([0, 0, 0, 1, 1, 1])


def model(images, training):
    mean = images.mean((1, 2, 3))
    return np.stack([np.zeros_like(mean), 10 * (mean - 0.45)], -1)  # 0.1 to 0.4 are taken for class 0


@pytest.fixture
def trainer():
    images = np.tile(GREY[:, None, None, None], (1, 3, 4, 1))
    return SimpleNamespace(model=model, eval_datasets={"test": Input({"image": images, "label": LABELS}, 6)})


def test_come_first_and_have_red_borders(trainer):
    """The fourth is taken for 0; of the others, the fifth is the closest, then the third, whose logits are 0.5 and -1.5 away."""
    found = hardest_images(trainer, count=3)
    assert found.shape == (3, 7, 8, 3)
    np.testing.assert_allclose(found[:, 3, 4], np.tile([[0.4], [0.5], [0.3]], (1, 3)), atol=1e-6)
    assert [("red" if border[0] > border[1] else "green") for border in found[:, 0, 0]] == ["red", "green", "green"]
    assert len(hardest_images(trainer)) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"dataset": "tset"},
            "hardest_images.dataset = 'tset': expected a name in Trainer.eval_datasets, one of ['test']",
        ),
        (
            {"labels": "y"},
            "expected the key 'y', got ['image', 'label']; set hardest_images.features and",
        ),
        (
            {"features": "label"},
            "hardest_images.features = 'label': expected images (batch, height, width, 1 or 3), got shape",
        ),
    ],
)
def test_mistakes_are_refused(trainer, refused, given, message):
    with refused(message):
        hardest_images(trainer, **given)
