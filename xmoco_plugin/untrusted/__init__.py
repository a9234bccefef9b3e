# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What comes from a stranger: files, settings and names, read as data and never run."""

from .config_file import read_config_file, read_whole_config
from .files import FileRefusedError, open_regular, read_regular, read_text
from .gate import check_model_settings, check_run_settings
from .json_file import parse_json, read_json, read_json_object
from .last_checkpoint import last_checkpoint
from .names import printable
from .run_settings import check_run_paths, check_run_reads
from .settings import NotLiteral, SettingsRefusedError, read_settings

__all__ = [
    "FileRefusedError",
    "NotLiteral",
    "SettingsRefusedError",
    "check_model_settings",
    "check_run_paths",
    "check_run_reads",
    "check_run_settings",
    "last_checkpoint",
    "open_regular",
    "parse_json",
    "printable",
    "read_config_file",
    "read_json",
    "read_json_object",
    "read_regular",
    "read_settings",
    "read_text",
    "read_whole_config",
]
