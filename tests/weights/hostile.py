# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Checkpoints that a stranger could send; where one runs code, a folder MARK appears beside it."""

import os
import zipfile
from pathlib import Path

import torch


class Code:
    """A pickle of it makes a folder where it is read without weights_only."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def honest() -> dict[str, torch.Tensor]:
    """The weights of a small backbone, with the buffers that are integers in honest ones."""
    generator = torch.Generator().manual_seed(0)
    return {
        "backbone.conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "backbone.bn.weight": torch.zeros(4),  # as zero_init_residual leaves it
        "backbone.bn.running_var": torch.ones(4),
        "backbone.bn.num_batches_tracked": torch.tensor(7),
        "backbone.attn.relative_position_index": torch.arange(4),
        "backbone.fc.weight": torch.randn(2, 4, generator=generator).half(),
        "queue": torch.randn(4, 6, generator=generator).bfloat16(),
        "queue_ptr": torch.zeros(1, dtype=torch.long),
        "head.fc.weight": torch.zeros(2, 4),  # a classifier that starts at nothing
    }


def with_code(folder: Path, name: str = "weights.pth", legacy: bool = False) -> tuple[Path, Path]:
    """A file with honest weights and code, and the mark that the code would leave."""
    mark = folder / "MARK"
    content = {"state_dict": honest(), "extra": Code(mark)}
    torch.save(content, folder / name, _use_new_zipfile_serialization=not legacy)
    return folder / name, mark


def rewritten(source: Path, target: Path, edit, compression: int = zipfile.ZIP_STORED) -> Path:
    """A copy of a file of torch's, whose pickle went through ``edit``."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, edit(content) if name.endswith("data.pkl") else content)
    return target
