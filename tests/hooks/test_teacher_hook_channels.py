# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A config of one's own with images of many channels: what its teacher sees."""

import pytest
import torch
from torch import nn

from tests import models, tiny_runner
from xmoco_plugin.hooks import teacher_hook
from xmoco_plugin.teachers import Belongs, FrozenTeacher, read_lesson
from xmoco_plugin.teachers.lesson import FEATURES, FILE, Lesson
from xmoco_plugin.views import ChannelsDataPreprocessor

pytest.importorskip("tifffile")
from ..data.tiffs import noise, write

MEAN, STD = [110.0, 120.0, 130.0, 140.0], [60.0, 62.0, 64.0, 66.0]
DIMS = 4


@pytest.mark.parametrize("own_crop", [False, True])
def test_a_config_trains_on_all_channels_beside_a_teacher_of_three(tmp_path, own_crop):
    models.save_checkpoint(tmp_path / "net.pth")
    for number in range(8):
        write(tmp_path / f"{number}.tif", noise(12, 14, 4, "uint16", number), photometric="rgb")
    paths = sorted(map(str, tmp_path.glob("*.tif")))
    (tmp_path / "files.txt").write_text("".join(f"{path}\n" for path in paths))
    hook = dict(type="TeacherHook", teacher=str(tmp_path / "net.pth"), teacher_size=8)
    hook |= dict(channels=(3, 2, 1)) | (dict(features=None) if own_crop else {})
    read = dict(type="LoadChannelsOrSkip", channels=4, value_range=[0, 255], fill=MEAN)
    view = dict(recipe="mocov2", size=16, saturation=0.0, hue=0.0, grey_prob=0.0)
    pack = dict(type="PackInputs", meta_keys=("sample_idx",))
    loader = tiny_runner.loader()
    loader["dataset"] = dict(
        type="ListedImages",
        ann_file=str(tmp_path / "files.txt"),
        pipeline=[read, dict(type="OneChannelView", views=view), pack],
    )
    net = dict(type="ResNet", depth=18, in_channels=4, base_channels=8, stem_channels=8)
    neck = dict(type="MoCoV2Neck", in_channels=64, hid_channels=8, out_channels=DIMS)
    model = dict(
        type="TeacherContrast",
        backbone=net,
        neck=neck | dict(with_avg_pool=True),
        head=dict(type="TeacherHead"),
        feat_dim=DIMS,
        num_keys=4,
        own_crop=own_crop,
        data_preprocessor=dict(type="ChannelsDataPreprocessor", mean=MEAN, std=STD),
    )
    folder = tmp_path / "run"
    cfg = tiny_runner.config(folder, [hook], model=model, train_dataloader=loader)
    cfg.train_cfg.max_epochs = 1
    tiny_runner.QuietRunner.from_cfg(cfg).train()
    assert (folder / "epoch_1.pth").is_file()
    assert (folder / FEATURES).is_file() is not own_crop
    lesson = read_lesson(folder / FILE)
    assert (lesson.belongs.channels, lesson.belongs.images) == ("3,2,1", 8)
    assert (lesson.network is not None) is own_crop


class Seen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        self.given = x
        return (self.conv(x),)


@pytest.mark.parametrize(("named", "expected"), [("4,1,2", (3, 0, 1)), ("2", (1, 1, 1))])
def test_each_crop_is_shown_by_the_channels_that_the_file_names(named, expected):
    network = FrozenTeacher(Seen(), 8, mean=(0.0,), std=(1.0,))
    belongs = Belongs(8, 4, "teacher", "net", 8, "data", named)
    lesson = Lesson(lambda features: features, belongs, network)
    preprocessor = ChannelsDataPreprocessor(mean=MEAN, std=STD)
    pixels = torch.rand(2, 4, 8, 8) * 255
    views = (pixels - preprocessor.mean) / preprocessor.std
    ask = teacher_hook._asking(lesson, preprocessor, torch.device("cpu"), FILE)
    assert ask(views).shape == (2, 4)
    torch.testing.assert_close(network.backbone.given, pixels[:, list(expected)])


def test_channels_without_a_teacher_to_see_them_are_refused():
    with pytest.raises(ValueError, match=r"channels=\(3, 2, 1\)\) names no teacher"):
        teacher_hook.TeacherHook(channels=(3, 2, 1))
