"""`configure` and `launch`: many configs in one process, and the same checks and files as of the command."""

import json
import os
import subprocess
import sys

import gin
import keras
import numpy as np
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import Task, configure, launch
from tallyloop.trainer.command import group, studying
from tallyloop.trainer.errors import ClusterError, PreemptedError

CELL = '''
@gin.register
class CellTask(Task):
    """Least squares on x (n, 3)."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def build_model(self):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])

    def loss(self, model, batch, training):
        return self.scale * (model(batch["x"], training=training)[:, 0] - batch["y"]) ** 2

    def predict_step(self, model, batch):
        return model(batch["x"])


@gin.register
def cell_rows(y=1.0):
    return {"x": np.ones((8, 3), np.float32), "y": np.full(8, y, np.float32)}
'''
CONFIG = [
    "Trainer.task=@CellTask()",
    "Trainer.optimizer=@keras.optimizers.SGD()",
    "Trainer.train_dataset=@Input()",
    'Trainer.eval_datasets={"test": @Input()}',
    "Trainer.train_steps=2",
    "Input.source=@cell_rows",
    "Input.global_batch_size=4",
]


def run_cell():
    exec(CELL, {"gin": gin, "Task": Task, "keras": keras, "np": np})


@pytest.fixture(autouse=True)
def notebook():
    """The cell has run; gin is left as it was found."""
    gin.enter_interactive_mode()
    run_cell()
    yield
    gin.exit_interactive_mode()
    gin.clear_config()


