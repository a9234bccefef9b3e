# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .page import write_report
from .work_dir import WorkDir

__all__ = ["WorkDir", "write_report"]
