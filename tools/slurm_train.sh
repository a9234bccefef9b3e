#!/usr/bin/env bash
# Trains under Slurm: slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [train.py options]
# GPUS in all, GPUS_PER_NODE and CPUS_PER_TASK as below; further options for srun in SRUN_ARGS.
set -euo pipefail
if (($# < 4)); then
  echo "usage: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS= PYTHON=.venv/bin/python] $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]" >&2
  exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$tools/python.sh"
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
((per_node <= gpus)) || per_node=$gpus
# SRUN_ARGS is a list of words: it is split on purpose.
# shellcheck disable=SC2086
exec srun --partition "$1" --job-name "$2" --gres "gpu:$per_node" --ntasks "$gpus" \
  --ntasks-per-node "$per_node" --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit 1 \
  ${SRUN_ARGS:-} \
  "$python" -u "$tools/train.py" "$3" --work-dir "$4" --launcher slurm "${@:5}"
