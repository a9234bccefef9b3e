# Sourced by the scripts here. The tools run under PYTHON, else what `make setup` made in this checkout, else python.
python=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin/python
[[ -x $python ]] || python=python
python=${PYTHON:-$python}
