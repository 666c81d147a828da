import pytest
from tallyloop.metrics.errors import did_you_mean


@pytest.mark.parametrize(
    ("typed", "known", "suggestion"),
    [
        ("trian_steps", ["train_steps", "seed"], ': did you mean "train_steps"?'),
        ("TRAIN_STEPS", ["train_steps"], ': did you mean "train_steps"?'),
        ("stage_3", ["stage_1", "stage_2", "other"], ': did you mean "stage_2" or "stage_1"?'),
        ("stage_12", ["stage_1", "unlike"], ': did you mean "stage_1"?'),
        ("Trainer", ["RandomInvert"], ""),
        ("anything", [], ""),
    ],
)
def test_did_you_mean(typed, known, suggestion):
    assert did_you_mean(typed, known) == suggestion
