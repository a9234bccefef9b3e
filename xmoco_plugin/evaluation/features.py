# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""From a loader to one unit-norm feature and one label per image."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.dataset import DefaultSampler
from mmengine.runner import autocast
from torch import nn

from ..distributed import unwrapped, world
from ..precision import unit_norm
from ..progress import watched

Embed = Callable[[dict], tuple[torch.Tensor, Sequence[Any]]]
ReadLabels = Callable[[Sequence[Any], str, int], torch.Tensor]


class LabelledFeatures(NamedTuple):
    """This rank's part of a set, without the duplicates that fill up the last round of ranks."""

    features: torch.Tensor  # (m, D), unit norm unless asked for otherwise
    labels: torch.Tensor  # (m,), int64, CPU; (m, C) as `targets_of` reads them
    places: torch.Tensor  # (m,), int64, CPU: place of each image in the order of the whole set


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every submodule has the mode it had, frozen ones too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class ModelEmbedder:
    """Callable: a loader's batch -> (backbone features, preprocessed data samples).

    The features are those of the host's ``extract_feat``: of a self-supervised model the
    backbone's, of a classifier those after its neck.

    Args:
        model: as the runner holds it, wrapped for distributed training or not.
        fp16: run the model under autocast; features come out in float32 either way.
        unit: scale each feature to norm 1.
    """

    def __init__(self, model: nn.Module, fp16: bool = False, unit: bool = True) -> None:
        self.model: Any = unwrapped(model)
        self.fp16, self.unit = fp16, unit
        backbone = getattr(self.model, "backbone", None)
        self.class_token = getattr(backbone, "cls_token", None) is not None

    @torch.no_grad()
    def __call__(self, data_batch: dict) -> tuple[torch.Tensor, Sequence[Any]]:
        """Returns (B, D) float32 on the model's device, and the B data samples."""
        data_batch = {**data_batch, "inputs": _single_view(data_batch["inputs"])}
        data = self.model.data_preprocessor(data_batch, False)
        with autocast(enabled=self.fp16):
            if hasattr(self.model, "extract_feat"):
                output = self.model.extract_feat(data["inputs"])
            else:
                output = self.model(data["inputs"], mode="tensor")
        output = channels_first(output, getattr(self.model, "backbone", self.model))
        feature = pool_feature(output, self.class_token)
        return unit_norm(feature) if self.unit else feature, data["data_samples"]


def channels_first(output: Any, backbone: nn.Module) -> Any:
    """What a backbone gave; of timm's whose maps are (n, h, w, E), the last as (n, E, h, w)."""
    inner = getattr(backbone, "timm_model", backbone)
    if getattr(inner, "output_fmt", None) != "NHWC":
        return output
    while isinstance(output, tuple | list):
        output = output[-1]
    return output.permute(0, 3, 1, 2) if output.ndim == 4 else output


def pool_feature(output: Any, class_token: bool = False) -> torch.Tensor:
    """One vector per image out of whatever a backbone returns; of a tuple, its last stage.

    Args:
        output: (B, D) is kept; (B, D, H, W) is averaged over places; of tokens (B, L, D) the
            class token, or without one their mean.
        class_token: token 0 is a class token, as in mmpretrain's vision transformers.

    Returns:
        (B, D), float32.
    """
    while isinstance(output, (tuple, list)):
        output = output[-1]
    feature = output.float()
    if feature.ndim == 4:
        return feature.mean(dim=(2, 3))
    if feature.ndim == 3:
        return feature[:, 0] if class_token else feature.mean(dim=1)
    if feature.ndim == 2:
        return feature
    raise ValueError(
        f"the model's output {tuple(feature.shape)} is neither (B, D), (B, L, D) nor (B, D, H, W)"
    )


def embed_pixels(data_batch: dict) -> tuple[torch.Tensor, Sequence[Any]]:
    """Raw pixels as features: each image flattened, its mean removed, unit norm.

    The cosine of two such features is the correlation of the two images.

    Args:
        data_batch: as the loader yields it, before the model's preprocessor.

    Returns:
        (B, C * H * W) float32 and the B data samples.
    """
    inputs = _single_view(data_batch["inputs"])
    if not isinstance(inputs, torch.Tensor):
        raise ValueError(
            "raw pixels can only be compared between images of one size: "
            "resize or crop in the pipeline"
        )
    pixels = inputs.flatten(1).float()
    return unit_norm(pixels - pixels.mean(dim=1, keepdim=True)), data_batch["data_samples"]


def embed_nothing(data_batch: dict) -> tuple[torch.Tensor, Sequence[Any]]:
    """(B, 0) and the B data samples, for passes that want only the labels."""
    return torch.empty(len(data_batch["inputs"]), 0), data_batch["data_samples"]


