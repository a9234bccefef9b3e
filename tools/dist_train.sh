#!/usr/bin/env bash
# Trains on several processes: dist_train.sh CONFIG PROCESSES_PER_NODE [train.py options]
# Several machines: the same line on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set. NNODES=1:4: they may come and go.
set -euo pipefail
if (($# < 2)); then
  echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=a-free-one PYTHON=.venv/bin/python] $0 CONFIG PROCESSES_PER_NODE [options of train.py]" >&2
  exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$tools/python.sh"
exec "$python" "$launcher" "$2" \
  "$tools/train.py" "$1" --launcher pytorch "${@:3}"
