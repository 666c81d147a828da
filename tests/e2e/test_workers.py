"""The command with many workers: real processes on this machine."""

import contextlib
import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer.command.group import free_ports
from tallyloop.trainer.distribution import tf_config

PARAM = "--gin_param="
MANY = PARAM + "Trainer.strategy=@multi_worker_mirrored()"
TWO = tf_config.write(["localhost:1", "localhost:2"], 0)


def test_two_workers_of_two_replicas_train_as_one(command, trained, short):
    done = command.ok("--workers=2", "--virtual_cpus=2", "--max_restarts=0", MANY, *short)
    lines, alone = command.lines(), trained.lines()
    assert [(line["step"], line["split"]) for line in lines] == [(line["step"], line["split"]) for line in alone]
    for line, same in zip(lines, alone, strict=True):
        assert line["counts"] == same["counts"]
        assert line["metrics"] == pytest.approx(same["metrics"], rel=1e-4)
    assert "Traceback" not in done.stderr
    assert not [line for line in done.stderr.splitlines() if not line.startswith("[worker 1] ")]


@pytest.mark.parametrize(
    ("flags", "fragments"),
    [
        pytest.param(
            ["--workers=2"],
            ["--workers=2 needs Trainer.strategy = @multi_worker_mirrored()", "not bound"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--workers=2", PARAM + "Trainer.strategy=@mirrored()"],
            ["--workers=2 needs", "got @mirrored()"],
            marks=pytest.mark.slow,
        ),
        (["--start_timeout=9"], ["--start_timeout=9.0 needs Trainer.strategy = @multi_worker_mirrored()"]),
        pytest.param(
            ["--workers=2", MANY, PARAM + "Trainer.train_step=3"],
            ["train_step", 'did you mean "train_steps"'],
            marks=pytest.mark.slow,
        ),
        (["--workers=2", "--model_dir=taken/run"], ["--model_dir", "taken"]),
        (["--workers=0"], ["--workers=0: expected", "at least 1"]),
        (["--workers=2", "--max_restarts=-1"], ["--max_restarts=-1: expected", "at least 0"]),
        (["--max_restarts=1"], ["--max_restarts=1 is for --workers"]),
        (["--start_timeout=0"], ["--start_timeout=0.0: expected", "greater than 0"]),
        (["--workers=2", "--dry_run"], ["--workers=2", "--dry_run needs one process"]),
        (["--workers=2", "--explain=Trainer"], ["--workers=2", "--explain needs one process"]),
        *[(["--workers=2", f"--mode={mode}"], [f"--mode={mode} needs one"]) for mode in ("export", "check")],
    ],
)
def test_wrong_usage_is_said_once(command, flags, fragments):
    (command.folder / "taken").write_text("a file, not a folder")
    done = command(*flags)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("Error: ") == len(done.stderr.splitlines()) == 1
    for fragment in fragments:
        assert fragment in done.stderr
    assert not command.model_dir.exists()


@pytest.mark.parametrize(
    ("value", "flags", "fragments"),
    [
        ("{", [MANY], ["TF_CONFIG", "isn't JSON"]),
        ("", [MANY], ["--workers=2, or set TF_CONFIG", "@mirrored()"]),
        (TWO, [], ["TF_CONFIG with 2 workers needs Trainer.strategy = @multi_worker_mirrored()"]),
        (TWO, [MANY, "--import_module=early"], ["TensorFlow is already in use", "Make the strategy before"]),
    ],
)
def test_a_wrong_environment_is_wrong_usage(command, value, flags, fragments):
    (command.folder / "early.py").write_text("import tensorflow as tf\n\nONE = tf.constant(1)\n")
    model_dir = f"--model_dir={command.model_dir}"
    done = command.raw("--gin_file=digits.gin", model_dir, *flags, TF_CONFIG=value)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    for fragment in fragments:
        assert fragment in done.stderr


def test_a_worker_that_never_comes(command):
    flags = ["--gin_file=digits.gin", f"--model_dir={command.model_dir}", MANY, "--start_timeout=1"]
    done = command.raw(*flags, TF_CONFIG=tf_config.write(["localhost:47123", "localhost:1"], 0))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Gave up after 1 s")
    assert "1 of 2 workers: worker 1 (localhost:1)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


LONG = ("Trainer.train_steps=1000000", "Trainer.steps_per_loop=5", "Trainer.summary_interval=5")


def _start(command, text):
    """A worker that trains for long."""
    arguments = ["--gin_file=digits.gin", f"--model_dir={command.model_dir}", MANY, *(PARAM + each for each in LONG)]
    return command.forked(*arguments, env=os.environ | {"TF_CONFIG": text})


def _wait_until_it_trains(command, workers):
    end = time.monotonic() + 120
    while time.monotonic() < end and all(worker.poll() is None for worker in workers):
        with contextlib.suppress(FileNotFoundError):
            if (command.model_dir / "metrics.jsonl").read_text():
                return
        time.sleep(0.1)
    for worker in workers:
        worker.kill()
    raise AssertionError(f"they did not start: {[worker.communicate()[1] for worker in workers]}")


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_the_other_worker_says_that_one_was_lost_and_ends(command, killed):
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    workers = [_start(command, tf_config.write(addresses, index)) for index in range(2)]
    _wait_until_it_trains(command, workers)
    workers[killed].kill()
    error = workers[1 - killed].communicate(timeout=60)[1]
    workers[killed].communicate()
    assert workers[1 - killed].returncode == 1
    assert error.startswith(f"Error: another worker has failed or is gone (worker {killed})")
    assert len(error.splitlines()) == 1


def _started(command, *flags, common=()):
    """A worker for each of `flags`, started with it and what they have in common."""
    addresses = [f"localhost:{port}" for port in free_ports(len(flags))]
    arguments = ["--gin_file=digits.gin", f"--model_dir={command.model_dir}", MANY, *common]
    return [
        command.forked(*arguments, flag, env=os.environ | {"TF_CONFIG": tf_config.write(addresses, index)})
        for index, flag in enumerate(flags)
    ]


@pytest.mark.slow
def test_workers_that_were_started_differently(command):
    """Every worker stops, and says the bindings that differ."""
    workers = _started(command, PARAM + "Trainer.train_steps=20", PARAM + "Trainer.train_steps=21")
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    for worker, error in zip(workers, errors, strict=True):
        assert worker.returncode == 2
        assert "worker 1: Trainer.train_steps: 20 -> 21" in error
        assert "Traceback" not in error
    assert not command.model_dir.exists()


@pytest.mark.slow
def test_a_group_whose_worker_was_killed_starts_again_and_ends_as_if_nothing_had_happened(command, trained, short):
    """Killed by its pid after the first checkpoint; then the same folder is evaluated by two workers."""
    (command.folder / "slow.py").write_text(
        "import time\n\nimport gin\n\n\n@gin.register\ndef slow(trainer, summary):\n    time.sleep(0.3)\n"
    )
    flags = ["--workers=2", MANY, "--import_module=slow", PARAM + "Trainer.actions=[@slow]", *short]
    flags += [PARAM + "Trainer.summary_interval=5", PARAM + "Trainer.checkpoint_interval=15"]
    flags += ["--gin_file=digits.gin", f"--model_dir={command.model_dir}"]
    group = command.forked(*flags)
    _wait_for(command.model_dir / "checkpoints" / "checkpoint", group)
    os.kill(_worker_of(group.pid, 1), signal.SIGKILL)
    error = group.communicate(timeout=180)[1]
    assert group.returncode == 0, error
    assert "Worker 1 was killed by SIGKILL: restarting all 2 workers (restart 1 of 3)." in error
    last, same = command.lines()[-1], trained.lines()[-1]
    assert (last["step"], last["split"], last["counts"]) == (60, "eval", same["counts"])
    assert last["metrics"] == pytest.approx(same["metrics"], rel=1e-4)
    steps = [line["step"] for line in command.lines() if line["split"] == "train"]
    assert steps == list(range(5, 61, 5))
    evaluated = command.ok("--workers=2", "--mode=eval", MANY, *short)
    assert evaluated.stdout.count("eval") == 1
    assert command.lines()[-1]["metrics"] == pytest.approx(last["metrics"], rel=1e-6)


def _wait_for(path, process):
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{path} was not written in 120 s"
        time.sleep(0.05)


def _worker_of(launcher, index):
    """The pid of a worker that the launcher started, in the order of their numbers."""
    return int(Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()[index])


# The launcher passes both signals on in the same way, which tests/trainer/command shows.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "number"),
    [
        (1, signal.SIGTERM),
        (1, signal.SIGINT),
        (1, signal.SIGHUP),
        (2, signal.SIGTERM),
    ],
)
def test_asked_to_stop(command, trained, short, workers, number):
    """One worker gets the signal: all save at the same step, and exit with 42; the same command continues."""
    flags = ["--gin_file=digits.gin", f"--model_dir={command.model_dir}", *short]
    flags += ["--import_module=slow", PARAM + "Trainer.actions=[@slow]", PARAM + "Trainer.summary_interval=5"]
    flags += ["--workers=2", MANY] if workers == 2 else []
    (command.folder / "slow.py").write_text(
        "import time\n\nimport gin\n\n\n@gin.register\ndef slow(trainer, summary):\n    time.sleep(0.3)\n"
    )
    run = command.forked(*flags)
    _wait_for(command.model_dir / "metrics.jsonl", run)
    os.kill(_worker_of(run.pid, 1) if workers == 2 else run.pid, number)
    error = run.communicate(timeout=60)[1]
    assert run.returncode == 42, error
    assert "The same command continues." in error
    assert "Traceback" not in error
    done = command.raw(*flags)
    assert done.returncode == 0, done.stderr
    last, same = command.lines()[-1], trained.lines()[-1]
    assert (last["step"], last["split"], last["counts"]) == (60, "eval", same["counts"])
    assert last["metrics"] == pytest.approx(same["metrics"], rel=1e-4 if workers == 2 else 1e-9)
    assert [line["step"] for line in command.lines() if line["split"] == "train"] == list(range(5, 61, 5))


