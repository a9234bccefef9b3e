# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What comes from a stranger: files, settings and names, read as data and never run."""

from .files import FileRefusedError, open_regular, read_regular, read_text
from .gate import check_model_settings, check_run_settings
from .names import for_spreadsheet, printable
from .settings import NotLiteral, SettingsRefusedError, read_settings
from .streams import printable_output

__all__ = [
    "FileRefusedError",
    "NotLiteral",
    "SettingsRefusedError",
    "check_model_settings",
    "check_run_settings",
    "for_spreadsheet",
    "open_regular",
    "printable",
    "printable_output",
    "read_regular",
    "read_settings",
    "read_text",
]
