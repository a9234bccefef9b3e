# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The one table of backbones that mmpretrain, torchvision and timm build alike, by their names."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

LIBRARIES = ("mmpretrain", "torchvision", "timm")
# ResNets have these names everywhere: depth, whether blocks are bottlenecks, blocks a stage.
RESNETS: dict[str, tuple[int, bool, tuple[int, ...]]] = {
    "resnet18": (18, False, (2, 2, 2, 2)),
    "resnet34": (34, False, (3, 4, 6, 3)),
    "resnet50": (50, True, (3, 4, 6, 3)),
    "resnet101": (101, True, (3, 4, 23, 3)),
    "resnet152": (152, True, (3, 8, 36, 3)),
}


class Family(NamedTuple):
    """Backbones of one class of mmpretrain.

    Attributes:
        kind: The class.
        setting: Its parameter that tells them apart.
        members: (value of the parameter, name in torchvision, name in timm) of each.
        marks: A key that the first block has, in the names of each of :data:`LIBRARIES`.
        alike: Libraries in which the same weights give the same features, to 1e-5 of their scale.
            In the others the padding or a norm's eps differs: their weights are a start, and ours
            are not written for them.
        fixed: Further settings of the class.
    """

    kind: str
    setting: str
    members: tuple[tuple[Any, str | None, str | None], ...]
    marks: tuple[str, str | None, str | None]
    alike: tuple[str, ...] = LIBRARIES
    fixed: tuple[tuple[str, Any], ...] = ()


def _sizes(torchvision: str | None, timm: str | None, *values: Any) -> tuple:
    return tuple(
        (v, torchvision and torchvision.format(v), timm and timm.format(v)) for v in values
    )


