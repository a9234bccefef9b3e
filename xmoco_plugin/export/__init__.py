# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from ..weights import require_safetensors
from .alignment import name_in
from .architectures import RESNETS
from .arrival import Arrival, check_arrival
from .backbone_file import BackboneFile, prepare_file
from .detectors import counted
from .into_detector import Merged, put_into
from .places import beside_note, stands_at
from .record import (
    LARGEST_SIZE,
    backbone_settings,
    heads_of,
    make_record,
    meta_of,
    stored_settings,
    training_views,
    unlike_others,
)
from .sources import SOURCES, Backbone, find_backbone, further_layers, read_weights
from .targets import (
    TARGETS,
    architecture,
    check_architecture,
    convert,
    known_config,
    write_backbone,
)

__all__ = [
    "LARGEST_SIZE",
    "RESNETS",
    "SOURCES",
    "TARGETS",
    "Arrival",
    "Backbone",
    "BackboneFile",
    "Merged",
    "architecture",
    "backbone_settings",
    "beside_note",
    "check_architecture",
    "check_arrival",
    "convert",
    "counted",
    "find_backbone",
    "further_layers",
    "heads_of",
    "known_config",
    "make_record",
    "meta_of",
    "name_in",
    "prepare_file",
    "put_into",
    "read_weights",
    "require_safetensors",
    "stands_at",
    "stored_settings",
    "training_views",
    "unlike_others",
    "write_backbone",
]