FAILS = """
import itertools
import json
import os

import gin

@gin.register
def fails(trainer, summary):
    if summary.step == 10 and not os.path.exists("fixed") and json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
        raise ValueError("a bug on worker 1")
"""


@pytest.mark.slow
def test_an_action_that_fails_on_one_worker(command, trained, short):
    """At step 10, where no checkpoint is due: both save, none hangs, and the rerun continues from there."""
    (command.folder / "fails.py").write_text(FAILS)
    flags = ["--workers=2", "--max_restarts=0", MANY, *short, "--import_module=fails"]
    flags += [PARAM + "Trainer.actions=[@fails]", PARAM + "Trainer.summary_interval=5"]
    done = command(*flags)
    assert done.returncode == 1
    assert "ValueError: a bug on worker 1" in done.stderr
    assert "Error: another worker has failed: see its messages. The run is saved as it was after step 10" in done.stderr
    assert [path.name for path in (command.model_dir / "checkpoints").glob("*.index")] == ["ckpt-10.index"]
    (command.folder / "fixed").touch()
    command.ok(*flags)
    last, same = command.lines()[-1], trained.lines()[-1]
    assert last["metrics"] == pytest.approx(same["metrics"], rel=1e-4)


@pytest.mark.slow
def test_workers_with_different_numbers_of_devices(command):
    workers = _started(command, "--virtual_cpus=1", "--virtual_cpus=2")
    for worker in workers:
        error = worker.communicate(timeout=120)[1]
        assert worker.returncode == 2, error
        assert "/job:worker/task:0 has 1, /job:worker/task:1 has 2" in error


