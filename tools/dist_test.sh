#!/usr/bin/env bash
# Tests on several processes: dist_test.sh CONFIG CHECKPOINT PROCESSES_PER_NODE [test.py options]
# Several machines: the same line on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if (($# < 3)); then
  echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=a-free-one PYTHON=.venv/bin/python] $0 CONFIG CHECKPOINT PROCESSES_PER_NODE [options of test.py]" >&2
  exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$tools/python.sh"
exec "$python" "$launcher" "$3" \
  "$tools/test.py" "$1" "$2" --launcher pytorch "${@:4}"
