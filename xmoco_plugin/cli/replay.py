# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A training step that went wrong, run once more: which term, gradient and layer is not finite."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmpretrain.structures import DataSample

from xmoco_plugin.checkpoint import CheckpointError, compare_state, read_checkpoint, state_dict_of
from xmoco_plugin.cli import console, runners
from xmoco_plugin.data.npz_file import NPZ_DAMAGES, read_npz
from xmoco_plugin.hooks.bad_batch import FORMAT, LIMIT, Batch, not_finite
from xmoco_plugin.untrusted import FileRefusedError, open_regular, parse_json, printable

MOST = 4096  # inputs of a file: a view each, or an image each


class Kept(NamedTuple):
    """What a file of :mod:`xmoco_plugin.hooks.bad_batch` holds."""

    batch: Batch
    terms: list[str]
    seed: int
    checkpoint: str | None


def read(path: Path) -> Kept:
    """Reads the file; nothing in it is run.

    Raises:
        FileRefusedError: It is no regular file, damaged, too large, or something else.
    """
    try:
        with open_regular(path, 2 * LIMIT) as file:
            wanted = ["facts", *(f"input_{i}" for i in range(MOST))]
            _, arrays = read_npz(file, wanted, 2 * LIMIT)
        facts = parse_json(arrays["facts"].astype("uint8").tobytes())
        return _kept(facts, arrays)
    except FileRefusedError as error:
        reason = str(error)
    except (*NPZ_DAMAGES, KeyError, TypeError, AttributeError) as error:
        reason = f"not what a stopped training has kept ({printable(str(error))[:100]})"
    raise FileRefusedError(f"--replay {printable(path)}: {reason}")


def _kept(facts: Any, arrays: Mapping[str, Any]) -> Kept:
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']!r}")
    names, indices, terms = facts["names"], facts["indices"], facts["terms"]
    count, last = facts["inputs"], facts["checkpoint"]
    fits = (
        all(isinstance(name, str) for name in [*names, *terms])
        and all(isinstance(index, int) for index in [*indices, count, facts["step"], facts["seed"]])
        and len(names) == len(indices) > 0
        and 0 <= count <= MOST
        and (last is None or (isinstance(last, str) and Path(last).name == last))
    )
    if not fits:
        raise ValueError("its facts are others")
    found = [arrays[f"input_{i}"] for i in range(count)]
    if any(array.dtype.kind not in "uif" or not array.ndim for array in found):
        raise ValueError("its inputs are no numbers")
    inputs = [torch.from_numpy(array.copy()) for array in found]
    batch = Batch(facts["step"], names, indices, inputs)
    return Kept(batch, terms, facts["seed"], last)


def replay(cfg: Config, file: Path, state: console.Quiet | None, checkpoint: str | None) -> None:
    """Runs the step again and prints what is not finite.

    Args:
        cfg: Of the training; it is not trained.
        file: As the training kept it.
        state: Of :func:`console.quiet`.
        checkpoint: Weights to run it with; None for the run's last good ones, beside the file, or
            first weights.

    Raises:
        FileRefusedError: As :func:`read`.
        CheckpointError: The weights are not of this model.
    """
    kept = read(file)
    beside = file.parent / kept.checkpoint if kept.checkpoint else None
    weights = Path(checkpoint) if checkpoint else beside
    cfg.work_dir, cfg.resume, cfg.load_from = str(file.parent / "replay"), False, None
    cfg.randomness = {**(cfg.get("randomness") or {}), "seed": kept.seed % (1 << 32)}
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    runner = runners.build_runner(cfg, state)
    model = runner.model
    runner._init_model_weights()
    if weights is not None:
        _load(model, weights)
    where = f"the weights of {weights}" if weights else f"the first weights of seed {kept.seed}"
    data, drawn = _data(runner, kept.batch, file)
    print(
        f"iteration {kept.batch.step:,}, in which {', '.join(map(printable, kept.terms))} was not "
        f"finite: {len(kept.batch.names)} images, {drawn}; {where}",
        flush=True,
    )
    for line in look(model, data, kept.batch):
        print(line, flush=True)


def _load(model: torch.nn.Module, path: Path) -> None:
    state, ours = state_dict_of(read_checkpoint(path)), model.state_dict()
    difference = compare_state(ours, state)
    if difference.mismatched or not ours.keys() & state.keys():
        raise CheckpointError(f"{path} is not of this model; nothing was run.")
    model.load_state_dict(state, strict=False)


def _data(runner: Runner, batch: Batch, file: Path) -> tuple[dict, str]:
    """The batch as the loader would give it, and how it was made."""
    if batch.inputs:
        samples: list[BaseDataElement] = []
        for name, index in zip(batch.names, batch.indices, strict=True):
            samples.append(DataSample(metainfo=dict(img_path=name, sample_idx=index)))
        return {"inputs": batch.inputs, "data_samples": samples}, "their views as they were"
    dataset = runner.build_dataloader(runner._train_dataloader, seed=runner.seed).dataset
    if any(not 0 <= index < len(dataset) for index in batch.indices):
        raise FileRefusedError(f"--replay {printable(file)}: no images of this training set")
    loader = runner.train_dataloader
    collate = getattr(loader, "collate_fn", pseudo_collate)
    return collate([dataset[index] for index in batch.indices]), "their views drawn anew"


def look(model: torch.nn.Module, data: dict, batch: Batch) -> list[str]:
    """Runs the step; lines that say what is not finite, and what is.

    Args:
        model: With its data preprocessor.
        data: As the loader gives it.
        batch: For the names of images.
    """
    lines: list[str] = []
    first: list[str] = []

    def watch(name: str) -> Any:
        def seen(module: torch.nn.Module, _: Any, output: Any) -> None:
            tensors = [output] if torch.is_tensor(output) else output
            tensors = tensors if isinstance(tensors, list | tuple) else []
            if not first and any(
                torch.is_tensor(t) and t.is_floating_point() and not t.isfinite().all()
                for t in tensors
            ):
                first.append(f"{name} ({type(module).__name__})")

        return seen

    bad = not_finite(batch)
    lines += [f"input:     not finite: {printable(name)}" for name in bad]
    handles = [part.register_forward_hook(watch(name)) for name, part in model.named_modules()]
    try:
        model.train()
        prepared = model.data_preprocessor(data, training=True)
        total, logged = model.parse_losses(model(**prepared, mode="loss"))
    finally:
        for handle in handles:
            handle.remove()
    for name, value in logged.items():
        number = float(value)
        said = "" if math.isfinite(number) else "   not finite"
        lines.append(f"{name}: {number:.6g}{said}")
    if first:
        lines.append(f"first layer whose output is not finite: {first[0]}")
    total.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    broken = [name for name, grad in gradients.items() if not grad.isfinite().all()]
    lines.append(
        f"gradients: {len(broken)} of {len(gradients)} are not finite"
        + (f", {broken[0]} the first" if broken else "")
    )
    if not (bad or broken or first):
        lines.append(
            "all is finite with these weights: it was not the images alone. Look at the steps "
            "since the checkpoint: a lower learning rate, a longer warm-up, gradient clipping."
        )
    return lines
