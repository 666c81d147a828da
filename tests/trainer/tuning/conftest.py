import pytest
from tallyloop.trainer.tuning.settings import Facts


@pytest.fixture
def facts():
    """What a plain config of arrays in memory is."""
    return Facts(
        train_steps=1000,
        jit_compile=False,
        policy="float32",
        onednn=False,
        huge_pages=False,
        replicas=1,
        examples_per_step=64,
        dataset="train/Input",
        feed="memory",
        cache=False,
        maps=False,
        transforms=False,
        read_threads=2,
        read_processes=0,
    )
