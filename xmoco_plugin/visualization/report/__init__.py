# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .comparison import Comparison, is_comparison
from .page import write_report
from .work_dir import WorkDir

__all__ = ["Comparison", "WorkDir", "is_comparison", "write_report"]
