#!/bin/bash
#SBATCH --job-name=togi
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
# Trains on all machines of a SLURM job, and goes on where it stopped when its time was not enough:
#   sbatch recipes/slurm.sh /shared/recipe.toml /shared/runs/name scale.engines=15
# The folder /shared and the Python environment are the same on every machine, under the same names.
set -euo pipefail
recipe=$1 folder=$2
shift 2

# The whole Ray of this job asks for this token; Ray then obeys nobody else in the network.
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0
# Ray gives its workers a low priority otherwise, and engines are among them.
export RAY_worker_niceness=0

# This script runs on the job's first machine: here Ray begins, and here the first learner is.
here=$(hostname -I | cut -d ' ' -f 1)
ray start --head --node-ip-address="$here" --port=6379 --include-dashboard=false
trap 'ray stop --force' EXIT
others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
    srun --nodes="$others" --ntasks="$others" --exclude="$SLURMD_NODENAME" ray start --address="$here:6379" --block &
fi

togi train "$recipe" --folder "$folder" --on ray "$@" &
train=$!
trap 'kill -TERM "$train"' TERM
code=0
wait "$train" || code=$?
if kill -0 "$train" 2>/dev/null; then # the signal ended the wait, not the training, which saves first
    code=0
    wait "$train" || code=$?
fi
if [ "$code" -eq 143 ]; then # stopped by the signal, with a checkpoint: the same job again goes on
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
