# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is registered under a name: looked up in the registries, and nothing imported for it.

The host's own lookup takes a name that it does not know as a dotted path and imports it.
"""

import inspect
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from mmengine.registry import Registry, root

SCOPES = ("mmpretrain", "mmengine", "mmdet", "mmseg")
# Registries that may build a part of a model; the last is mmpretrain's own.
MODEL_KINDS = ("MODELS", "TASK_UTILS", "BATCH_AUGMENTS")
RUN_KINDS = (*(name for name, r in vars(root).items() if isinstance(r, Registry)), MODEL_KINDS[-1])

# What reads files of its own choosing, asks the network or evaluates texts when it is built or
# used. Classes by name; a module's name with a dot at its end stands for all of it.
READERS = (
    "mmpretrain.models.multimodal.",
    "mmpretrain.models.peft.",  # matches expressions of the settings' choice
    "mmpretrain.models.classifiers.hugging_face.",
    "mmpretrain.utils.dependency.",  # stands for what needs a library that is not installed
    "mmdet.models.language_models.",
    "transformers.",
    *("CLIPGenerator", "GroundingHead", "VQAGenerationHead", "SeqGenerationHead"),
    *("KnowledgeDistillationSingleStageDetector", "LAD", "Detectron2Wrapper", "GLIP"),
    *("GroundingDINO", "VPD", "CLIPTextEncoder", "AppearanceFreeLink"),
    "CameraMotionCompensation",  # evaluates a text
    "RFSearchHook",  # the same
    # Send what they are shown to a server that the settings name.
    *("WandbVisBackend", "MLflowVisBackend", "ClearMLVisBackend", "NeptuneVisBackend"),
    *("DVCLiveVisBackend", "AimVisBackend"),
    *("OneDLDataset", "OneDLDetDataset", "OneDLSegDataset"),
    # Read pickles, from wherever the settings say.
    *("RefCOCO", "RefCocoDataset", "OpenImagesDataset", "OpenImagesChallengeDataset"),
)


class Registered(NamedTuple):
    """What a name stands for.

    Attributes:
        name: A name that the host finds without importing anything.
        item: Class or function.
    """

    name: str
    item: Any

    @property
    def reads(self) -> bool:
        """Whether it is one of :data:`READERS`."""
        place = f"{getattr(self.item, '__module__', '')}."
        known = {cls.__name__ for cls in getattr(self.item, "__mro__", ())} | {
            self.name.split(".")[-1]
        }
        return any(place.startswith(r) if r.endswith(".") else r in known for r in READERS)


def find_registered(
    name: str, kinds: Sequence[str] = MODEL_KINDS, scope: str = "mmpretrain"
) -> Registered | None:
    """Looks up a name as the host does, up to where the host would import it.

    Args:
        name: 'ResNet', 'mmpretrain.ResNet', or the dotted path of a class that is registered, as
            configs in pure Python have it.
        kinds: Names of registries.
        scope: One of :data:`SCOPES`, in which names without a scope are meant.

    Returns:
        None where there is no such name.
    """
    prefix, _, rest = name.partition(".")
    named = prefix in SCOPES and rest
    for registry in _registries(kinds, (prefix,) if named else (scope, "mmengine")):
        found = registry.module_dict.get(rest if named else name)
        if found is not None:
            return Registered(name, found)
    return _by_path(name, kinds) if rest else None


def registered(kinds: Sequence[str] = MODEL_KINDS) -> Iterator[Registered]:
    """All that is registered, by names with a scope."""
    for scope in SCOPES:
        for registry in _registries(kinds, (scope,)):
            for name, item in registry.module_dict.items():
                yield Registered(f"{scope}.{name}", item)


def _by_path(path: str, kinds: Sequence[str]) -> Registered | None:
    """A class by the path it is imported from; the module must be there already."""
    module, _, name = path.rpartition(".")
    if module.split(".")[0] in SCOPES:
        list(_registries(kinds, (module.split(".")[0],)))  # loads what registers the host's classes
    item = vars(sys.modules[module]).get(name) if module in sys.modules else None
    if not inspect.isclass(item) and not inspect.isfunction(item):
        return None
    return next((entry for entry in registered(kinds) if entry.item is item), None)


def _registries(kinds: Sequence[str], scopes: Sequence[str]) -> Iterator[Registry]:
    for scope in scopes:
        if scope not in SCOPES or find_spec(scope) is None:
            continue
        try:
            own = vars(import_module(f"{scope}.registry"))
        except Exception:  # installed, and of no use with the rest of the stack
            continue
        for kind in kinds:
            base = vars(root).get(kind)
            registry = (
                (base if scope == "mmengine" else base.children.get(scope))
                if base is not None
                else own.get(kind)
            )
            if registry is None or (base is None and registry.scope != scope):
                continue
            try:
                registry.import_from_location()
            except Exception:  # as above
                continue
            yield registry