@pytest.mark.slow
def test_a_stream_on_two_workers_and_on_with_one(command):
    """30 steps on two workers, 30 more on one: the numbers of 60 on one; the stream goes on where it was."""
    (command.folder / "streams.py").write_text(
        "import gin\nimport tensorflow as tf\nfrom tallyloop.data import digits\n\n\n@gin.register\ndef stream():\n"
        '    return tf.data.Dataset.from_tensor_slices(digits("train"))\n'
    )
    flags = ["--import_module=streams", PARAM + "train/Input.source=@stream", PARAM + "Trainer.summary_interval=20"]
    steps = PARAM + "Trainer.train_steps="
    command.ok(*flags, steps + "60")
    other = command.folder / "other"
    workers = ["--gin_file=digits.gin", f"--model_dir={other}", *flags, steps + "30", "--workers=2", MANY]
    done = command.started(*workers)  # all processes as a user starts them, which the other tests fork
    assert done.returncode == 0, done.stderr
    command.ok(*flags, steps + "60", model_dir=other)
    for line, same in zip(command.lines(other)[-2:], command.lines()[-2:], strict=True):
        assert (line["step"], line["split"]) == (same["step"], same["split"])
        assert line["metrics"] == pytest.approx(same["metrics"], rel=1e-4)


SHARDS = """
import gin
import tensorflow as tf
from tallyloop.data import digits


@gin.register
def shards(shard, shards, split):
    arrays = {key: value[shard::shards] for key, value in digits(split).items()}
    return tf.data.Dataset.from_tensor_slices(arrays).take(1000 if shard else 7)


@gin.register
def of_train(shard, shards):
    return globals()["shards"](shard, shards, "train")


@gin.register
def of_test(shard, shards):
    return globals()["shards"](shard, shards, "test")
"""


