# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What travels between processes when several losses ask for the same rows."""

from collections import Counter

import torch

from tests.models import build, views
from tests.multiprocess import run_processes
from xmoco_plugin.distributed import gather_rows, gathers_shared

N = 8  # global batch


class Calls(Counter):
    """Counts the calls of torch.distributed's collectives while it is entered."""

    NAMES = ("all_gather_into_tensor", "all_reduce")

    def __enter__(self) -> "Calls":
        self.originals = {name: getattr(torch.distributed, name) for name in self.NAMES}
        for name, original in self.originals.items():

            def counted(*args, name=name, original=original, **kwargs):
                self[name] += 1
                return original(*args, **kwargs)

            setattr(torch.distributed, name, counted)
        return self

    def __exit__(self, *_) -> None:
        for name, original in self.originals.items():
            setattr(torch.distributed, name, original)


def gathered(rank, size):
    """Rows of all ranks asked for in several ways, and the gathers that each took."""
    rows = torch.arange(6.0).view(3, 2) + 10 * rank
    found = {}

    def ask(name, *asked):
        with Calls() as calls:
            results = [gather_rows(r).detach().clone() for r in asked]
        found[name] = (torch.stack(results), calls["all_gather_into_tensor"])

    ask("outside", rows, rows)
    with gathers_shared():
        ask("the same, detached", rows, rows.detach())
        with gathers_shared():
            ask("nested", rows)
        ask("after nested", rows)
        ask("equal numbers elsewhere", rows.clone())
        ask("other rows of the same memory", rows[:2])
        rows += 1
        ask("written to", rows)
        ask("with gradient", *[rows.clone().requires_grad_()] * 2)
    ask("outside again", rows)
    return found


def test_rows_are_gathered_once_until_they_are_written_to_and_with_gradient_every_time():
    for found in run_processes(gathered, 2):
        before = torch.arange(6.0).view(3, 2)
        before = torch.cat([before, before + 10])
        expected = {
            "outside": (before, 2),
            "the same, detached": (before, 1),
            "nested": (before, 0),
            "after nested": (before, 0),
            "equal numbers elsewhere": (before, 1),
            "other rows of the same memory": (before[[0, 1, 3, 4]], 1),
            "written to": (before + 1, 1),
            "with gradient": (before + 1, 2),
            "outside again": (before + 1, 1),
        }
        assert {name: gathers for name, (_, gathers) in found.items()} == {
            name: gathers for name, (_, gathers) in expected.items()
        }
        for name, (rows, _) in expected.items():
            assert all(torch.equal(r, rows) for r in found[name][0]), name


def collectives_of_a_step(rank, size, symmetric):
    head = dict(type="XMoCoHead", consistency=dict(), uniformity=dict())
    model = build(norm=False, symmetric=symmetric, head=head)
    part = [v[rank * N // size : (rank + 1) * N // size] for v in views(N, 0)]
    model.loss(part, None)  # agrees on a seed
    with Calls() as calls:
        sum(model.loss(part, None).values()).backward()
    return dict(calls)


def test_a_step_gathers_its_keys_and_its_queries_once_a_pass():
    for symmetric, passes in ((False, 1), (True, 2)):
        for calls in run_processes(collectives_of_a_step, 2, symmetric):
            assert calls == {"all_gather_into_tensor": 2 * passes, "all_reduce": passes}
