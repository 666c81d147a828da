#!/bin/bash
# Trains on 4 nodes, one worker per node. Start it with: sbatch docs/slurm.sh
#SBATCH --job-name=digits
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
# For GPUs, add: #SBATCH --gpus-per-node=4

set -euo pipefail

# A folder that all nodes can read and write, for example on NFS or Lustre.
model_dir=${MODEL_DIR:-$HOME/runs/digits}

# srun tells each task its number and the nodes; @multi_worker_mirrored() reads them. --distribution=block numbers the tasks
# of one node consecutively. When a worker fails, the others end by themselves within seconds. --kill-on-bad-exit=0 makes
# srun wait for them, including those that are still saving a checkpoint when the first one has finished.
status=0
srun --kill-on-bad-exit=0 --distribution=block \
    tallyloop \
    --gin_file=digits.gin \
    --gin_param='Trainer.strategy=@multi_worker_mirrored()' \
    --model_dir="$model_dir" || status=$?

# 0 is done and 2 is a mistake in the command: there is nothing to run again. After anything else the same job continues
# from the last checkpoint, at most three times.
if [[ $status -ne 0 && $status -ne 2 && ${SLURM_RESTART_COUNT:-0} -lt 3 ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
