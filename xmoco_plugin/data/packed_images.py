# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
from mmpretrain.registry import DATASETS

from .pack import Pack, PackError
from .row_dataset import RowDataset


@DATASETS.register_module()
class PackedImages(RowDataset):
    """Images of a pack that ``xmoco pack`` wrote: one file, memory-mapped.

    Neither the process nor its workers hold a list of the images: what they look at are pages of
    the files, shared by all. Encoded images come as ``img_bytes`` for ``LoadImageOrSkip``, which
    skips bad ones; raw ones as ``img``, (H, W, 3) BGR, which it passes on. Both carry ``img_path``,
    the path below the source folder, and ``gt_label`` where there are labels.

    Args:
        data_root (str): Folder of the pack.
        verify (bool): Compare each image's checksum when it is read; a wrong one is an unreadable
            image. Costs about 0.1 ms for 100 kB. Defaults to False: ``xmoco pack
            inspect --verify`` does it once for all.
        kwargs: Of mmpretrain's BaseDataset (``pipeline``, ``classes``, ``indices``, ...).

    Raises:
        PackError: No pack there, or not a whole one.
    """

    def __init__(self, data_root: str, verify: bool = False, **kwargs) -> None:
        self.pack = Pack(data_root)
        self.verify = verify
        super().__init__(ann_file="", data_root=data_root, serialize_data=False, **kwargs)

    def load_data_list(self) -> np.ndarray:
        """The rows of the pack: all that is held of it."""
        classes = self.pack.facts["classes"]
        names = self._metainfo.setdefault("classes", tuple(classes)) if classes else ()
        if classes and len(names) < len(classes):
            raise PackError(f"{len(names)} classes are named, the pack has {len(classes)}")
        return np.arange(len(self.pack))

    def get_data_info(self, idx: int) -> dict:
        """What is known of an image without its pixels."""
        self.full_init()
        row = int(self.data_list[idx])
        info = dict(img_path=self.pack.name(row), sample_idx=int(idx) % len(self.data_list))
        label = int(self.pack.records["label"][row])
        return info if label < 0 else {**info, "gt_label": label}

    def prepare_data(self, idx: int) -> dict | None:
        """The image through the pipeline."""
        info, row = self.get_data_info(idx), int(self.data_list[idx])
        if self.verify and not self.pack.is_whole(row):
            info["unreadable"] = f"its bytes in {self.pack.path} do not have their checksum"
        elif self.pack.raw:
            info["img"] = self.pack.pixels(row)
            info["img_shape"] = info["ori_shape"] = info["img"].shape[:2]
        else:
            info["img_bytes"] = self.pack.content(row)
        return self.pipeline(info)

    def get_gt_labels(self) -> np.ndarray:
        """All labels; -1 where there are none."""
        self.full_init()
        return np.array(self.pack.records["label"][self.data_list], dtype=np.int64)

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label of an image, in a list as the host wants it."""
        return [int(self.get_data_info(idx)["gt_label"])]

    def extra_repr(self) -> list[str]:
        """Lines of ``repr``."""
        return [f"Pack: \t{self.pack.path} ({self.pack.facts['kind']})"]
