"""Which of several variables names the cluster."""

import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.distribution import environment, tf_config


class TestMembership:
    def test_tf_config_comes_first(self, slurm_task, pod):
        by_hand = {"TF_CONFIG": tf_config.write(["a:1", "b:2"], 0)}
        assert environment.membership({**slurm_task, **pod, **by_hand}).source == "TF_CONFIG"

    def test_kubernetes_comes_before_slurm(self, slurm_task, pod):
        assert environment.membership({**slurm_task, **pod}).source == "TALLYLOOP_WORKERS"
        assert environment.membership(slurm_task).source == "SLURM_STEP_NODELIST"

    @pytest.mark.parametrize("variables", [{}, {"TF_CONFIG": " "}])
    def test_without_a_cluster(self, variables):
        with pytest.raises(UsageError, match=r"--workers=2, or set TF_CONFIG .*10\.0\.0\.1:2222"):
            environment.membership(variables)

    def test_one_slurm_task_is_no_cluster(self, slurm_task):
        with pytest.raises(UsageError, match=r"--workers=2, or set TF_CONFIG"):
            environment.membership({**slurm_task, "SLURM_STEP_NUM_TASKS": "1"})
