# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images a second of each way from JPEG files to two MoCo v2 views of 224 px; decoding alone too.

Every row does the same images, from files that the system holds in memory, in turns. Peers that are
not installed are left out: pip install --no-deps lightly lightly-utils aenum kornia kornia-rs
simplejpeg torchcodec, and pip install nvidia-dali-cuda120, which also runs where there is no GPU.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import measure
import mmpretrain
import numpy as np
import torch
from measure import installed
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from PIL import Image
from torchvision import io
from torchvision.transforms import v2

import xmoco_plugin
from xmoco_plugin.data import decode_image
from xmoco_plugin.views import ragged_collate

assert xmoco_plugin  # registers our transforms
HOST = Path(mmpretrain.__file__).parent / ".mim/configs/_base_/datasets/imagenet_bs32_mocov2.py"
BATCH = 16
SQUASHED = (341, 256)  # kornia takes stacks of one size
Way = Callable[[list[Path]], object]


def in_batches(function: Way) -> Way:
    """The function on runs of so many images, as a loader hands them over."""
    return lambda files: [function(files[i : i + BATCH]) for i in range(0, len(files), BATCH)]


def reading(decode: Callable[[bytes], object]) -> Way:
    """Files through a decoder."""
    return lambda files: [decode(f.read_bytes()) for f in files]


def pipeline(*steps: dict, collate: Callable = default_collate) -> Way:
    """Images through transforms of the host's registry, and collated."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        transforms = Compose(list(steps))
    return in_batches(lambda files: collate([transforms(dict(img_path=str(f))) for f in files]))


def decoders() -> dict[str, Way]:
    """Files to 8-bit pixels."""
    codecs: dict[str, Callable[[bytes], object]] = {
        "OpenCV": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR),
        "Pillow": lambda data: decode_image(data),
        "torchvision.io": lambda data: io.decode_jpeg(_tensor(data), mode=io.ImageReadMode.RGB),
    }
    if installed("simplejpeg"):
        import simplejpeg

        codecs["simplejpeg"] = lambda data: simplejpeg.decode_jpeg(data, "BGR")
    if installed("torchcodec"):
        from torchcodec.decoders import decode_jpeg

        codecs["torchcodec"] = lambda data: decode_jpeg(_tensor(data))
    ways = {f"decoding: {name}": reading(decode) for name, decode in codecs.items()}
    if torch.cuda.is_available():
        try:  # there are torchvisions without nvJPEG
            _nvjpeg([io.encode_jpeg(torch.zeros(3, 16, 16, dtype=torch.uint8))])
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            print(f"no nvJPEG, so no row for it, and below the CPU decodes in its place: {reason}")
        else:
            ways["decoding: nvJPEG, by batches"] = in_batches(
                lambda files: _nvjpeg([_tensor(f.read_bytes()) for f in files])
            )
    return ways


def peers(device: str) -> dict[str, Way]:
    """Two views by others."""
    ways = {"mmpretrain": pipeline(*Config.fromfile(HOST).train_pipeline)}
    jitter = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
    ones = v2.Compose(
        [
            v2.RandomResizedCrop(224, (0.2, 1.0), antialias=True),
            v2.RandomApply([jitter], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], 0.5),
            v2.RandomHorizontalFlip(),
        ]
    )
    ways["torchvision v2"] = in_batches(
        lambda files: default_collate([[ones(x), ones(x)] for x in map(_read_tensor, files)])
    )
    if installed("lightly"):
        from lightly.transforms import MoCoV2Transform

        lightly = MoCoV2Transform()
        ways["lightly"] = in_batches(
            lambda files: default_collate([lightly(Image.open(f).convert("RGB")) for f in files])
        )
    if installed("kornia"):
        views = kornia_views()

        def squashed(files: list[Path]) -> list[torch.Tensor]:
            images = [cv2.resize(decode_image(f.read_bytes()), SQUASHED) for f in files]
            stack = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
            return [views(stack), views(stack)]

        ways["kornia (squashed, not antialiased)"] = in_batches(squashed)
    if installed("nvidia.dali"):
        from dali_views import two_views

        ways[f"DALI, on {device}"] = two_views(BATCH, torch.get_num_threads(), device)
    return ways


def kornia_views() -> Callable[[torch.Tensor], torch.Tensor]:
    """A view of each image of a stack (n, 3, H, W) in [0, 1], on its device."""
    import kornia.augmentation as K

    return K.AugmentationSequential(
        K.RandomResizedCrop((224, 224), scale=(0.2, 1.0)),
        K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((23, 23), (0.1, 2.0), p=0.5),
        K.RandomHorizontalFlip(),
    )


def ours(device: str) -> dict[str, Way]:
    """Two views by this package; `worker` is what is left to the CPU when a device makes them."""
    load: dict = dict(type="LoadImageOrSkip")
    worker = pipeline(load, dict(type="PackRaggedInputs"), collate=ragged_collate)
    preprocessor = MODELS.build(
        dict(
            type="TwoViewDataPreprocessor",
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            to_rgb=True,
        )
    ).to(device)

    def with_views(worker: Way) -> Way:
        return lambda files: [
            preprocessor(batch, training=True)
            for batch in worker(files)  # type: ignore[attr-defined]
        ]

    ways = {
        "ours, TwoViews": pipeline(load, dict(type="TwoViews"), dict(type="PackInputs")),
        "ours, device views: worker": worker,
        f"ours, device views: all, on {device}": with_views(worker),
    }
    if device == "cuda":  # decoded there too, by nvJPEG
        load = dict(type="LoadImageOrSkip", defer_jpegs=True)
        worker = pipeline(load, dict(type="PackRaggedInputs"), collate=ragged_collate)
        ways["ours, decoding and views on the device: worker"] = worker
        ways["ours, decoding and views on the device: all"] = with_views(worker)
    return ways


def _nvjpeg(files: list[torch.Tensor]) -> list[torch.Tensor]:
    return io.decode_jpeg(files, mode=io.ImageReadMode.RGB, device="cuda")


def _tensor(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _read_tensor(file: Path) -> torch.Tensor:
    return io.decode_jpeg(_tensor(file.read_bytes()), mode=io.ImageReadMode.RGB)


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser)
    parser.add_argument("folder", type=Path, help="of JPEGs, in any depth")
    parser.add_argument("--images", type=int, default=64, help="of the folder, evenly spaced")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)  # the hosts' own
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    found = sorted(f for f in args.folder.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        parser.error(f"no .jpg or .jpeg in {args.folder}")
    files = found[:: max(len(found) // args.images, 1)][: args.images]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ways = {**decoders(), **peers(device), **ours(device)}
    seconds = measure.alternate(
        {name: partial(way, files) for name, way in ways.items()}, args.repeats, device
    )
    rows: list[dict] = []
    for name, taken in seconds.items():
        row = {"way": name, "images/s": len(files) / taken, "ms an image": 1e3 * taken / len(files)}
        row["times mmpretrain"], row["rounds"] = measure.ratio(seconds["mmpretrain"], taken)
        rows.append(row)
    sizes = [Image.open(f).size for f in files]
    facts = measure.environment(device)
    width, height = np.mean(sizes, axis=0)
    facts["images"] = f"{len(files)} of {width:.0f}x{height:.0f} on average"
    measure.report("From JPEG files to two views of 224 px", rows, facts, args)


if __name__ == "__main__":
    main()
