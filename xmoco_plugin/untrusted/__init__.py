# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What comes from a stranger: files, settings and names, read as data and never run."""

from .config_file import read_config_file, read_whole_config
from .files import (
    FileRefusedError,
    in_other_case,
    open_regular,
    read_regular,
    read_text,
    refusal,
)
from .gate import check_model_settings, check_run_settings
from .host_readers import guard_reading, refuse_code_in_data
from .image_file import check_image_file, image_size, open_image
from .json_file import parse_json, read_json, read_json_object
from .last_checkpoint import last_checkpoint
from .names import for_spreadsheet, printable
from .run_settings import check_run_paths, check_run_reads
from .settings import NotLiteral, SettingsRefusedError, read_settings
from .streams import printable_output
from .voc_files import VocImage, check_voc, voc_image, voc_names
from .walk import (
    FolderError,
    count_endings,
    folders_in,
    holds_image,
    is_hidden,
    walk_files,
    walk_images,
)

__all__ = [
    "FileRefusedError",
    "FolderError",
    "NotLiteral",
    "SettingsRefusedError",
    "VocImage",
    "check_image_file",
    "check_model_settings",
    "check_run_paths",
    "check_run_reads",
    "check_run_settings",
    "check_voc",
    "count_endings",
    "folders_in",
    "for_spreadsheet",
    "guard_reading",
    "holds_image",
    "image_size",
    "in_other_case",
    "is_hidden",
    "last_checkpoint",
    "open_image",
    "open_regular",
    "parse_json",
    "printable",
    "printable_output",
    "read_config_file",
    "read_json",
    "read_json_object",
    "read_regular",
    "read_settings",
    "read_text",
    "read_whole_config",
    "refusal",
    "refuse_code_in_data",
    "voc_image",
    "voc_names",
    "walk_files",
    "walk_images",
]
