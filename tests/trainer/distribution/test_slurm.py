"""The membership of a Slurm task, and the script of the guide."""

import subprocess
from pathlib import Path

import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.distribution import slurm

SCRIPT = Path(__file__).parents[3] / "docs" / "slurm.sh"


class TestIsHere:
    def test_several_tasks(self, slurm_task):
        assert slurm.is_here(slurm_task)

    @pytest.mark.parametrize("change", [{"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_NUM_TASKS": ""}])
    def test_one_task(self, slurm_task, change):
        assert not slurm.is_here({**slurm_task, **change})

    def test_batch_script_without_srun(self):
        assert not slurm.is_here({"SLURM_STEP_NUM_TASKS": "5"})


class TestRead:
    def test_order_of_the_node_list(self, slurm_task):
        member = slurm.read(slurm_task)
        assert member.addresses == ("n9:8888", "n9:8889", "n10:8888", "n10:8889", "m5:8888")
        assert (member.index, member.port, member.source) == (3, 8889, "SLURM_STEP_NODELIST")

    def test_port(self, slurm_task):
        addresses = slurm.read({**slurm_task, "TALLYLOOP_PORT": "4000"}).addresses
        assert addresses == ("n9:4000", "n9:4001", "n10:4000", "n10:4001", "m5:4000")

    @pytest.mark.parametrize("distribution", ["block", "block:cyclic", ""])
    def test_consecutive_tasks_share_a_node(self, slurm_task, distribution):
        assert slurm.read({**slurm_task, "SLURM_DISTRIBUTION": distribution}) == slurm.read(slurm_task)

    @pytest.mark.parametrize(
        ("change", "fragment"),
        [
            ({"SLURM_STEP_NODELIST": None}, "SLURM_STEP_NODELIST is not set"),
            ({"SLURM_STEP_NODELIST": "n[1-"}, r"SLURM_STEP_NODELIST=n\[1-"),
            ({"SLURM_STEP_TASKS_PER_NODE": "two"}, "SLURM_STEP_TASKS_PER_NODE=two"),
            ({"SLURM_STEP_TASKS_PER_NODE": "1(x3)"}, "contradict each other.*SLURM_STEP_NUM_TASKS=5"),
            ({"SLURM_PROCID": "7"}, "contradict each other.*SLURM_PROCID=7"),
            ({"SLURM_PROCID": "-1"}, "SLURM_PROCID=-1: expected a whole number"),
            ({"TALLYLOOP_PORT": "http"}, "TALLYLOOP_PORT=http: expected a whole number"),
            ({"SLURM_DISTRIBUTION": "cyclic"}, "SLURM_DISTRIBUTION=cyclic: expected block"),
        ],
    )
    def test_variables_that_do_not_fit(self, slurm_task, change, fragment):
        changed = {name: value for name, value in {**slurm_task, **change}.items() if value is not None}
        with pytest.raises(UsageError, match=fragment):
            slurm.read(changed)


class TestLists:
    @pytest.mark.parametrize(
        ("text", "hosts"),
        [
            ("n1", ["n1"]),
            ("n[1-2,08],m5", ["n1", "n2", "n08", "m5"]),
            ("gpu-[098-101]", ["gpu-098", "gpu-099", "gpu-100", "gpu-101"]),
            ("r[1-2]n[1-2]-ib", ["r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib"]),
        ],
    )
    def test_nodes(self, text, hosts):
        assert slurm.hosts(text) == hosts

    @pytest.mark.parametrize("text", ["", "n1,", ",n1", "n[1", "n]1"])
    def test_malformed_nodes(self, text):
        with pytest.raises(ValueError, match=f"^{text}".replace("[", r"\[")):
            slurm.hosts(text)

    def test_tasks_per_node(self):
        assert slurm.counts("3(x2),2,1") == [3, 3, 2, 1]

    @pytest.mark.parametrize("text", ["", "3(x)", "3,", "(x2)"])
    def test_malformed_tasks_per_node(self, text):
        with pytest.raises(ValueError):  # noqa: PT011 (the message is the text alone)
            slurm.counts(text)


class TestScript:
    def test_is_bash(self):
        done = subprocess.run(["bash", "-n", SCRIPT], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
