"""What cluster managers set in a worker's environment."""

import pytest


@pytest.fixture
def slurm_task():
    """What `srun --nodes=3 --ntasks=5` sets for the fourth task; n10 follows n9, as in the node list."""
    return {
        "SLURM_PROCID": "3",
        "SLURM_STEP_NODELIST": "n[9-10],m5",
        "SLURM_STEP_NUM_TASKS": "5",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    }


@pytest.fixture
def pod():
    """What Kubernetes and the manifest set for the second of three pods of an indexed Job."""
    return {
        "JOB_COMPLETION_INDEX": "1",
        "HOSTNAME": "digits-1",
        "TALLYLOOP_SERVICE": "digits-workers",
        "TALLYLOOP_WORKERS": "3",
    }