def files_of(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(("shell", "expected"), [("object()", "registered twice"), ("None", "already exists")])
def test_a_cell_may_run_again_before_anything_else(shell, expected):
    """In a notebook; elsewhere a second registration is a mistake."""
    code = f"""
import sys, types
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: {shell})
import gin, tallyloop.trainer
for _ in range(2):
    @gin.register
    def rows(): ...
print("registered twice")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert expected in done.stdout + done.stderr


class TestConfigure:
    def test_each_trainer_keeps_its_config(self):
        one = configure(gin_params=[*CONFIG, "cell_rows.y=2.0"])  # cell_rows is called later, when the data is needed
        other = configure(gin_params=[*CONFIG, "cell_rows.y=3.0", "CellTask.scale=10.0"])
        assert one.evaluate() == {"test": {"loss": 4.0}}
        assert other.evaluate() == {"test": {"loss": 90.0}}
        assert one.evaluate() == {"test": {"loss": 4.0}}

    def test_whoever_reads_the_data_first(self):
        """Its function gets what is bound, though gin is empty then."""
        trainer = configure(gin_params=[*CONFIG, "cell_rows.y=5.0"])
        assert trainer.eval_datasets["test"].arrays["y"].tolist() == [5.0] * 8
        trainer.train()

    def test_whoever_asks_for_the_optimizer_first(self):
        config = [each for each in CONFIG if "optimizer" not in each]
        bound = ["Trainer.optimizer=@keras.optimizers.SGD", "keras.optimizers.SGD.learning_rate=0.125"]
        assert float(configure(gin_params=[*config, *bound]).optimizer.learning_rate.numpy()) == 0.125

    def test_leaves_gin_open_and_empty(self):
        trainer = configure(gin_params=CONFIG)
        assert not gin.config_is_locked()
        assert gin.config_str() == ""
        assert trainer.model is trainer.model

    def test_a_cell_that_registers_may_run_again(self):
        configure(gin_params=CONFIG)
        run_cell()
        assert configure(gin_params=CONFIG).train_steps == 2

    def test_writes_the_run_folder_of_the_command(self, tmp_path):
        configure(gin_params=[*CONFIG, "cell_rows.y=2.0"], model_dir=tmp_path).train_and_eval()
        expected = {"run.json", "config.gin", "operative_config.gin", "metrics.jsonl", "checkpoints", "train", "eval"}
        assert files_of(tmp_path) >= expected
        assert json.loads((tmp_path / "run.json").read_text())["exit_reason"] == "done"
        assert "cell_rows.y = 2.0" in (tmp_path / "operative_config.gin").read_text()

    def test_parameter_groups(self):
        """Two steps of SGD by hand: the kernel has half the rate and a decay, the bias is frozen.

        w = 0 + 0.05 * 2 = 0.1; then the prediction is 0.3, the gradient -1.4: w = 0.1 - 0.05 * 0.5 * 0.1 + 0.05 * 1.4.
        """
        groups = [
            "Trainer.parameter_groups=[@slow/ParameterGroup(), @frozen/ParameterGroup()]",
            'slow/ParameterGroup.variables=["kernel"]',
            "slow/ParameterGroup.learning_rate=0.5",
            "slow/ParameterGroup.weight_decay=0.5",
            'frozen/ParameterGroup.variables=["bias"]',
            "frozen/ParameterGroup.freeze=True",
            "keras.optimizers.SGD.learning_rate=0.1",
        ]
        trainer = configure(gin_params=[*CONFIG, *groups])
        trainer.train()
        kernel, bias = trainer.model.get_weights()
        np.testing.assert_allclose(kernel, np.full([3, 1], 0.1675), rtol=1e-6)
        assert bias == 0

    def test_what_nothing_uses_is_an_error_once_everything_has_been_traced(self):
        trainer = configure(gin_params=[*CONFIG, "CellTask.scale=2.0", "npz.path='x.npz'"])
        with pytest.raises(UsageError, match=r"npz\.path"):
            trainer.train_and_eval()

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            (
                {"gin_params": "Trainer.seed=1"},
                r"gin_params = 'Trainer.seed=1': expected a list, such as \['Trainer.seed=1'\]",
            ),
            ({"gin_files": "digits.gin"}, r"gin_files = 'digits.gin': expected a list, such as \['digits.gin'\]"),
            ({"gin_params": {"Trainer.seed": 1}}, r"expected a list of texts, such as \['Trainer.seed=1'\]"),
            ({"gin_params": ["Trainer.sed=1"]}, r'"Trainer.sed=1".*did you mean "seed"'),
            ({"gin_files": ["digts.gin"]}, r'no config file "digts.gin": did you mean "digits.gin"'),
            ({"import_module": ["no_such"]}, "--import_module=no_such: no such module"),
            ({}, "No config: give"),
        ],
        ids=["text", "file", "dict", "typo", "no file", "no module", "nothing"],
    )
    def test_mistakes_are_refused(self, given, told):
        with pytest.raises(UsageError, match=told):
            configure(**given)


class TestLaunch:
    def test_runs_a_mode_and_returns_the_trainer(self, tmp_path, capsys):
        assert launch(gin_params=CONFIG, model_dir=tmp_path).step == 2
        assert launch(gin_params=CONFIG, model_dir=tmp_path, mode="predict").step == 2
        assert "predictions" in files_of(tmp_path)
        assert len(json.loads((tmp_path / "run.json").read_text())["attempts"]) == 1
        assert "eval  2 | loss" in capsys.readouterr().out

    def test_dry_run_writes_nothing(self, tmp_path, capsys):
        launch(gin_params=CONFIG, model_dir=tmp_path / "run", dry_run=True, virtual_cpus=2)
        assert not (tmp_path / "run").exists()
        assert "Dry run: nothing was written." in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({}, "--model_dir is required"),
            ({"mode": "trian", "model_dir": "x"}, '--mode=trian: expected one of .*did you mean "train"'),
            ({"virtual_cpus": 64, "model_dir": "x"}, "TensorFlow has started with 4 in this process"),
            ({"workers": 2, "mode": "check", "model_dir": "x"}, "--workers=2 is for --mode=train_and_eval"),
            ({"checkpoint": "ckpt-1", "model_dir": "x"}, "--checkpoint is for --mode=eval"),
            ({"trials": 2, "model_dir": "x"}, "--trials is for a study"),
            (
                {"study": "s", "trials": 2, "model_dir": "x", "mode": "eval"},
                "expected --mode=train_and_eval, got --mode=eval",
            ),
            ({"study": "s", "grid": "a.b=1,2", "model_dir": "x"}, r"grid = 'a.b=1,2': expected a list"),
            ({"mode": "tune"}, r"launch\(mode='tune'\): expected a mode that works in this process"),
        ],
        ids=["folder", "mode", "cpus", "workers", "checkpoint", "trials", "study", "grid", "tune"],
    )
    def test_mistakes_are_refused(self, given, told, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match=told):
            launch(gin_params=CONFIG, **given)


@pytest.fixture
def ends_with(monkeypatch):
    """ends_with(module, code) -> the calls of module.run from then on, which return the code."""

    def set_code(module, code):
        calls = []
        monkeypatch.setattr(module, "run", lambda *given: calls.append(given) or code)
        return calls

    return set_code


class TestWorkers:
    def test_are_the_command(self, ends_with, tmp_path):
        started = ends_with(group, 0)
        assert launch(gin_params=["Trainer.seed=1"], model_dir=tmp_path, workers=2, import_module=["mine"]) is None
        flags = ["--gin_param=Trainer.seed=1", "--import_module=mine", f"--model_dir={tmp_path}", "--workers=2"]
        assert started == [([sys.executable, "-m", "tallyloop.trainer", *flags], 2, 3)]

    @pytest.mark.parametrize(("code", "error"), [(1, ClusterError), (2, UsageError), (42, PreemptedError)])
    def test_that_fail(self, ends_with, tmp_path, code, error):
        ends_with(group, code)
        with pytest.raises(error):
            launch(gin_params=["Trainer.seed=1"], model_dir=tmp_path, workers=2)


class TestStudy:
    def test_is_that_of_the_command(self, ends_with, tmp_path):
        found = ends_with(studying, 0)
        given = {"gin_params": ["Trainer.seed=1"], "model_dir": tmp_path, "study": "s", "jobs": 2, "prune": False}
        assert launch(**given, trials=3) is None
        assert launch(**given, grid=["Adam.learning_rate=1e-3,1e-2"]) is None
        (searched, command), (gridded, _) = found
        assert tuple(command) == (sys.executable, "-m", "tallyloop.trainer")
        assert (searched.study, searched.trials, searched.jobs, searched.prune) == ("s", 3, 2, False)
        assert (gridded.grid, gridded.trials) == (["Adam.learning_rate=1e-3,1e-2"], None)

    @pytest.mark.parametrize(("code", "error"), [(1, RuntimeError), (2, UsageError), (42, PreemptedError)])
    def test_that_fails(self, ends_with, tmp_path, code, error):
        ends_with(studying, code)
        with pytest.raises(error):
            launch(gin_params=["Trainer.seed=1"], model_dir=tmp_path, study="s", trials=1)

    @pytest.mark.slow
    def test_finds_the_best(self, tmp_path, capfd):
        """Real trainings of digits: a step of 1e-6 learns nothing."""
        short = [f"Trainer.{name}=20" for name in ("train_steps", "eval_interval", "checkpoint_interval")]
        judged = ['Trainer.best_metric="accuracy"', 'Trainer.best_mode="max"']
        rates = ["Adam.learning_rate=1e-6,1e-2"]
        launch(["digits.gin"], [*short, *judged], tmp_path, study="rates", grid=rates)
        assert "Best: trial 1" in capfd.readouterr().out
        assert "learning_rate = 0.01" in (tmp_path / "rates" / "best.gin").read_text()


QUIET = f"""
import sys, warnings, tempfile
warnings.simplefilter("always")
import gin, keras, numpy as np, tensorflow as tf
from tallyloop.trainer import Task, Trainer, configure
from tallyloop.data import Input
{CELL}
tf.constant(1.0) + 1
print("begin", file=sys.stderr)
for i in range(3):
    with tempfile.TemporaryDirectory() as folder:
        configure(gin_params={CONFIG!r}, model_dir=folder).train_and_eval()
    trainer = Trainer(CellTask(), keras.optimizers.Adam(), None, Input(cell_rows, 4), {{"test": Input(cell_rows, 4)}}, 4)
    trainer.train_and_eval()
    trainer.evaluate()
    trainer.predict(Input(cell_rows, 4))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
print("end", file=sys.stderr)
"""


def test_many_trainers_make_no_noise():
    """A notebook does not set the level of TensorFlow's log; what it says while it is imported and started is its own."""
    given = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, env=given)
    assert done.stderr.partition("begin\n")[2].splitlines() == ["end"], done.stderr
    of_an_end = ("loss: last ", "Time: ", "  ", "Checkpoint: ", "Metrics: ", "Look: ", "Train on: ")
    assert all(line.startswith(("step ", "eval ", *of_an_end)) for line in done.stdout.splitlines()), done.stdout
