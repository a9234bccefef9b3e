#!/usr/bin/env bash
# All that only a GPU can tell, in one call of at most MINUTES (default 9): docs/lab/performance.md.
# Usage: gpu_run.sh [MINUTES] [--rehearse] [--parcel FOLDER] [--data FOLDER] [--images FOLDER]
#        [--only PART ...] [--peer PYTHON|FOLDER]
#        gpu_run.sh --merge FILE.json
# Results lie in $OUT, else in work_dirs/gpu_run.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
# What PYTHON names, else what `make setup` made here, else the machine's.
python=${PYTHON:-$root/.venv/bin/python}
[[ -n ${PYTHON:-} || -x $python ]] || python=python3
minutes=9
[[ ${1:-} =~ ^[0-9]+(\.[0-9]+)?$ ]] && { minutes=$1; shift; }
# It ends itself in time; this is for the case that it cannot.
exec timeout --kill-after=3 "${minutes}m" "$python" "$here/gpu_run.py" --minutes "$minutes" "$@"