@pytest.mark.slow
def test_shards_on_two_workers_and_on_with_one(command):
    """15 steps on two workers, 15 more on one of two replicas: the bits of 30 on that one. The first shard has 7 examples."""
    (command.folder / "cut.py").write_text(SHARDS)
    flags = ["--import_module=cut", PARAM + "train/Input.source=@of_train", PARAM + "test/Input.source=@of_test"]
    flags += [PARAM + "Input.shards=4", PARAM + "Trainer.summary_interval=15", PARAM + "train/Input.shuffle=True"]
    flags += [PARAM + "Trainer.eval_interval=15"]
    alone = ["--virtual_cpus=2", PARAM + "Trainer.strategy=@mirrored()"]
    steps = PARAM + "Trainer.train_steps="
    command.ok(*flags, *alone, steps + "30")
    other = command.folder / "other"
    done = command.ok(*flags, steps + "15", "--workers=2", "--max_restarts=0", MANY, model_dir=other)
    assert "reads the whole stream" not in done.stderr
    command.ok(*flags, *alone, steps + "30", model_dir=other)
    for line, same in zip(command.lines(other), command.lines(), strict=True):
        assert (line["step"], line["split"], line["counts"]) == (same["step"], same["split"], same["counts"])
        assert line["metrics"] == pytest.approx(same["metrics"], rel=1e-6)
    one, two = (tf.train.load_checkpoint(str(path / "checkpoints" / "ckpt-30")) for path in (command.model_dir, other))
    names = [name for name in one.get_variable_to_shape_map() if name.startswith(("model/", "optimizer/", "data/"))]
    assert len(names) > 6
    for name in names:
        np.testing.assert_array_equal(one.get_tensor(name), two.get_tensor(name), err_msg=name)


COUNTED = """
import os

import gin
import numpy as np
from tallyloop.data import digits


class Counted:
    def __init__(self):
        self.arrays = digits("train")

    def __len__(self):
        return len(self.arrays["y"])

    def __getitems__(self, rows):
        with open(f"rows-{os.getpid()}.txt", "a") as file:
            file.write(" ".join(map(str, rows.tolist())) + "\\n")
        return {key: array[rows] for key, array in self.arrays.items()}


counted = gin.register("counted")(Counted)
"""
BATCH, ROWS, AHEAD = 64, 1438, 400


