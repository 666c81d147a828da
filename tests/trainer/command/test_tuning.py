import os
import signal
import sys
from pathlib import Path

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.command import tuning
from tallyloop.trainer.command.request import Request
from tallyloop.trainer.tuning.contestant import Failure
from tallyloop.trainer.tuning.settings import Setting

REQUEST = Request(mode="tune", gin_file=["a.gin"], gin_param=["b.c=1"], model_dir="/nowhere", virtual_cpus=2)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(course, request) -> the exit code; `course` stands for the whole tuning. Nothing is left behind."""
    monkeypatch.setattr(tuning.tempfile, "tempdir", str(tmp_path))

    def run(course, request=REQUEST):
        monkeypatch.setattr(tuning, "tune", lambda start, sizes, cores, environment: course(start, sizes))
        try:
            return tuning.run(request)
        finally:
            assert list(tmp_path.iterdir()) == []

    return run


def failing(*arguments):
    def course(start, sizes):
        raise Failure(*arguments)

    return course


class TestRun:
    def test_starts_the_command_without_the_folder(self, run, monkeypatch):
        made = []
        monkeypatch.setattr(tuning, "Contestant", lambda *arguments: made.append(arguments))
        assert run(lambda start, sizes: start(Setting("s", ("Trainer.jit_compile = True",), policy="p"))) == 0
        _, command, folder = made[0]
        assert Path(folder).name.startswith("tallyloop-tune-")
        assert command == [
            *(sys.executable, "-P", "-m", "tallyloop.trainer.command.lapping", str(os.getpid()), "p"),
            *("--gin_file=a.gin", "--gin_param=b.c=1", "--gin_param=Trainer.jit_compile = True"),
            *("--mode=train", "--virtual_cpus=2"),
        ]

    def test_passes_the_batch_sizes_on(self, run):
        found = []
        run(lambda start, sizes: found.extend(sizes), Request(mode="tune", tune_batch_sizes="32,64"))
        assert found == [32, 64]

    def test_a_mistake_of_the_users_is_one(self, run):
        with pytest.raises(UsageError, match=r"^expected another thing$"):
            run(failing("expected another thing", True))

    def test_another_failure_is_reported(self, run, capsys):
        assert run(failing("killed by SIGKILL")) == 1
        told = "Error: --mode=tune: the config as given cannot be trained: killed by SIGKILL\n"
        assert capsys.readouterr().err == told

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_ends_at_a_signal(self, run, capsys, number):
        before = signal.signal(
            number, given := signal.default_int_handler
        )  # `nohup` or a shell may have had it ignored
        try:
            assert run(lambda start, sizes: signal.raise_signal(number)) == 1
            assert "left nothing behind" in capsys.readouterr().err
            assert signal.getsignal(number) is given
        finally:
            signal.signal(number, before)

    def test_leaves_nothing_when_nobody_reads_on(self, run):
        def course(start, sizes):
            raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            run(course)

    @pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_second_signal_does_not_keep_it_from_removing_all(self, run, capsys, second):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ended = []

        def course(start, sizes):
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:  # as a setting's process is ended
                signal.raise_signal(second)
                ended.append(True)

        assert run(course) == 1
        assert ended == [True]
        assert "left nothing behind" in capsys.readouterr().err
