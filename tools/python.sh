# Sourced by the scripts here. The tools run under PYTHON, else what `make setup` made in this checkout, else python.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
[[ -x $python ]] || python=python
python=${PYTHON:-$python}
# Of a checkout, or of an installed package in whose folder .mim this lies.
launcher=$root/xmoco_plugin/cli/launcher.py
[[ -f $launcher ]] || launcher=$root/../cli/launcher.py
