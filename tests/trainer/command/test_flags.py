from typing import get_args

import pytest
from absl.testing import flagsaver
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.command import flags, request


@pytest.fixture(autouse=True)
def unparsed():
    """Every test starts with flags at their defaults, and leaves them so."""
    with flagsaver.flagsaver():
        yield
    flags.FLAGS.unparse_flags()


def refused(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        flags.parse(["tallyloop", *arguments])
    return str(caught.value)


class TestParse:
    @pytest.mark.parametrize("mode", get_args(request.Mode))
    def test_takes_every_mode(self, mode):
        flags.parse(["tallyloop", f"--mode={mode}", *(["--step=3"] if mode == "replay" else [])])
        assert flags.FLAGS.mode == mode

    def test_keeps_the_order_of_a_repeated_flag(self):
        flags.parse(["tallyloop", "--gin_file=a.gin", "--gin_file=b.gin"])
        assert flags.FLAGS.gin_file == ["a.gin", "b.gin"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["--mode=evl"],
                "--mode=evl: expected one of train_and_eval, train, eval, predict, export, check, replay, tune: did you mean "
                '"eval"?',
            ),
            (
                ["--mode=fast"],
                "--mode=fast: expected one of train_and_eval, train, eval, predict, export, check, replay, tune.",
            ),
            (
                ["digits.gin"],
                "'digits.gin': expected a flag, which starts with --, such as --gin_file=digits.gin.",
            ),
            (["--virtual_cpus=0"], "--virtual_cpus=0: expected a whole number of at least 1."),
            (["--workers=0"], "--workers=0: expected a whole number of at least 1."),
            (["--workers=2", "--max_restarts=-1"], "--max_restarts=-1: expected a whole number of at least 0."),
            (["--max_restarts=1"], "--max_restarts=1 is for --workers, which is not given."),
            (
                ["--mode=predict", "--format=json"],
                '--format=json: expected one of npz, jsonl, parquet: did you mean "jsonl"?',
            ),
            (["--format=jsonl"], "--format=jsonl is for --mode=predict, not train_and_eval: remove it."),
            (["--start_timeout=0"], "--start_timeout=0.0: expected a number of seconds greater than 0."),
            (["--start_timeout=inf"], "--start_timeout=inf: expected a number of seconds greater than 0."),
        ],
    )
    def test_refuses_a_wrong_value(self, arguments, message):
        assert refused(*arguments) == message

    @pytest.mark.parametrize(
        ("argument", "expected"),
        [
            ("--trials=two", "a whole number"),
            ("--step=1.5", "a whole number"),
            ("--start_timeout=soon", "a number"),
            ("--dry_run=maybe", "true or false"),
        ],
    )
    def test_refuses_a_value_of_another_type(self, argument, expected):
        assert refused(argument) == f"{argument}: expected {expected} (tallyloop --help lists the flags)"

    def test_refuses_an_unknown_flag(self):
        message = refused("--gin_fil=a.gin")
        assert "gin_fil" in message
        assert message.endswith("(tallyloop --help lists the flags)")

    @pytest.mark.parametrize("mode", request.TRAINING_MODES)
    def test_refuses_a_checkpoint_for_training(self, mode):
        assert refused("--checkpoint=/run/ckpt-5", f"--mode={mode}").startswith(
            f"--checkpoint is for --mode=eval, predict or export, not {mode}"
        )

    @pytest.mark.parametrize(
        ("argument", "named"),
        [
            ("--dry_run", "--dry_run"),
            ("--list_configurables", "--list_configurables"),
            ("--explain=Trainer", "--explain"),
            *[(f"--mode={mode}", f"--mode={mode}") for mode in ("export", "check")],
        ],
    )
    def test_refuses_workers_for_what_needs_one_process(self, argument, named):
        assert (
            f"--workers=2 is for --mode=train_and_eval, train, eval, predict, and {named} needs one process"
            in refused("--workers=2", argument)
        )


class TestHelp:
    def test_has_every_flag_with_its_form_and_default(self):
        text = flags.help_text()
        for line in ("--gin_file=FILE", "--gin_param=PARAM", "--model_dir=DIR", "--virtual_cpus=N", "--dry_run\n"):
            assert f"\n  {line}" in text
        assert "(default: train_and_eval)" in text
        assert "repeat this option" not in text