def _rows_of(worker, steps):
    """The rows of a worker of two, of one replica each, in some steps."""
    feed = Input({"row": np.arange(ROWS)}, BATCH, shuffle=True, seed=0).open_train()
    plan = feed.plan(tf.constant(0, tf.int64), steps)
    parts = [feed.fetch(plan, tf.constant(i, tf.int64)) for i in range(steps)]
    return [feed.shard(part, n, worker, 2)[0]["row"].numpy().tolist() for part, n in parts]


@pytest.mark.slow
def test_rows_by_number_on_two_workers_and_on_with_one(command):
    """15 steps on two workers, 15 more on one of two replicas: the bits of 30 on that one. Each worker reads its rows only."""
    (command.folder / "counting.py").write_text(COUNTED)
    flags = ["--import_module=counting", PARAM + "train/Input.source=@counted"]
    flags += [PARAM + f"train/Input.global_batch_size={BATCH}", PARAM + "Input.read_threads=1"]
    alone = ["--virtual_cpus=2", PARAM + "Trainer.strategy=@mirrored()"]
    steps = PARAM + "Trainer.train_steps="
    command.ok(*flags, *alone, steps + "30")
    for file in command.folder.glob("rows-*.txt"):
        file.unlink()
    other = command.folder / "other"
    command.ok(*flags, steps + "15", "--workers=2", "--max_restarts=0", MANY, model_dir=other)
    texts = [file.read_text() for file in command.folder.glob("rows-*.txt")]
    read = [[list(map(int, line.split())) for line in text.splitlines()] for text in texts]
    command.ok(*flags, *alone, steps + "30", model_dir=other)
    one, two = (tf.train.load_checkpoint(str(path / "checkpoints" / "ckpt-30")) for path in (command.model_dir, other))
    names = [name for name in one.get_variable_to_shape_map() if name.startswith(("model/", "optimizer/"))]
    assert len(names) > 4
    for name in names:
        np.testing.assert_array_equal(one.get_tensor(name), two.get_tensor(name), err_msg=name)
    mine = [_rows_of(worker, AHEAD) for worker in range(2)]
    found = [_own(each) for each in read]
    assert sorted(len(each) > 0 for each in found).count(True) == 2  # the process that starts the workers reads none
    for each in filter(None, found):
        (worker,) = [worker for worker in range(2) if each[: len(mine[worker][0])] == mine[worker][0]]
        assert len(each) >= 15 * BATCH // 2
        assert each == list(itertools.chain(*mine[worker]))[: len(each)]
        (before,) = [rows for rows, own in zip(map(_before, read), found, strict=True) if own is each]
        assert set(before) <= {0, *mine[worker][0]}


def _before(reads):
    """The rows that a worker reads before it trains: its part of the first batch, which is checked, and row 0, for its shape."""
    last = max((place for place, rows in enumerate(reads) if len(rows) == 1), default=0)
    return list(itertools.chain(*reads[: last + 1]))


def _own(reads):
    """The rows that a worker reads in training."""
    return list(itertools.chain(*reads))[len(_before(reads)) :]


@pytest.mark.slow
def test_workers_that_read_different_files(command):
    """As many sources do it: each worker takes the files of its number. Half of them would be thrown away."""
    (command.folder / "sharded.py").write_text(
        "import json\nimport os\n\nimport gin\nimport tensorflow as tf\nfrom tallyloop.data import digits\n\n\n@gin.register\n"
        'def sharded():\n    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]\n'
        '    return tf.data.Dataset.from_tensor_slices(digits("train")).shard(2, index)\n'
    )
    source = PARAM + "train/Input.source=@sharded"
    same = PARAM + "Trainer.train_steps=20"
    for worker in _started(command, same, same, common=("--import_module=sharded", source)):
        error = worker.communicate(timeout=120)[1]
        assert worker.returncode == 2, error
        assert "Trainer.train_dataset: worker" in error
        assert "reads a different first batch than worker" in error


@pytest.mark.slow
def test_a_cluster_of_one_worker(command):
    (worker,) = _started(command, PARAM + "Trainer.train_steps=20")
    error = worker.communicate(timeout=120)[1]
    assert worker.returncode == 0, error
    assert command.lines()[-1]["step"] == 20
