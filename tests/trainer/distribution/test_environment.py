"""Where a process finds its place."""

import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.distribution import environment, slurm, tf_config

# What `srun --nodes=3 --ntasks=5` sets on the fourth task; n10 follows n9, as in the node list.
SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_STEP_NODELIST": "n[9-10],m5",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
}

POD = {
    "JOB_COMPLETION_INDEX": "1",
    "HOSTNAME": "digits-1",
    "TALLYLOOP_SERVICE": "digits-workers",
    "TALLYLOOP_WORKERS": "3",
}


class TestPlace:
    def test_tf_config_wins(self):
        by_hand = {"TF_CONFIG": tf_config.write(["a:1", "b:2"], 0)}
        assert environment.membership({**SLURM, **POD, **by_hand}).addresses == ("a:1", "b:2")

    @pytest.mark.parametrize("variables", [{}, {"TF_CONFIG": " "}, {**SLURM, "SLURM_STEP_NUM_TASKS": "1"}])
    def test_without_a_cluster(self, variables):
        with pytest.raises(UsageError, match=r"--workers=2, or set TF_CONFIG .*10\.0\.0\.1:2222"):
            environment.membership(variables)


class TestSlurm:
    def test_order_of_the_node_list(self):
        place = environment.membership(SLURM)
        assert place.addresses == ("n9:8888", "n9:8889", "n10:8888", "n10:8889", "m5:8888")
        assert (place.index, place.port) == (3, 8889)
        assert environment.membership({**SLURM, "TALLYLOOP_PORT": "4000"}).addresses[3] == "n10:4001"

    @pytest.mark.parametrize(
        ("text", "hosts"),
        [
            ("n1", ["n1"]),
            ("n[1-2,08],m5", ["n1", "n2", "n08", "m5"]),
            ("gpu-[098-101]", ["gpu-098", "gpu-099", "gpu-100", "gpu-101"]),
            ("r[1-2]n[1-2]-ib", ["r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib"]),
        ],
    )
    def test_node_lists(self, text, hosts):
        assert slurm.hosts(text) == hosts

    def test_tasks_per_node(self):
        assert slurm.counts("3(x2),2,1") == [3, 3, 2, 1]

    @pytest.mark.parametrize(
        ("change", "fragment"),
        [
            ({"SLURM_STEP_NODELIST": None}, "SLURM_STEP_NODELIST is not set"),
            ({"SLURM_STEP_NODELIST": "n[1-"}, r"SLURM_STEP_NODELIST=n\[1-"),
            ({"SLURM_STEP_TASKS_PER_NODE": "two"}, "SLURM_STEP_TASKS_PER_NODE=two"),
            ({"SLURM_STEP_TASKS_PER_NODE": "1(x3)"}, "contradict each other.*SLURM_STEP_NUM_TASKS=5"),
            ({"SLURM_PROCID": "7"}, "contradict each other.*SLURM_PROCID=7"),
            ({"SLURM_DISTRIBUTION": "cyclic"}, "SLURM_DISTRIBUTION=cyclic: wanted block"),
        ],
    )
    def test_variables_that_do_not_fit(self, change, fragment):
        changed = {name: value for name, value in {**SLURM, **change}.items() if value is not None}
        with pytest.raises(UsageError, match=fragment):
            environment.membership(changed)


class TestKubernetes:
    def test_indexed_job(self):
        place = environment.membership(POD)
        assert place.addresses == tuple(f"digits-{i}.digits-workers:2222" for i in range(3))
        assert place.index == 1
        assert environment.membership({**POD, "TALLYLOOP_PORT": "8000"}).port == 8000

    @pytest.mark.parametrize(
        ("change", "fragment"),
        [
            ({"TALLYLOOP_SERVICE": ""}, "TALLYLOOP_SERVICE is not: set it to the name of the Job's headless service"),
            ({"TALLYLOOP_WORKERS": "1"}, "TALLYLOOP_WORKERS=1, and this pod is number 1"),
            ({"TALLYLOOP_WORKERS": "many"}, "TALLYLOOP_WORKERS=many"),
            ({"HOSTNAME": "digits"}, "HOSTNAME=digits: wanted JOB-1"),
        ],
    )
    def test_variables_that_do_not_fit(self, change, fragment):
        with pytest.raises(UsageError, match=fragment):
            environment.membership({**POD, **change})
