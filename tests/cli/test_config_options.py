# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""--cfg-options: the same everywhere, and what the host cannot read is one sentence before it."""

import argparse

import pytest
from mmengine.config import Config

from ..tool_modules import import_tool, parse

KNN = dict(
    val_dataloader=dict(batch_size=2, num_workers=4, dataset=dict(type="A")),
    val_cfg=dict(type="KNNValLoop", bank_dataloader=dict(num_workers=2, dataset=dict(type="A"))),
    val_evaluator=dict(type="Accuracy"),
    train_dataloader=dict(batch_size=2, dataset=dict(type="A")),
    train_cfg=dict(max_epochs=1),
    optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0)),
)


def arguments(**options) -> argparse.Namespace:
    common = dict(config="c.py", checkpoint="c.pth", work_dir="w", amp=False, k=None)
    common |= dict(launcher="none", local_rank=0, data_root=None, no_pin_memory=False)
    return argparse.Namespace(**common, temperature=None, cfg_options=options)


def test_a_test_takes_options_of_the_validation_that_it_runs_and_of_parts_that_it_leaves_out():
    cfg = Config(KNN)
    options = {"val_dataloader.num_workers": 0, "train_dataloader.batch_size": 9}
    import_tool("test").merge(cfg, arguments(**options))
    assert cfg.test_dataloader.num_workers == 0
    assert cfg.test_cfg.type == "KNNTestLoop"
    assert cfg.val_dataloader is None
    assert cfg.train_dataloader is None


def test_knn_takes_options_of_parts_that_it_leaves_out():
    cfg = Config(KNN | dict(test_dataloader=dict(dataset=dict(type="A")), test_cfg=dict()))
    options = {"test_dataloader.num_workers": 0, "val_dataloader.batch_size": 7}
    import_tool("eval_knn").merge(cfg, arguments(**options))
    assert (cfg.val_dataloader.batch_size, cfg.test_dataloader) == (7, None)


@pytest.mark.parametrize("value", ["[dict(type='A',first=32)]", "{'a':1}", "dict(b=2)"])
def test_a_dict_on_the_command_line_is_refused_with_the_way_out(tmp_path, capsys, value):
    (tmp_path / "c.py").write_text("")
    words = [tmp_path / "c.py", "--cfg-options", f"custom_hooks={value}"]
    with pytest.raises(SystemExit) as end:
        parse(import_tool("train"), *words)
    assert end.value.code == 2
    assert "no dict. Put it into a config file that inherits this one" in capsys.readouterr().err


def test_mixed_precision_on_a_cpu_is_refused_before_any_work_with_the_option_that_leaves_it_out():
    train = import_tool("train")
    amp = dict(type="AmpOptimWrapper", loss_scale="dynamic", optimizer=dict(type="SGD", lr=1.0))
    options = dict(no_validate=False, resume=None, auto_scale_lr=False, no_persistent_workers=False)
    cfg, args = Config(KNN | dict(optim_wrapper=amp)), arguments()
    args.__dict__.update(options)
    with pytest.raises(ValueError, match=r"c\.py computes in mixed precision.*type=OptimWrapper"):
        train.merge(cfg, args)
    args.cfg_options = {"optim_wrapper.type": "OptimWrapper"}
    cfg = Config(KNN | dict(optim_wrapper=amp))
    train.merge(cfg, args)
    assert cfg.optim_wrapper == dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"custom_hooks": ["dict(interval=1)"]}, r"custom_hooks.0 is 'dict\(interval=1\)': a hook"),
        ({"custom_hooks": "dict(interval=1)"}, r"custom_hooks is 'dict\(i.*': it must be a list"),
        ({"default_hooks.more.interval": 1}, r"default_hooks.more is {'interval': 1}: a hook is"),
        (
            {"custom_hooks.1.interval": 1},
            r"--cfg-options custom_hooks.1.interval: the config has no",
        ),
        ({"custom_hooks.x.interval": 1}, r"--cfg-options custom_hooks.x.interval: the config has"),
        ({"work_dir": "w", "train_cfg.max_epochs.x": 1}, r"--cfg-options train_cfg.max_epochs.x: "),
    ],
)
def test_an_incomplete_hook_and_a_part_that_is_not_there_are_a_sentence(options, said, capsys):
    cfg = Config(KNN | dict(custom_hooks=[dict(type="EMAHook")], default_hooks={}))
    with pytest.raises(ValueError, match=said):
        import_tool("train").merge(cfg, train_arguments(**options))


def test_whole_hooks_and_those_that_are_switched_off_are_let_through():
    cfg = Config(KNN | dict(custom_hooks=[dict(type="EMAHook")]))
    options = {"default_hooks.timer": None, "custom_hooks.0.interval": 2}
    import_tool("train").merge(cfg, train_arguments(**options))
    assert cfg.custom_hooks[0].interval == 2


def train_arguments(**options) -> argparse.Namespace:
    more = dict(no_validate=False, resume=None, auto_scale_lr=False, no_persistent_workers=False)
    return argparse.Namespace(**vars(arguments(**options)), **more)
