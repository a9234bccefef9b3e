# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""lightly-train's side of teacher_peer.py, in a process of its own: the only file that imports it.

Its transformers is too new for mmpretrain, so that the two do not share an environment. It is given
one JSON argument: of its training, or of its steps, which then run one at a time as lines on the
standard input ask for them, and answer with their seconds.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from teacher_peer_clock import Stamps
from torch import nn

STUDENT = "torchvision/resnet18"


def method_of(name: str, order: dict[str, Any]) -> tuple[Any, torch.optim.Optimizer]:
    """What its ``pretrain`` hands to its trainer, and the optimizer."""
    from lightly_train._commands import train_helpers
    from lightly_train._methods import method_helpers
    from lightly_train._models import package_helpers
    from lightly_train._optim import optimizer_helpers
    from lightly_train._scaling import ScalingInfo

    wrapped = package_helpers.get_wrapped_model(model=STUDENT, num_input_channels=3)
    kind = method_helpers.get_method_cls(name)
    optim_args = train_helpers.get_optimizer_args("auto", None, kind, wrapped)
    arguments = train_helpers.get_method_args(
        method_cls=kind,
        method_args=dict(teacher=order["teacher"], queue_size=order["queue"]),
        scaling_info=ScalingInfo(dataset_size=10**6, epochs=1),
        optimizer_args=optim_args,
        wrapped_model=wrapped,
    )
    built = train_helpers.get_method(
        method_cls=kind,
        method_args=arguments,
        optimizer_args=optim_args,
        embedding_model=train_helpers.get_embedding_model(wrapped_model=wrapped),
        global_batch_size=order["batch"],
        num_input_channels=3,
    )
    optimizer = optimizer_helpers.get_optimizer(
        optim_args=optim_args, trainable_modules=built.trainable_modules(), lr_scale=1.0
    )
    return built.to(order["device"]).train(), optimizer


def ways(order: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """A step by each method from one view of each image that is there, and the teacher alone."""
    device, half = order["device"], order["precision"] == "bf16"
    view = torch.randn(order["batch"], 3, order["size"], order["size"], device=device)

    def step_of(name: str) -> tuple[Callable[[], object], Callable[[], object]]:
        built, optimizer = method_of(name, order)
        built.teacher_embedding_model.eval()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = built.training_step_impl({"views": [view]}, 0).loss
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)  # as its trainer is told to
            optimizer.step()

        def ask() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=half):
                built._forward_teacher(view)

        return step, ask

    found: dict[str, Callable[[], object]] = {}
    for name in order["methods"]:
        step, ask = step_of(name)
        found |= {f"lightly-train, {name}": step, "teacher alone, lightly-train": ask}
    return found


def serve(order: dict[str, Any]) -> None:
    """Answer each line with the seconds of the way that it names."""
    found, alone = ways(order), order["device"] == "cpu" and order["threads"] == 1
    clock = time.process_time if alone else time.perf_counter
    print(json.dumps(list(found)), flush=True)
    for line in sys.stdin:
        start = clock()
        found[json.loads(line)]()
        if order["device"] == "cuda":
            torch.cuda.synchronize()
        print(json.dumps(clock() - start), flush=True)


def train(order: dict[str, Any]) -> None:
    """Its own training by its own function; the time at each step's end is written down."""
    import lightly_train
    from lightly_train._methods.method import Method

    stamps = Stamps(order["stamps"], order["steps"], order["warm_up"])
    ended = Method.on_train_batch_end

    def on_train_batch_end(self: Any, *args: Any, **kwargs: Any) -> None:
        ended(self, *args, **kwargs)
        stamps.note()

    Method.on_train_batch_end = on_train_batch_end
    lightly_train.pretrain(
        out=order["out"],
        data=order["data"],
        model=STUDENT,
        method=order["method"],
        method_args=dict(teacher=order["teacher"], queue_size=order["queue"]),
        epochs=1,
        batch_size=order["batch"],
        num_workers=order["workers"],
        accelerator="gpu" if order["device"] == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if order["precision"] == "bf16" else "32-true",
        transform_args=dict(image_size=(order["size"], order["size"])),
    )


def main() -> None:
    """Does what the argument says."""
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    torch.manual_seed(0)
    (train if "method" in order else serve)(order)


if __name__ == "__main__":
    main()
