# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
from mmengine.config import Config

from xmoco_plugin import config_path
from xmoco_plugin.visualization.report.config_diff import (
    differences,
    flatten,
    host_config,
    load_base,
)


def test_settings_are_named_by_their_path():
    nested = dict(a=dict(b=1, c=[1, 2]), d=[dict(type="X", p=0.5)], e={}, work_dir="here")
    assert flatten(nested) == {
        "a.b": "1",
        "a.c": "(1, 2)",
        "d.0.type": "'X'",
        "d.0.p": "0.5",
        "e": "{}",
    }


def test_only_what_differs_is_listed_and_what_one_lacks_is_a_dash():
    ours, theirs = Config(dict(a=1, b=2, c=[1])), Config(dict(a=1, b=3, c=(1,), d=dict(x=4)))
    assert differences(ours, theirs) == [["b", "2", "3"], ["d.x", "—", "4"]]


def test_the_hosts_config_is_found_through_the_whole_chain_of_bases():
    found = host_config("xmoco_r50_8xb32_mocov1.py")
    assert found is not None
    name, host = found
    assert "mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py" in name
    ours = Config.fromfile(config_path("xmoco_r50_8xb32_mocov1.py"))
    rows = {key: values for key, *values in differences(host, ours)}
    assert rows["model.type"] == ["'MoCo'", "'XMoCo'"]
    assert rows["model.head.temperature"] == ["0.2", "0.07"]
    assert not [key for key in rows if key.endswith("_scope_")]


def test_a_config_of_the_users_own_has_no_base_here():
    assert host_config("mine.py") is None
    assert host_config("") is None


@pytest.mark.parametrize(
    "name", ["gone.py", "mmpretrain::mocov2/gone.py", "nowhere::gone.py", "xmoco_plugin::gone.py"]
)
def test_a_base_that_does_not_exist_is_named(name):
    with pytest.raises(ValueError, match=r"gone\.py"):
        load_base(name)
