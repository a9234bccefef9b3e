# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""All that is registered has been looked at: nothing that reads files slips through the gate."""

import ast
import inspect
import re
import textwrap
from importlib.util import find_spec

from xmoco_plugin.untrusted.gate import PLACES
from xmoco_plugin.untrusted.registered import find_registered, registered

HOSTS = ("mmpretrain", "mmdet", "mmseg", "mmcv", "mmengine", "xmoco_plugin")
READING = re.compile(
    r"from_pretrained|torch\.load|torch\.jit|load_checkpoint|torch\.hub|\bopen\(|get_local_path|"
    r"urlopen|requests\.|create_model|download|fileio|\bload\(|load_url|get_text\(|subprocess|"
    r"pickle|list_from_file|fromfile|(?<![.\w])eval\(|\bexec\(|import_module|FileClient|"
    r"get_file_backend|np\.load|Path\(['\"\w]*\)\.read"
)
# May read, by a setting that the gate refuses: see PLACES, and what a text may be.
BY_A_SETTING = {
    "TimmClassifier": "model_name is a word; checkpoint_path and its kind are refused",
    "TIMMBackbone": "the same",
    "ArcFaceClsHead": "margins",
    "ImageToImageRetriever": "prototype",
}
# Words of settings that look as if they named a place, and hold numbers or switches.
NO_PLACES = re.compile(
    r"drop_path|pretrain_img_size|pretrained_window|use_checkpoint|with_cp|vocab_size|cache_feature|"
    r"^(in|out)?_?paths$|checkpoint_(mode|stages)"
)


def source_of(cls) -> str:
    """What a class and its bases of the hosts do, without their words and initialisations.

    ``init_weights`` reads what ``init_cfg`` and ``pretrained`` name, which the gate drops.
    """
    parts = []
    for base in cls.__mro__:
        if base.__module__.split(".")[0] not in HOSTS or base.__name__ == "BaseModule":
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        body = [n for n in tree.body[0].body if getattr(n, "name", "") != "init_weights"]
        for node in [n for part in body for n in ast.walk(part)]:
            inner = getattr(node, "body", None)
            if isinstance(inner, list) and inner and isinstance(inner[0], ast.Expr):
                inner[0] = ast.Pass()
        parts += [ast.unparse(part) for part in body]
    return "\n".join(parts)


def test_what_reads_files_or_runs_texts_is_refused_by_name_or_by_its_setting():
    found = {
        entry.name: READING.search(source_of(entry.item))[0]
        for entry in registered()
        if inspect.isclass(entry.item) and not entry.reads and READING.search(source_of(entry.item))
    }
    assert {k: v for k, v in found.items() if k.split(".")[-1] not in BY_A_SETTING} == {}


def test_what_is_no_class_is_refused():
    # Stand-ins for models whose libraries are missing, which would read a great deal.
    assert [e.name for e in registered() if not inspect.isclass(e.item) and not e.reads] == []


def test_settings_with_names_like_places_are_refused_as_texts():
    looks_like = re.compile(r"path|file|ckpt|checkpoint|url|_dir$|tokenizer|vocab|pretrain|client")
    through = {
        (entry.name, name)
        for entry in registered()
        if inspect.isclass(entry.item) and not entry.reads
        for base in entry.item.__mro__
        if "__init__" in vars(base) and base.__module__.split(".")[0] in HOSTS
        for name in inspect.signature(base.__init__).parameters
        if looks_like.search(name) and not PLACES.search(name) and not NO_PLACES.search(name)
    }
    assert through == set()


def test_no_registered_name_is_that_of_a_module():
    # Where the host looks a name up in another registry, it would import the module.
    names = {entry.name.split(".")[-1] for entry in registered()}
    assert len(names) > 200
    assert [name for name in names if name.isidentifier() and find_spec(name)] == []


def test_names_are_looked_up_in_their_scope():
    resnet = find_registered("ResNet")
    assert resnet.item is find_registered("mmpretrain.ResNet").item
    assert resnet.item.__module__.startswith("mmpretrain.")
    assert find_registered("GELU").item is find_registered("mmengine.GELU").item
    for name in ("mmengine.ResNet", "mmpretrain.models", "mmdet.ResNet.x", "a.ResNet", "x" * 999):
        assert find_registered(name) is None
