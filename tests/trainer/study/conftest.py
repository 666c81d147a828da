"""Studies of a command that stands in for training and takes a tenth of a second: the parts of a run that a study sees."""

import json
import sys
from pathlib import Path

import pytest
from tallyloop.trainer.study import study
from tallyloop.trainer.study.grid import Grid, points
from tallyloop.trainer.study.search import Search
from tallyloop.trainer.study.space import read

# Five evaluations, each of which is a little better; a rerun continues after the last line, as from a checkpoint.
TRAIN = """
import fcntl, json, os, signal, sys, time
from pathlib import Path
from tallyloop.trainer.distribution.forwarding import die_with
die_with(int(os.environ.pop("TALLYLOOP_STUDY")))
told = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: told.append(number))
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
folder, x = Path(given.pop("--model_dir")), float(given["x"])
lock = open(folder / "lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
with open(folder / "starts", "a") as file:
    file.write(f"{x!r}\\n")
if x < 0:
    print("Error: x = %r: expected a number of at least 0." % x, flush=True)
    sys.exit(2)
(folder / "config.gin").write_text(f"x = {x!r}\\n")
metrics = folder / "metrics.jsonl"
done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
pause = float(given.get("pause", 0.01))
for step in range(done + 1, 6):
    time.sleep(pause)
    line = json.dumps({"step": step, "split": "eval", "metrics": {"accuracy": x + step / 100}, "counts": {}})
    with open(metrics, "a") as file:
        file.write(line + "\\n")
    if told:
        sys.exit(42)
"""
CONFIG = "Trainer.best_metric = 'accuracy'\nTrainer.best_mode = 'max'\n"
RANGE = "x = %search.uniform(0, 1)\n"


class Studies:
    """Runs studies in a folder, and reads what came of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._config = folder.parent / "study.gin"
        self._config.parent.mkdir(exist_ok=True)
        self._config.write_text(CONFIG + RANGE)

    def command(self, folder, bindings):
        return [sys.executable, "-c", TRAIN, f"--model_dir={folder}", *bindings]

    def search(self, count, jobs=1, prune=False, command=None):
        def book():
            return self.book(count, jobs, prune)

        return study.run("s", self.folder, self._space(), book, command or self.command, jobs)

    def book(self, count, jobs=1, prune=False):
        """The book of the search."""
        return Search(self.folder, "s", self._space(), count, prune, jobs > 1)

    def grid(self, *grids, jobs=1, command=None):
        self._config.write_text(CONFIG)
        return study.run(
            "s", self.folder, self._space(), lambda: Grid(self.folder, points(grids)), command or self.command, jobs
        )

    def _space(self):
        return read([str(self._config)], [], [])

    def labels(self):
        """What the folders of the trials say about them."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("trial-*/trial.json"))]

    def starts(self):
        """The value with which each trial was started, at each of its starts."""
        return [path.read_text().split() for path in sorted(self.folder.glob("trial-*/starts"))]


def hparams(folder):
    """What the event file in a run's folder tells HParams."""
    # Here, as the studies that are killed import this module, and must not load TensorBoard.
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import plugin_data_pb2

    (path,) = folder.glob("*tfevents*.run")
    values = [value for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    contents = [value.metadata.plugin_data for value in values if value.metadata.plugin_data.plugin_name == "hparams"]
    return [plugin_data_pb2.HParamsPluginData.FromString(each.content) for each in contents]


@pytest.fixture
def studies(tmp_path):
    return Studies(tmp_path / "studies" / "s")
