#!/bin/bash
# Trains on 4 nodes, one worker each. Start it with: sbatch docs/slurm.sh
#SBATCH --job-name=digits
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
# For GPUs, add: #SBATCH --gpus-per-node=4

set -euo pipefail

# A folder that all nodes read and write, such as one on NFS or Lustre.
model_dir=${MODEL_DIR:-$HOME/runs/digits}

# srun tells each task its number and the nodes; @multi_worker_mirrored() reads them. --distribution=block gives the tasks
# of one node neighbouring numbers. When a worker fails, the others end by themselves, within seconds; with
# --kill-on-bad-exit=0 srun lets them, also those that are saving a checkpoint when the first has done so.
status=0
srun --kill-on-bad-exit=0 --distribution=block \
    tallyloop \
    --gin_file=digits.gin \
    --gin_param='Trainer.strategy=@multi_worker_mirrored()' \
    --model_dir="$model_dir" || status=$?

# 0 is done and 2 is a mistake in the command: nothing to run again. After anything else the same job goes on from the
# last checkpoint, three times at most.
if [[ $status -ne 0 && $status -ne 2 && ${SLURM_RESTART_COUNT:-0} -lt 3 ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
