# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One step with a teacher's stored features, as a share of MoCo's, in alternating rounds.

From views that are there already, and from uint8 images by views made on the device: MoCo has two
of each image, a student of stored features one.
"""

import argparse
from collections.abc import Callable
from types import SimpleNamespace

import measure
import torch
from mmpretrain.registry import MODELS
from step_models import PLAIN, wrapper_of

import xmoco_plugin
from xmoco_plugin.teachers import KeyBank

assert xmoco_plugin  # registers the algorithms
DIMS, IMAGES = 256, 20000  # numbers of a key, images whose keys are stored
MOCO, TAUGHT, BOTH = "MoCo", "stored features", "stored features beside MoCo"


def config_of(name: str, args: argparse.Namespace) -> dict:
    """Of one of the three models."""
    width = 512 if args.depth < 50 else 2048
    neck = dict(
        type="MoCoV2Neck",
        in_channels=width,
        hid_channels=width,
        out_channels=128,
        with_avg_pool=True,
    )
    views = dict(recipe="mocov2", size=args.size)
    common = dict(
        backbone=dict(type="ResNet", depth=args.depth, norm_cfg=dict(type="BN")),
        data_preprocessor=dict(
            type="TwoViewDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3, views=views
        ),
        _scope_="mmpretrain",
    )
    taught = dict(neck, out_channels=DIMS)
    if name == TAUGHT:
        head = dict(type="TeacherHead")
        sizes = dict(feat_dim=DIMS, num_keys=args.queue)
        return dict(common, type="TeacherContrast", neck=taught, head=head, **sizes)
    moco = dict(common, neck=neck, head=dict(type="XMoCoHead"), queue_len=args.queue, type="XMoCo")
    if name == MOCO:
        return moco
    teacher = dict(teacher_neck=taught, teacher_head=dict(type="TeacherHead"), teacher_dims=DIMS)
    return moco | dict(type="TaughtXMoCo", num_keys=args.queue, **teacher)


def steps_of(name: str, args: argparse.Namespace, device: str) -> dict[str, Callable[[], None]]:
    """A step from ready views, and one from images."""
    torch.manual_seed(0)
    model = MODELS.build(config_of(name, args)).to(device).train()
    if name != MOCO:
        keys = torch.nn.functional.normalize(torch.randn(IMAGES, DIMS), dim=1)
        model.bank = KeyBank(keys.half().to(device))
    if name == TAUGHT:
        model.data_preprocessor.recipes = model.data_preprocessor.recipes[:1]
    wrapper = wrapper_of(model, PLAIN)
    samples = [SimpleNamespace(sample_idx=i) for i in range(args.batch)]
    shape = (args.batch, 3, args.pixels, args.pixels)
    images = torch.randint(256, shape, dtype=torch.uint8, device=device)

    def views() -> list[torch.Tensor]:
        return model.data_preprocessor(dict(inputs=images), training=True)["inputs"]

    def step(given: list[torch.Tensor]) -> None:
        wrapper.update_params(sum(model.loss(given, samples).values()))

    ready = views()
    return {"views there": lambda: step(ready), "views made": lambda: step(views())}


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser, repeats=7)
    add = parser.add_argument
    add("--batch", type=int, default=64 if torch.cuda.is_available() else 32)
    add("--size", type=int, default=96, help="pixels of a view's side")
    add("--pixels", type=int, default=128, help="of an image's side")
    add("--depth", type=int, default=18, choices=(18, 50), help="of the ResNet")
    add("--queue", type=int, default=4096, help="keys that a step compares with, of each kind")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    built = {name: steps_of(name, args, device) for name in (MOCO, TAUGHT, BOTH)}
    rows: list[dict] = []
    for kind in ("views there", "views made"):
        taken = measure.alternate({n: s[kind] for n, s in built.items()}, args.repeats, device)
        for name, seconds in taken.items():
            share, rounds = measure.ratio(seconds, taken[MOCO])
            row = {"step": name, "views": kind.split()[1], "ms": 1e3 * seconds}
            rows.append(row | {"time / MoCo": share, "rounds": rounds})
    measure.report("A step with stored features", rows, measure.environment(device), args)


if __name__ == "__main__":
    main()
