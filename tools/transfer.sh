#!/usr/bin/env bash
# Fine-tunes a checkpoint and prints its row of the table: transfer.sh CKPT {det,seg} CONFIG [options]
# CKPT may be the word scratch. All options: transfer.sh --help
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$tools/python.sh"
exec "$python" "$tools/transfer.py" "$@"
