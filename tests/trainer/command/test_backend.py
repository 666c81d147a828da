"""The checks of a launch with several workers; whole launches are in tests/e2e/test_workers.py."""

import json

import gin
import pytest
from absl.testing import flagsaver
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config as configs
from tallyloop.trainer.command import backend, flags
from tallyloop.trainer.distribution import strategies, workers
from tallyloop.trainer.trainer import Trainer

TWO = {"cluster": {"worker": ["localhost:2221", "localhost:2222"]}, "task": {"type": "worker", "index": 0}}
SINGLE, MANY = "Trainer.strategy=@mirrored()", "Trainer.strategy=@multi_worker_mirrored()"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    assert Trainer
    assert strategies  # registered by their import
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with flagsaver.flagsaver():
        yield
    flags.FLAGS.unparse_flags()
    gin.clear_config()


def check_strategy(*params: str, arguments: tuple[str, ...] = ()) -> None:
    backend.check_strategy(configs.load([], params), flags.parse(["tallyloop", *arguments]))


class TestLoad:
    def test_another_keras_backend_is_refused(self, monkeypatch):
        monkeypatch.setenv("KERAS_BACKEND", "jax")
        with pytest.raises(UsageError, match=r"^KERAS_BACKEND=jax: expected tensorflow; unset it\.$"):
            backend.load(None)


class TestCheckStrategy:
    def test_one_process_may_have_any_strategy(self):
        for params in ((), (SINGLE,), (MANY,)):
            check_strategy(*params)

    def test_a_cluster_needs_a_strategy_of_many_workers(self, monkeypatch):
        monkeypatch.setenv("TF_CONFIG", json.dumps(TWO))
        with pytest.raises(UsageError, match=r"^TF_CONFIG with 2 workers needs .*, which is not bound: add"):
            check_strategy()
        with pytest.raises(UsageError, match=r"^TF_CONFIG with 2 workers needs .*, got @mirrored\(\): add"):
            check_strategy(SINGLE)
        check_strategy(MANY)

    def test_a_cluster_does_not_matter_where_nothing_is_trained(self, monkeypatch):
        monkeypatch.setenv("TF_CONFIG", json.dumps(TWO))
        check_strategy(SINGLE, arguments=("--mode=predict",))
        check_strategy(SINGLE, arguments=("--dry_run",))

    def test_a_start_timeout_needs_a_strategy_of_many_workers(self):
        with pytest.raises(
            UsageError, match=r"^--start_timeout=9.0 needs Trainer.strategy = @multi_worker_mirrored\(\)"
        ):
            check_strategy(SINGLE, arguments=("--start_timeout=9",))


class TestAgreement:
    def test_differences_name_the_worker_and_the_binding(self, monkeypatch):
        config = configs.load([], ["Trainer.train_steps=5"])
        others = iter([["Trainer.train_steps = 5\n", "Trainer.train_steps = 6\n"], ["train", "eval"]])
        monkeypatch.setattr(workers, "exchange", lambda strategy, text: next(others))
        with pytest.raises(UsageError) as caught:
            backend._check_agreement(config, "train", None)
        assert str(caught.value) == (
            "The workers were not started alike. Differences from the chief (worker 0):\n"
            "  worker 1: --mode: train -> eval\n"
            "  worker 1: Trainer.train_steps: 5 -> 6\n"
            "Give every worker the same command."
        )

    def test_equal_workers_pass(self, monkeypatch):
        monkeypatch.setattr(workers, "exchange", lambda strategy, text: [text, text])
        backend._check_agreement(configs.load([], ["Trainer.train_steps=5"]), "train", None)
