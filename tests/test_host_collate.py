# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Configs that inherit another package's train under the host's own Runner."""

import torch
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner

import xmoco_plugin  # noqa: F401  (registers)


def test_a_loader_bears_the_mark_that_an_inherited_config_has():
    for name, batch in (("default_collate", torch.tensor([1, 2])), ("pseudo_collate", [1, 2])):
        collate = dict(type=name, _scope_="mmpretrain")
        loader = Runner.build_dataloader(
            dict(
                batch_size=2,
                sampler=dict(type="DefaultSampler", shuffle=False),
                dataset=[1, 2],
                collate_fn=collate,
            )
        )
        [found] = list(loader)
        assert torch.equal(torch.as_tensor(found), torch.as_tensor(batch))
        assert FUNCTIONS.get(name).__name__ == name
