# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
from mmpretrain.registry import DATASETS

from .decode_image import UnreadableImageError
from .row_dataset import RowDataset
from .shards import DamagedShardError, ShardSet


@DATASETS.register_module()
class ShardedImages(RowDataset):
    """Images of a set that ``xmoco pack shards`` wrote, in a folder or a bucket, without labels.

    They come as ``img_bytes`` for ``LoadImageOrSkip``. With ``ShardSampler`` a process reads few
    shards at a time; with another sampler any image may be of any shard, which only a set that
    lies on this machine, or fits into the cache, stands. Images of a shard that does not have its
    checksum count as unreadable and are named.

    Args:
        data_root (str): A folder, or ``s3://bucket/set`` (gs, az, hf). Credentials come from the
            environment alone.
        cache (str, optional): Folder for shards of a bucket. Defaults to None: the environment's
            ``XMOCO_SHARDS``, else ``~/.cache/xmoco_plugin/shards``.
        cache_gb (float, optional): That they may take there. Defaults to None: the environment's
            ``XMOCO_SHARDS_GB``, else half of what the disk has free.
        digest (str, optional): Of the set's index; another set is refused. Defaults to None.
        kwargs: Of mmpretrain's BaseDataset (``pipeline``, ``indices``, ...).

    Raises:
        ShardError: No set there, not a whole one, or another.
    """

    begins_with_sample = True  # in the order of a hash; so pictures need its first shard alone
    fails_with = UnreadableImageError  # not all images were looked at before

    def __init__(
        self,
        data_root: str,
        cache: str | None = None,
        cache_gb: float | None = None,
        digest: str | None = None,
        **kwargs,
    ) -> None:
        self.shards = ShardSet(data_root, cache, cache_gb, digest)
        # Without a root: the host would look for a backend of its own for a bucket.
        super().__init__(ann_file="", data_root="", serialize_data=False, **kwargs)
        self.data_root, self.digest = data_root, self.shards.index.digest

    def load_data_list(self) -> np.ndarray:
        """The numbers of the images: all that is held of them."""
        return np.arange(len(self.shards))

    def prepare_data(self, idx: int) -> dict | None:
        """The image through the pipeline."""
        return self.pipeline(self._info(idx, content=True))

    def get_data_info(self, idx: int) -> dict:
        """The name of an image; its shard is fetched for it."""
        return self._info(idx, content=False)

    def _info(self, idx: int, content: bool) -> dict:
        self.full_init()
        image = int(self.data_list[idx])
        info = dict(sample_idx=int(idx) % len(self.data_list))
        try:
            name, file = self.shards.read(image)
        except DamagedShardError as error:
            shard = self.shards.index.shards[self.shards.place(image)[0]].name
            return info | dict(img_path=f"{shard}, image {image}", unreadable=str(error))
        return info | dict(img_path=name) | (dict(img_bytes=file) if content else {})

    def extra_repr(self) -> list[str]:
        """Lines of ``repr``."""
        return [f"Shards: \t{len(self.shards.lengths)} in {self.shards.store.url}"]
