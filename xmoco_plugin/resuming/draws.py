# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Seeds that depend on a place in the run, and on nothing that was drawn before."""

import random

import numpy as np
import torch

MASK = 2**64 - 1
STEP = 1  # sets the seeds of steps apart from those of images


def mix(*numbers: int) -> int:
    """A number in [0, 2^64) from whole numbers, as good as random and the same everywhere.

    The finalizer is splitmix64's, once a number (Steele et al., OOPSLA 2014).
    """
    x = 0
    for number in numbers:
        x = ((x ^ (number & MASK)) + 0x9E3779B97F4A7C15) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        x ^= x >> 31
    return x


def step_seed(seed: int, iteration: int, rank: int) -> int:
    """The seed of all that the model draws in one step of one process."""
    return mix(seed, STEP, iteration, rank)


def seed_generators(seed: int) -> None:
    """Seed the generators that transforms and models draw from: Python's, numpy's and torch's.

    In 8 us. torch's generator of a CUDA device follows where it exists.

    Args:
        seed: in [0, 2^64).
    """
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)  # more than 32 bits take numpy ten times as long
    # torch.manual_seed keeps a traceback for each call until a GPU is used, which may be never.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
