# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the server has imported that tests/multiprocess.py forks processes from."""

import xmoco_plugin.cli.pretrain  # noqa: F401  (with it the stack)

from . import conftest, format_once, models, tiny_runner  # noqa: F401

format_once.install()
conftest.leave_out_of_collections()
