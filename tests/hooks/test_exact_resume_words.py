# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a resumed run says of another number of processes: the same images a step, or others."""

import logging
from types import SimpleNamespace

import pytest

from xmoco_plugin.hooks import ExactResumeHook, exact_resume_hook


@pytest.mark.parametrize(
    ("made", "level", "said"),
    [
        ((16, 1), logging.INFO, "resumed with 1 x 16 images a step, begun with 2 x 8"),
        ((16, 1), logging.INFO, "a step has the same images"),
        ((8, 1), logging.WARNING, "the steps are others. The schedule counts steps"),
        ((8, 2), None, ""),
    ],
)
def test_the_same_images_a_step_are_no_warning(monkeypatch, caplog, made, level, said):
    size, processes = made
    monkeypatch.setattr(exact_resume_hook, "world", lambda: (0, processes))
    hook = ExactResumeHook()
    begun = dict(batch_size=8, processes=2, numbered=True)
    hook._found = exact_resume_hook.Position._make(
        begun.get(name, 0) for name in exact_resume_hook.Position._fields
    )
    logger = logging.getLogger("resumed")
    loader = SimpleNamespace(batch_size=size)
    runner = SimpleNamespace(train_loop=SimpleNamespace(dataloader=loader), logger=logger)
    with caplog.at_level(logging.INFO, "resumed"):
        hook._say(runner)
    assert [record.levelno for record in caplog.records] == ([level] if level else [])
    assert said in caplog.text
