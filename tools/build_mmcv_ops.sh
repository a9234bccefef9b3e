#!/usr/bin/env bash
# Installs mmcv with its compiled ops: build_mmcv_ops.sh DISTRIBUTION VERSION
# Compiles once and keeps the wheel; another Python, torch or mmcv version makes another one.
set -euo pipefail
if (($# != 2)); then
  echo "usage: [FORCE_CUDA=1 MAX_JOBS=$(nproc) PYTHON=python] $0 DISTRIBUTION VERSION" >&2
  exit 2
fi
python=${PYTHON:-python}
device=cpu
if [[ ${FORCE_CUDA:-0} == 1 ]]; then
  device=cuda
  if [[ ! -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]] && ! command -v nvcc > /dev/null; then
    echo "FORCE_CUDA=1 needs the CUDA toolkit: there is no nvcc. Set CUDA_HOME to its folder, or leave FORCE_CUDA out for ops that run on the CPU." >&2
    exit 2
  fi
elif command -v nvidia-smi > /dev/null && nvidia-smi > /dev/null 2>&1; then
  echo "There is a GPU. These ops will run on the CPU only; for the GPU, with a CUDA toolkit: FORCE_CUDA=1 make setup-transfer"
fi
key=$("$python" -c "import sys, torch; print(f'cp{sys.version_info[0]}{sys.version_info[1]}-torch{torch.__version__.split(\"+\")[0]}')")-mmcv$2-$device
cache=${XDG_CACHE_HOME:-$HOME/.cache}/xmoco_plugin/wheels/$key

if ! compgen -G "$cache/*.whl" > /dev/null; then
  if ! command -v "${CXX:-c++}" > /dev/null; then
    echo "Compiling mmcv's ops needs a C++ compiler and there is no '${CXX:-c++}'. On Debian and Ubuntu: apt-get install g++" >&2
    exit 2
  fi
  jobs=${MAX_JOBS:-$(nproc)}
  echo "Compiling mmcv's ops with $jobs jobs: 9 to 20 minutes on 2 cores, longer for CUDA. Once: the wheel is kept in $cache"
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  # Without the debugging notes that Python's own flags ask for, the compiler needs half of the time.
  # These variables stand in the place of Python's flags, so they repeat them.
  flags="$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CFLAGS") or "-O3")') -g0"
  # With torch in sight, and with no cached wheel: pip does not tell one without ops apart.
  CFLAGS="${CFLAGS:-$flags}" CXXFLAGS="${CXXFLAGS:-$flags}" TMPDIR=$scratch MMCV_WITH_OPS=1 MAX_JOBS=$jobs FORCE_CUDA=${FORCE_CUDA:-0} \
    CUDA_VISIBLE_DEVICES=$([[ $device == cuda ]] && echo "${CUDA_VISIBLE_DEVICES-0}") \
    "$python" -m pip wheel -q --no-deps --no-build-isolation --no-cache-dir \
    --disable-pip-version-check -w "$scratch/wheel" "$1==$2" > "$scratch/log" 2>&1 &
  build=$!
  begin=$SECONDS
  while kill -0 "$build" 2> /dev/null; do
    sleep 1
    if (((SECONDS - begin) % 30 == 0)); then
      all=$(find "$scratch" -name build.ninja -exec grep -c '^build .*\.o' {} + 2> /dev/null || true)
      echo "  $(find "$scratch" -name '*.o' | wc -l) of ${all:-?} files compiled, $(((SECONDS - begin) / 60)) min"
    fi
  done
  if ! wait "$build"; then
    tail -n 30 "$scratch/log" >&2
    echo "Compiling mmcv's ops failed; the last lines of the compiler are above." >&2
    exit 1
  fi
  wheel=$(compgen -G "$scratch/wheel/*.whl")
  # Listed whole before it is searched: grep -q would end the pipe early, and pipefail calls that a failure.
  files=$("$python" -m zipfile -l "$wheel")
  if [[ $files != *mmcv/_ext* ]]; then
    echo "The wheel that was built has no ops in it: mmcv/_ext is missing." >&2
    exit 1
  fi
  mkdir -p "$cache"
  mv "$wheel" "$cache/.part" && mv "$cache/.part" "$cache/$(basename "$wheel")"
fi
"$python" -m pip install -q --no-deps --force-reinstall --no-compile --no-cache-dir \
  --disable-pip-version-check "$cache"/*.whl
