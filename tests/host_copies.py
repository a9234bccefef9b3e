# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Finds, without a GPU, what would make the host wait for one: values copied to the device."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

# Make a tensor of the device out of values of the host, and wait until it is there.
MAKERS = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)
# Copy, and wait unless they are asked not to: then the package has pinned what is copied.
COPIES = (torch.Tensor.to, torch.Tensor.copy_, torch.Tensor.cuda)
INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)


class HostCopies(TorchFunctionMode):
    """Notes calls that bring values of the host to 'meta', which stands in for the device.

    What would read a value back fails there by itself.

    Attributes:
        found: names of the calls.
    """

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        on_device = isinstance(out, torch.Tensor) and out.is_meta
        from_host = any(x.is_cpu for x in given)
        if (
            (func in MAKERS and on_device)
            or (func in COPIES and on_device and from_host and not kwargs.get("non_blocking"))
            or (func in INDEXING and args[0].is_meta and from_host)
        ):
            self.found.append(func.__name__)
        return out
