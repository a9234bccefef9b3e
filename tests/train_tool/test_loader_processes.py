# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The processes that load images end with the training, at once."""

import multiprocessing

import pytest

from xmoco_plugin.cli import runners

from .. import tiny_runner
from ..tool_modules import import_tool

WORKERS = dict(num_workers=2, persistent_workers=True)


@pytest.mark.parametrize("by_epoch", [True, False])
def test_none_is_left_and_none_is_waited_for(tmp_path, by_epoch):
    length = dict(by_epoch=True, max_epochs=1) if by_epoch else dict(by_epoch=False, max_iters=4)
    cfg = tiny_runner.config(tmp_path, validate=True, train_cfg=length)
    cfg.train_dataloader = tiny_runner.loader(infinite=not by_epoch) | WORKERS
    for loader in (cfg.val_dataloader, cfg.val_cfg.bank_dataloader):
        loader.update(WORKERS)
    cfg.launcher = "none"
    runner = runners.build_runner(cfg)
    before = set(multiprocessing.active_children())
    alive, end = [], runners.end_workers

    def ends(which):
        alive.append(set(multiprocessing.active_children()) - before)
        end(which)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runners, "end_workers", ends)
        import_tool("train").run(runner)
    assert len(alive[0]) == 6
    # One that is waited for in vain is sent SIGTERM after five seconds.
    assert [process.exitcode for process in alive[0]] == [0] * 6
    assert set(multiprocessing.active_children()) == before
