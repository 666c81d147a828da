"""`tallyloop-init`: a project that trains at once."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tallyloop.trainer.project import init

FILES = ["README.md", "my_task.py", "test_my_task.py", "train.gin"]


def made(folder):
    assert init.main(["tallyloop-init", str(folder)]) == 0
    return folder


class TestCreate:
    def test_a_task_a_config_a_test_and_a_readme(self, tmp_path, capsys):
        folder = made(tmp_path / "some" / "circle")
        assert sorted(path.name for path in folder.iterdir()) == FILES
        assert (folder / "README.md").read_text().startswith("# circle\n")
        assert "tallyloop --gin_file=train.gin --model_dir=runs/first" in capsys.readouterr().out

    def test_in_an_empty_folder(self, tmp_path):
        assert len(list(made(tmp_path).iterdir())) == 4

    def test_refuses_a_folder_that_is_not_empty(self, tmp_path, capsys):
        (tmp_path / "mine").touch()
        assert init.main(["tallyloop-init", str(tmp_path)]) == 2
        assert "expected a new or an empty folder, got one with 'mine' in it; choose" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_refuses_a_file(self, tmp_path, capsys):
        (tmp_path / "file").touch()
        assert init.main(["tallyloop-init", str(tmp_path / "file")]) == 2
        assert "got a file; choose another" in capsys.readouterr().err
        assert init.main(["tallyloop-init", str(tmp_path / "file" / "below")]) == 2
        assert "expected a folder that can be written, got Not a directory" in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--dir=a"]])
    def test_refuses_other_arguments(self, arguments, capsys):
        assert init.main(["tallyloop-init", *arguments]) == 2
        assert "tallyloop-init: expected one argument, a folder, got" in capsys.readouterr().err

    def test_help(self, capsys):
        assert init.main(["tallyloop-init", "--help"]) == 0
        assert "Usage: tallyloop-init DIR" in capsys.readouterr().out

    def test_loads_nothing_that_takes_long(self, tmp_path):
        code = f"import sys\nfrom tallyloop.trainer.project import init\ninit.main(['', {str(tmp_path)!r}])\nprint(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert {"tensorflow", "keras", "numpy"} & set(done.stdout.split()) == set()

    def test_is_a_command_and_its_files_are_installed(self):
        project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
        assert project["project"]["scripts"]["tallyloop-init"] == "tallyloop.trainer.project.init:run"
        assert project["tool"]["setuptools"]["package-data"]["tallyloop.trainer.project"] == ["template/*"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made(tmp_path_factory.mktemp("projects") / "circle")


@pytest.mark.slow
class TestProject:
    """In a folder of its own, with what the README there says."""

    @staticmethod
    def run(folder, *command):
        done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def test_trains_predicts_and_exports(self, folder):
        command = ["tallyloop.trainer", "--gin_file=train.gin", "--model_dir=runs/first"]
        assert "eval  1000 | loss" in self.run(folder, *command)
        assert "predictions/test.npz" in self.run(folder, *command, "--mode=predict")
        assert "model.keras, saved_model" in self.run(folder, *command, "--mode=export")

    def test_its_own_test_passes(self, folder):
        assert "1 passed" in self.run(folder, "pytest", "-q", "-p", "no:cacheprovider")