FAMILIES = (
    Family(
        "ConvNeXt",
        "arch",
        (
            *_sizes("convnext_{}", "convnext_{}", "tiny", "small", "base", "large"),
            *_sizes(None, "convnext_{}", "atto", "femto", "pico", "nano", "xlarge"),
        ),
        (
            "stages.0.0.depthwise_conv.weight",
            "features.1.0.block.0.weight",
            "stages.0.blocks.0.conv_dw.weight",
        ),
    ),
    Family(
        "MobileNetV2",
        "widen_factor",
        ((1.0, "mobilenet_v2", "mobilenetv2_100"), (1.4, None, "mobilenetv2_140")),
        (
            "layer1.0.conv.0.conv.weight",
            "features.1.conv.0.0.weight",
            "blocks.0.0.conv_dw.weight",
        ),
    ),
    Family(
        "MobileNetV3",
        "arch",
        _sizes("mobilenet_v3_{}", "mobilenetv3_{}_100", "large", "small"),
        (
            "layer1.depthwise_conv.conv.weight",
            "features.1.block.0.0.weight",
            "blocks.0.0.conv_dw.weight",
        ),
        alike=("mmpretrain", "torchvision"),
    ),
    Family(
        "EfficientNet",
        "arch",
        _sizes("efficientnet_{}", "tf_efficientnet_{}", *(f"b{i}" for i in range(8))),
        (
            "layers.1.0.depthwise_conv.conv.weight",
            "features.1.0.block.0.0.weight",
            "blocks.0.0.conv_dw.weight",
        ),
        alike=("mmpretrain", "timm"),
    ),
    Family(
        "EfficientNetV2",
        "arch",
        _sizes("efficientnet_v2_{}", "tf_efficientnetv2_{}", "s", "m", "l"),
        ("layers.1.0.conv.weight", "features.1.0.block.0.0.weight", "blocks.0.0.conv.weight"),
        alike=("mmpretrain", "timm"),
    ),
    Family(
        "RegNet",
        "arch",
        tuple(
            (f"regnetx_{ours}", tv and f"regnet_x_{tv}", f"regnetx_{timm}")
            for ours, tv, timm in (
                ("400mf", None, "004"),  # torchvision's last stage is wider
                ("800mf", "800mf", "008"),
                ("1.6gf", "1_6gf", "016"),
                ("3.2gf", "3_2gf", "032"),
                ("4.0gf", None, "040"),
                ("6.4gf", None, "064"),
                ("8.0gf", "8gf", "080"),
                ("12gf", None, "120"),
            )
        ),
        (
            "layer1.0.conv1.weight",
            "trunk_output.block1.block1-0.f.a.0.weight",
            "s1.b1.conv1.conv.weight",
        ),
    ),
    Family(
        "ResNeXt",
        "depth",
        ((50, "resnext50_32x4d", "resnext50_32x4d"), (101, None, "resnext101_32x4d")),
        ("layer1.0.conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv1.weight"),
    ),
    Family(
        "DenseNet",
        "arch",
        _sizes("densenet{}", "densenet{}", "121", "169", "201", "161"),
        (
            "stages.0.block.0.conv1.weight",
            "features.denseblock1.denselayer1.conv1.weight",
            "features.denseblock1.denselayer1.conv1.weight",
        ),
    ),
    Family(
        "VGG",
        "depth",
        _sizes("vgg{}", "vgg{}", 11, 13, 16, 19),
        ("features.0.conv.weight", "features.0.weight", "features.0.weight"),
    ),
    Family(
        "VGG",
        "depth",
        _sizes("vgg{}_bn", "vgg{}_bn", 11, 13, 16, 19),
        ("features.0.bn.weight", "features.1.running_mean", "features.1.running_mean"),
        fixed=(("norm_cfg", {"type": "BN"}),),
    ),
    Family(
        "AlexNet",
        "num_classes",
        ((-1, "alexnet", None),),
        ("features.10.weight", "features.10.weight", None),
    ),
    Family(
        "ShuffleNetV2",
        "widen_factor",
        (
            (0.5, "shufflenet_v2_x0_5", None),
            (1.0, "shufflenet_v2_x1_0", None),
            (1.5, "shufflenet_v2_x1_5", None),
            (2.0, "shufflenet_v2_x2_0", None),
        ),
        ("layers.0.0.branch1.0.conv.weight", "stage2.0.branch1.0.weight", None),
    ),
    Family(
        "SwinTransformer",
        "arch",
        (
            ("tiny", "swin_t", "swin_tiny_patch4_window7_224"),
            ("small", "swin_s", "swin_small_patch4_window7_224"),
            ("base", "swin_b", "swin_base_patch4_window7_224"),
            ("large", None, "swin_large_patch4_window7_224"),
        ),
        (
            "stages.0.blocks.0.attn.w_msa.qkv.weight",
            "features.1.0.attn.qkv.weight",
            "layers.0.blocks.0.attn.qkv.weight",
        ),
    ),
    Family(
        "SEResNet",
        "depth",
        ((50, None, "seresnet50"), (101, None, "seresnet101"), (152, None, "seresnet152")),
        ("layer1.0.se_layer.conv1.conv.weight", None, "layer1.0.se.fc1.weight"),
    ),
    Family(
        "CSPDarkNet",
        "depth",
        ((53, None, "cspdarknet53"),),
        ("stages.0.downsample_conv.conv.weight", None, "stages.0.conv_down.conv.weight"),
    ),
    Family(
        "RepVGG",
        "arch",
        tuple((a, None, f"repvgg_{a.lower()}") for a in ("A0", "A1", "A2", "B0", "B1", "B2", "B3")),
        ("stage_1.0.branch_3x3.conv.weight", None, "stages.0.0.conv_kxk.conv.weight"),
    ),
)


class Member(NamedTuple):
    """One backbone of a family.

    Attributes:
        family: Of :data:`FAMILIES`.
        value: Of the family's setting.
        names: In torchvision and timm; None where there is none.
    """

    family: Family
    value: Any
    names: tuple[str | None, ...]

    @property
    def config(self) -> dict[str, Any]:
        """Its config in mmpretrain."""
        family = self.family
        return {"type": family.kind, family.setting: self.value, **dict(family.fixed)}

    def name_in(self, library: str) -> str | None:
        """How a library calls it; None where it has none."""
        if library == "mmpretrain":
            return f"{self.family.kind}:{self.value}"
        return self.names[LIBRARIES.index(library) - 1]


def members(state: Mapping[str, Any]) -> Iterator[tuple[Member, str]]:
    """Yields what a state may be, by the mark of its family, and in which library's names."""
    for family in FAMILIES:
        for library, mark in zip(LIBRARIES, family.marks, strict=True):
            if mark in state:
                for member in of_family(family):
                    if member.name_in(library):
                        yield member, library


def of_family(family: Family) -> list[Member]:
    """Its backbones."""
    return [Member(family, value, tuple(names)) for value, *names in family.members]


def marks() -> list[str]:
    """A key of each family in each library, by which its backbone is found in a file."""
    found = (mark for family in FAMILIES for mark in family.marks if mark)
    return list(dict.fromkeys(found))
