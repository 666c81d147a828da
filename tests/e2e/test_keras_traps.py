"""What is wrong or broken under a strategy in Keras' `fit` and `evaluate` is right here, on any number of replicas.

The cases are those of `python -m benchmarks.versus_keras`, which shows what Keras gives; the numbers are worked out here.
"""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
one, two, four = (pytest.param(n, marks=[] if n == 2 else pytest.mark.slow) for n in (1, 2, 4))
everywhere = pytest.mark.parametrize("replicas", [one, two, four])
several = pytest.mark.parametrize("replicas", [two, four])


@pytest.fixture(scope="module")
def versus(mirrored_on):
    """versus(name) -> the module of that name in benchmarks/versus_keras, on this process's strategies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        problem = importlib.import_module("benchmarks.versus_keras.problem")
        patch.setattr(problem, "strategy", mirrored_on)
        yield lambda name: importlib.import_module(f"benchmarks.versus_keras.{name}")


@pytest.fixture(scope="module")
def cases(versus):
    """The cases by their names."""
    return {case.name: case for case in versus("column").CASES}


@pytest.fixture(scope="module")
def gives(cases):
    """gives(name, replicas) -> what Tallyloop gives."""
    return lambda name, replicas: cases[name].tallyloop(replicas)


@everywhere
def test_add_metric(gives, replicas):
    """The mean of 0 to 39, three times each."""
    assert gives("add_metric in a layer", replicas) == 19.5


@everywhere
def test_scalar_metric_function_over_103_rows(gives, replicas):
    """102 errors of 2, one of 50."""
    exact = (102 * 2**2 + 50**2) / 103
    assert gives("scalar metric function, evaluate on 103 rows", replicas) == pytest.approx(exact, rel=1e-6)


@everywhere
def test_masked_loss_in_evaluate(gives, replicas):
    """Sequence i has tokens (4 for 4 sequences, then 1, 0, 2, and 3 for 16), each with the label i / 10."""
    tokens = [4] * 4 + [1] * 4 + [0] * 4 + [2] * 4 + [3] * 16
    exact = sum(n * (i / 10) ** 2 for i, n in enumerate(tokens)) / sum(tokens)
    assert gives("masked loss, evaluate", replicas) == pytest.approx(exact, rel=1e-6)


@everywhere
def test_mean_inside_a_layer_with_an_empty_replica(gives, replicas):
    """17 rows in batches of 16: the last batch leaves all replicas but one empty. The mean of 0 to 16."""
    assert gives("mean of each batch to a metric in a layer, an empty replica", replicas) == 8


@everywhere
def test_a_maximum_stays_one(gives, replicas):
    assert gives("metric whose state is a maximum", replicas) == pytest.approx(0.7, rel=1e-6)


@everywhere
@pytest.mark.parametrize("n", [103, 97])
def test_fit_on_ragged_batches(gives, n, replicas):
    assert gives(f"dW of fit, {n} rows in batches of 16", replicas) < 1e-6


@everywhere
def test_batch_normalization_with_an_empty_replica(gives, replicas):
    """The moving mean is that of all rows: a replica without any counts for nothing."""
    assert gives("BatchNormalization, an empty replica: error of the moving mean, or NaN weights", replicas) < 1e-6


@everywhere
def test_synchronized_batch_normalization_with_an_empty_replica(gives, replicas):
    assert gives("dW with BatchNormalization(synchronized=True), an empty replica", replicas) < 1e-6


@several
@pytest.mark.parametrize("option", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_clipping_acts_on_the_reduced_gradient(gives, option, replicas):
    assert gives(f"dW with {option}", replicas) < 1e-6


@several
def test_gradient_accumulation_steps(gives, replicas):
    assert gives("dW with gradient_accumulation_steps", replicas) < 1e-6


@several
def test_ema_overwrite_frequency(gives, replicas):
    assert gives("dW with ema_overwrite_frequency", replicas) < 1e-6


@everywhere
def test_repeated_ids_in_an_embedding(gives, replicas):
    """Adam sees the sum of an id's rows; Keras squares the rows apart."""
    assert gives("dW with Adam, an embedding whose ids repeat in a batch", replicas) < 2e-6


@several
def test_jit_compile_on_several_replicas(gives, replicas):
    assert gives("dW with jit_compile=True", replicas) < 1e-6


@several
def test_steps_per_loop(gives, replicas):
    assert gives("dW with steps_per_execution=4 (Tallyloop: steps_per_loop=4)", replicas) < 1e-6


@everywhere
def test_loss_scale_with_inf_on_the_last_replica_only(gives, replicas):
    """The weights stay 0, the scale is halved."""
    assert gives("LossScaleOptimizer, Inf on the last replica only", replicas) == (0, 0.5)


