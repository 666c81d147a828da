"""Writing checkpoints in the background."""

import os
import sys
import threading

import pytest
from tallyloop.trainer.checkpointing import saver


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
def test_the_writing_thread_yields_to_training(make_trainer, monkeypatch, tmp_path):
    seen = []

    def write(snapshot, prefix):
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        original(snapshot, prefix)

    original = saver.write
    monkeypatch.setattr(saver, "write", write)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    make_trainer(train_steps=2, model_dir=tmp_path).train()
    assert seen == [min(before + 10, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
def test_where_that_is_forbidden_it_writes_all_the_same(make_trainer, monkeypatch, tmp_path, caplog):
    def forbidden(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", forbidden)
    make_trainer(train_steps=2, model_dir=tmp_path).train()
    assert (tmp_path / "checkpoints" / "ckpt-2.index").exists()
    assert "no lower priority ([Errno 1] Operation not permitted)" in caplog.text
