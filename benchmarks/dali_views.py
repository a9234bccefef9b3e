# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""MoCo v2's two views by DALI, as near as its operators come.

Its jitter has one order and turns the hue in YIQ, not in HSV; crop and blur are as the others'.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from nvidia.dali import fn, pipeline_def, types


def two_views(batch: int, threads: int, device: str) -> Callable[[Sequence[Path]], list]:
    """A function that makes both views of so many files, `batch` at a time, and nothing ahead.

    On ``"cuda"`` it decodes and computes there; the views stay on the device.
    """
    on_gpu = device == "cuda"
    pipeline = _views(
        batch_size=batch,
        num_threads=threads,
        device_id=0 if on_gpu else None,
        # One batch a call and none in advance: the work of a call is that of its files.
        exec_async=False,
        exec_pipelined=False,
        prefetch_queue_depth=1,
        decoder="mixed" if on_gpu else "cpu",
    )
    pipeline.build()

    def run(files: Sequence[Path]) -> list:
        made = []
        for i in range(0, len(files), batch):
            pipeline.feed_input("files", [np.fromfile(f, np.uint8) for f in files[i : i + batch]])
            made.append(pipeline.run())
        return made

    return run


@pipeline_def(enable_conditionals=True)
def _views(decoder: str):
    files = fn.external_source(name="files", dtype=types.UINT8, ndim=1)
    images = fn.decoders.image(files, device=decoder, output_type=types.RGB)
    return _view(images), _view(images)


def _view(images):
    view = fn.random_resized_crop(images, size=(224, 224), random_area=(0.2, 1.0), antialias=True)
    if _chance(0.8):
        view = fn.color_twist(
            view,
            brightness=fn.random.uniform(range=(0.6, 1.4)),
            contrast=fn.random.uniform(range=(0.6, 1.4)),
            saturation=fn.random.uniform(range=(0.6, 1.4)),
            hue=fn.random.uniform(range=(-36.0, 36.0)),  # degrees: a tenth of the circle
        )
    if _chance(0.2):
        view = fn.saturation(view, saturation=0.0)
    if _chance(0.5):
        view = fn.gaussian_blur(view, window_size=23, sigma=fn.random.uniform(range=(0.1, 2.0)))
    if _chance(0.5):
        view = fn.flip(view)
    return view


def _chance(probability: float):
    return fn.random.coin_flip(probability=probability, dtype=types.BOOL)
