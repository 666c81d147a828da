import errno

import pytest
from absl.testing import flagsaver
from tallyloop.metrics.errors import DataError, UsageError
from tallyloop.trainer import user_code
from tallyloop.trainer.command import cli
from tallyloop.trainer.errors import CheckpointError, ClusterError, NonFiniteError, OutputError, PreemptedError


@pytest.fixture(autouse=True)
def unparsed():
    with flagsaver.flagsaver():
        yield
    cli.FLAGS.unparse_flags()


@pytest.fixture
def ends_with(monkeypatch):
    """ends_with(error) -> the exit code of a command that raises it."""

    def run(error: BaseException) -> int:
        def fail(argv, request):
            raise error

        monkeypatch.setattr(cli, "_run", fail)
        return cli.main(["tallyloop"])

    return run


class TestExitCode:
    @pytest.mark.parametrize(
        ("error", "code", "printed"),
        [
            (UsageError("a wrong flag"), 2, "Error: a wrong flag\n"),
            (DataError("a torn file"), 2, "Error: a torn file\n"),
            (PreemptedError("Stopped after step 7."), 42, "Stopped after step 7. The same command continues.\n"),
            (KeyboardInterrupt(), 1, "\nStopped. The same command continues from the last checkpoint.\n"),
            *[
                (kind("what happened"), 1, "Error: what happened\n")
                for kind in (CheckpointError, ClusterError, NonFiniteError, OutputError)
            ],
        ],
    )
    def test_of_a_known_error_comes_with_its_message_alone(self, ends_with, capsys, error, code, printed):
        assert ends_with(error) == code
        assert capsys.readouterr().err == printed

    @pytest.mark.parametrize(
        ("flags", "more"), [([], " The same command continues."), (["--mode=tune"], "")], ids=["training", "tuning"]
    )
    def test_of_a_closed_output_says_what_continues(self, monkeypatch, capsys, flags, more):
        def fail(argv, request):
            raise BrokenPipeError

        monkeypatch.setattr(cli, "_run", fail)
        monkeypatch.setattr(cli, "_output_is_open", lambda: False)
        assert cli.main(["tallyloop", *flags]) == 1
        assert capsys.readouterr().err == f"Error: standard output was closed before the end.{more}\n"

    def test_of_another_error_comes_with_the_traceback(self, ends_with, capsys, monkeypatch):
        monkeypatch.setattr(user_code, "raised", lambda error: None)  # as if no code of the user's had been running
        assert ends_with(ZeroDivisionError("a bug")) == 1
        err = capsys.readouterr().err
        assert err.startswith("Traceback")
        assert err.endswith("ZeroDivisionError: a bug\n")

    def test_of_code_of_the_users_is_reported_with_its_line(self, ends_with, capsys):
        assert ends_with(ZeroDivisionError("in an action")) == 1
        first, *rest = capsys.readouterr().err.splitlines()
        assert first.startswith(f"Error: {__file__}:")
        assert rest == ["  ZeroDivisionError: in an action", "  --verbosity=1 shows the traceback."]

    def test_the_notes_of_a_usage_error_follow_it(self, ends_with, capsys):
        error = UsageError("a bad label")
        error.add_note("in eval_datasets['test']")
        assert ends_with(error) == 2
        assert capsys.readouterr().err == "Error: a bad label\nin eval_datasets['test']\n"

    def test_what_gin_appends_to_an_error_is_left_out(self, ends_with, capsys):
        assert ends_with(DataError("bad row\n  In call to configurable 'Input' (<class 'x.Input'>)")) == 2
        assert capsys.readouterr().err == "Error: bad row\n"

    @pytest.mark.parametrize(
        ("cause", "code"),
        [
            (OSError(errno.EIO, "Input/output error"), 1),
            (ConnectionResetError(), 1),
            (MemoryError(), 1),
            (OSError("image file is truncated"), 2),
            (FileNotFoundError(errno.ENOENT, "No such file"), 2),
            (ValueError(), 2),
        ],
        ids=repr,
    )
    def test_of_data_is_that_of_a_failure_if_the_machine_is_the_cause(self, ends_with, cause, code):
        error, between = DataError("row 3"), UsageError("images: 'a.png' cannot be read")
        error.__cause__, between.__cause__ = between, cause
        assert ends_with(error) == code

    def test_of_help_is_0(self, capsys):
        assert cli.main(["tallyloop", "--help"]) == 0
        assert "--gin_param=PARAM" in capsys.readouterr().out


class TestSameCommand:
    def test_is_the_module_or_the_installed_script(self):
        python = cli.sys.executable
        module = ["/site-packages/tallyloop/trainer/__main__.py", "--workers=2"]
        assert cli._same_command(module) == [python, "-m", "tallyloop.trainer", "--workers=2"]
        assert cli._same_command(["/bin/tallyloop", "--workers=2"]) == [python, "/bin/tallyloop", "--workers=2"]


class TestRequest:
    def test_without_a_config_for_a_folder_that_has_one(self, capsys, tmp_path):
        (tmp_path / "config.gin").write_text("")
        assert cli.main(["tallyloop", "--mode=replay", "--step=5", f"--model_dir={tmp_path}"]) == 2
        assert capsys.readouterr().err.endswith(f"own. That of the run: --gin_file={tmp_path}/config.gin\n")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "No config: give --gin_file=digits.gin (bundled) or a file of your own."),
            (["--gin_file=digits.gin"], "--model_dir is required: the folder for everything the run writes"),
            (["--gin_file=digit.gin"], '--gin_file: no config file "digit.gin": did you mean "digits.gin"?'),
            (
                ["--gin_file=digits.gin", "--mode=eval", "--model_dir=run", "--checkpoint=/no/ckpt-5"],
                "--checkpoint=/no/ckpt-5: no such checkpoint (there is no /no/ckpt-5.index). Expected its path without",
            ),
        ],
    )
    def test_that_lacks_something_is_wrong_usage(self, capsys, arguments, message):
        assert cli.main(["tallyloop", *arguments]) == 2
        assert capsys.readouterr().err.startswith(f"Error: {message}")