@everywhere
def test_dropout_masks_of_replicas_differ(gives, replicas):
    """Independent masks of 4,096 halves agree at a half of the places, with a deviation of 1/128; here within 4."""
    agreement = gives("dropout of one half: the largest agreement of two rows' masks", replicas)
    assert abs(agreement - 0.5) < 4 / 128


@pytest.mark.slow
def test_two_workers_train_and_evaluate(versus):
    """Two processes, as in `MultiWorkerMirroredStrategy`; at weights of 0, the loss is the mean of y squared."""
    workers, problem = versus("workers"), versus("problem")
    loss, *weights = workers.result("tallyloop")
    assert loss == pytest.approx(np.mean(problem.rows(103)["y"].astype(np.float64) ** 2), rel=1e-6)
    np.testing.assert_allclose(weights, problem.descend(problem.rows(103), 14), atol=1e-6, rtol=0)


@several
def test_two_layers_with_one_metric_name(gives, replicas):
    assert gives("two layers with one metric name", replicas) == (1, 3)


@everywhere
def test_resume_in_the_middle_of_an_epoch(gives, replicas):
    steps, difference = gives("16 steps, stopped in mid-epoch and resumed (BackupAndRestore)", replicas)
    assert steps == 16
    assert difference < 1e-6


@everywhere
def test_dataset_of_unknown_length(gives, replicas):
    """Three epochs of 7 batches."""
    steps, difference = gives("dataset of unknown length, 3 epochs of 7 batches", replicas)
    assert steps == 21
    assert difference < 2e-6


# --- what the numbers are compared with ---


def test_the_trajectories_are_worth_comparing(versus):
    """A step by hand; and each option changes the weights by more than the differences that are allowed."""
    problem, optimizers = versus("problem"), versus("optimizers")
    two = {"x": np.float32([[1, 0, 2], [0, 1, 0]]), "y": np.float32([3, 5])}
    # At weights of 0 the errors are -3 and -5; the gradient is their mean, times twice (x, 1).
    np.testing.assert_allclose(problem.gradient(np.zeros(4), two), [-3, -5, -6, -8])
    np.testing.assert_allclose(problem.descend(two, 1), 0.02 * np.array([3, 5, 6, 8]))
    plain = problem.descend(problem.rows(96), 12)
    clips = (optimizers.clip_each, optimizers.clip_all, optimizers.clip_values)
    clipped = [problem.descend(problem.rows(96), 12, clip) for clip in clips]
    for changed in (*clipped, optimizers.accumulated(2), optimizers.averaged(0.5, 3)):
        assert np.abs(changed - plain).max() > 0.05


def test_a_wrong_number_is_not_called_right(cases, versus):
    case, failure = cases["dW of fit, 103 rows in batches of 16"], versus("case").Failure("ValueError: no")
    assert case.is_right(3e-6)
    for wrong in (3e-5, math.nan, math.inf, (0.0, 0.0), failure):
        assert not case.is_right(wrong)


# --- the table ---


@pytest.fixture(scope="module")
def command(versus):
    """The module of the command."""
    return importlib.import_module("benchmarks.versus_keras.__main__")


def test_the_page_has_every_case(cases, command):
    lines = command.PAGE.read_text().splitlines()
    named = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert named == ["case", *cases], "run python -m benchmarks.versus_keras --write"


def test_tallyloop_is_right_everywhere_on_the_page(command):
    rows = [line.split("|") for line in command.PAGE.read_text().splitlines() if line.startswith("| ")]
    for row in rows[1:]:
        keras, tallyloop = " ".join(row[3:6]), " ".join(row[6:8])
        assert "✗" in keras or "error" in keras, row
        assert "✗" not in tallyloop, row
        assert "error" not in tallyloop, row


@pytest.mark.slow
def test_some_rows_are_measured(command, monkeypatch):
    """Two cheap ones, in their own process, Keras included."""
    monkeypatch.setattr(command, "REPLICAS", (2,))
    found = command.measure(["add_metric", "whose state is a maximum"])
    names = ["add_metric in a layer", "metric whose state is a maximum"]
    assert {n: [row["name"] for row in rows] for n, rows in found.items()} == {2: names}
    assert found[2][0]["keras"]["error"].startswith("NotImplementedError: Layer `add_metric()`")
    assert found[2][1] == {
        "name": names[1],
        "exact": "0.7",
        "keras": {"text": "1.4", "right": False},
        "tallyloop": {"text": "0.7", "right": True},
    }


@pytest.mark.benchmark
def test_the_whole_table(command, capsys):
    """Some minutes; every run measures some rows, and has a test above for each."""
    assert command.main([]) == 0, capsys.readouterr().out
