# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What comes from a stranger: files, settings and names, read as data and never run."""

from .files import FileRefusedError, open_regular, read_regular, read_text
from .names import printable
from .settings import SettingsRefusedError, read_settings

__all__ = [
    "FileRefusedError",
    "SettingsRefusedError",
    "open_regular",
    "printable",
    "read_regular",
    "read_settings",
    "read_text",
]