def pixel_features(loader: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """`embed_pixels` over a whole loader: this rank's features (m, P) and labels (m,)."""
    features, labels, _ = collect_features(loader, embed_pixels, name="set")
    return features, labels


def collect_features(
    loader: Any,
    embed: Embed,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    name: str = "bank",
    show_progress: bool = False,
    read: ReadLabels | None = None,
) -> LabelledFeatures:
    """Features and labels of this rank's part of a labelled set.

    Args:
        loader: with the host's ``DefaultSampler`` where there are several ranks: rank r of R is
            handed the places r, r + R, ...; places past the end of the set are duplicates.
        embed: batch -> ((B, D), data samples).
        dtype: in which to keep the features; half precision halves a large bank.
        device: where to keep them; ``None``: where ``embed`` leaves them.
        name: what messages call this set.
        show_progress: a bar on the first rank's terminal.
        read: (data samples, name, number of the first) -> their labels; default `labels_of`.

    Raises:
        ValueError: what ``read`` refuses; more images than the set has.
    """
    rank, size = world()
    total = len(loader.dataset)
    share = math.ceil(total / size)
    if size > 1 and not isinstance(loader.sampler, DefaultSampler):
        raise ValueError(
            f"the {name}'s sampler must be DefaultSampler to be split over {size} processes, "
            f"not {type(loader.sampler).__name__}"
        )
    # Filled in place: collecting and joining batches would need the memory twice.
    features = torch.empty(0, 0, dtype=dtype)
    labels = torch.empty(0, dtype=torch.int64)
    count = 0
    for batch in watched(loader, f"features, {name}", show_progress):
        found, samples = embed(batch)
        truth = (read or labels_of)(samples, name, count)
        if count == 0:
            labels = torch.empty((share, *truth.shape[1:]), dtype=torch.int64)
            keep = found.device if device is None else device
            features = torch.empty((share, found.shape[1]), dtype=dtype, device=keep)
        if count + len(found) > share:
            raise ValueError(
                f"the {name}'s loader yields more than the {share} images of this process: "
                "its sampler must visit every image once (DefaultSampler)"
            )
        features[count : count + len(found)] = found
        labels[count : count + len(found)] = truth
        count += len(found)
    places = torch.arange(count) * size + rank
    count = int((places < total).sum())
    return LabelledFeatures(features[:count], labels[:count], places[:count])


def refuse_nonfinite(
    features: torch.Tensor, what: str, name_of: Callable[[int], str] = "image {}".format
) -> None:
    """Refuses features that no number can be made of.

    Args:
        features: (..., D); the axes before the last are counted through.
        what: The images, in the plural.
        name_of: Name of an image, by its number.

    Raises:
        ValueError: Some are NaN or infinite; how many, and of which image first.
    """
    rows = features.flatten(0, -2)
    # In pieces: a mask of a large bank would need a quarter of its memory again.
    bad = torch.cat([~torch.isfinite(part).all(dim=1) for part in rows.split(65536)])
    count = int(bad.sum())
    if count:
        first = name_of(int(bad.nonzero()[0]))
        raise ValueError(
            f"the features of {count:,} of {len(rows):,} {what} hold NaN or infinity, the first of "
            f"them those of {first!r}: the weights are broken, or they overflow on such images. "
            "Nothing was written."
        )


def labels_of(data_samples: Sequence[Any], name: str = "set", first: int = 0) -> torch.Tensor:
    """The single label of each data sample, (B,) int64 on the CPU.

    Raises:
        ValueError: a sample without ``gt_label`` or with several; names the image.
    """
    labels = []
    for number, sample in enumerate(data_samples or ()):
        label = getattr(sample, "gt_label", None)
        if label is None or label.numel() != 1:
            where = getattr(sample, "img_path", f"image {first + number}")
            what = "no gt_label" if label is None else f"{label.numel()} labels"
            raise ValueError(
                f"one label per image is needed, but in the {name} {where} has {what}: use a "
                "labelled data set here (a small one will do) whose pipeline ends in PackInputs"
            )
        labels.append(label.reshape(1))
    if not labels:
        raise ValueError(
            f"one label per image is needed, but the {name}'s batches carry no data samples: "
            "its pipeline must end in PackInputs"
        )
    return torch.cat(labels).to("cpu", torch.int64)


def targets_of(
    data_samples: Sequence[Any], name: str, first: int, num_classes: int
) -> torch.Tensor:
    """Every class of each data sample, (B, C) int64 on the CPU: 1 there, 0 not, -1 difficult.

    A class that an image shows both plainly and as difficult is there.

    Raises:
        ValueError: a sample without ``gt_label``; names the image.
    """
    targets = torch.zeros(len(data_samples), num_classes, dtype=torch.int64)
    for number, sample in enumerate(data_samples):
        label = getattr(sample, "gt_label", None)
        if label is None:
            where = getattr(sample, "img_path", f"image {first + number}")
            raise ValueError(f"labels are needed, but in the {name} {where} has no gt_label")
        targets[number, list(getattr(sample, "gt_label_difficult", None) or ())] = -1
        targets[number, label.to("cpu", torch.int64)] = 1
    return targets


def _single_view(inputs: Any) -> Any:
    """Inputs as one (B, C, H, W) where the images have one size; refuses several views."""
    if isinstance(inputs, (list, tuple)):
        if len(inputs) and inputs[0].ndim == 4:
            raise ValueError(
                f"an evaluation takes one view per image, but this pipeline makes {len(inputs)}: "
                "use a plain one (resize, centre crop, PackInputs) for the bank and the queries"
            )
        if len({image.shape for image in inputs}) == 1:
            return torch.stack(list(inputs))
    return inputs
