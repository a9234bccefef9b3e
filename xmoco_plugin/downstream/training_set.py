# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import ConfigDict

from ..untrusted import FileRefusedError, in_other_case, read_text
from . import coco_annotations as coco
from . import mask_folder as masks
from .errors import DownstreamError
from .mask_survey import read_labels
from .settings import host_classes, host_dataset


@dataclass(frozen=True)
class TrainingSet:
    """The labelled images that a fine-tuning config trains on, and how a part of them is written.

    Attributes:
        names: Of the images, as the annotation file or the list of mmseg names them.
        classes: That are learnt; empty if the config leaves them to the host's dataset.
        held: For each image, those of the classes that it shows, with how often: in boxes that have
            an area and are no crowd, or once if its mask has the value.
        content: Of the annotation file; None for masks.
    """

    names: list[str]
    classes: list[str]
    held: list[Counter[str]]
    content: dict | None = None

    @classmethod
    def read(cls, data: ConfigDict) -> "TrainingSet":
        """Reads what a dataset's config names; nothing is written.

        Args:
            data: As :func:`prepare` leaves it: of mmdet with an annotation file in COCO format, or
                of mmseg with a folder of masks.

        Raises:
            DownstreamError: It is neither, or a file cannot be used.
        """
        root, prefix = Path(data.get("data_root") or ""), data.get("data_prefix") or {}
        classes = [str(name) for name in (data.get("metainfo") or {}).get("classes") or ()]
        listed = root / data.ann_file if data.get("ann_file") else None
        if listed is not None and listed.suffix == ".json":
            return cls._of_boxes(listed, classes)
        if "seg_map_path" not in prefix:
            raise DownstreamError(
                f"{data.type} reads {listed}: a share can be taken of an annotation file in COCO "
                "format (.json), or of a folder of masks in mmseg's layout."
            )
        images, folder = (root / (prefix.get(key) or "") for key in ("img_path", "seg_map_path"))
        kind = host_dataset(data, "mmseg")
        layout = masks.layout_of(data, kind)
        suffixes = layout["img_suffix"], layout["seg_map_suffix"]
        if listed is not None:
            try:
                lines = read_text(listed).splitlines()
            except FileRefusedError as error:
                raise DownstreamError(f"the list {listed} cannot be read: {error}") from error
            names = [line.strip() for line in lines if line.strip()]
        else:
            found = masks.pairs(images, folder, *suffixes)
            names = [pair.name for pair in found]
        numbers = host_classes(kind, data.metainfo)[1] if kind and classes else None
        known = dict(enumerate(classes))
        held = []
        for name in names if classes else ():
            mask, reduce_zero = folder / (name + suffixes[1]), bool(layout["reduce_zero_label"])
            labels = read_labels([in_other_case(mask) or mask], reduce_zero, numbers).pixels
            held.append(Counter(known[label] for label in labels if label in known))
        return cls(names, classes, held or [Counter() for _ in names])

    @classmethod
    def _of_boxes(cls, path: Path, classes: list[str]) -> "TrainingSet":
        annotations = coco.read_coco(path)
        content = annotations.content
        classes = classes or annotations.classes
        learnt = {c["id"]: c["name"] for c in content["categories"] if c["name"] in classes}
        held: dict = {image["id"]: Counter() for image in annotations.images}
        for box in annotations.boxes:
            if box["image_id"] in held and box["category_id"] in learnt and not box.get("iscrowd"):
                held[box["image_id"]][learnt[box["category_id"]]] += 1
        names = [coco.file_name(image) for image in annotations.images]
        return cls(names, classes, [held[image["id"]] for image in annotations.images], content)

    @property
    def suffix(self) -> str:
        """Of the file that names a part: '.json' in COCO format, '.txt' with one name a line."""
        return ".txt" if self.content is None else ".json"

    def counts(self, rows: Sequence[int]) -> Counter[str]:
        """Returns how often the images of these rows show each class; 0 where they do not."""
        total = Counter(dict.fromkeys(self.classes, 0))
        for row in rows:
            total.update(self.held[row])
        return total

    def part(self, rows: Sequence[int]) -> str:
        """Returns the text of a file for the images of these rows.

        In COCO format with the annotations of exactly these images and every category, so that the
        number of a class is the same for every part.
        """
        if self.content is None:
            return "".join(f"{self.names[row]}\n" for row in rows)
        images = [self.content["images"][row] for row in rows]
        chosen = {image["id"] for image in images}
        boxes = [a for a in self.content["annotations"] if a["image_id"] in chosen]
        return json.dumps({**self.content, "images": images, "annotations": boxes})
