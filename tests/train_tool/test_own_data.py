# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A config of the user's own, whose data are not what it takes them for: said, or trained on."""

import shutil

import pytest

from xmoco_plugin.data.unlabeled_folder import tolerant

from ..tool_modules import import_tool, run_tool
from ..tools_config import CONFIG, IMAGES, draw

UNLABELED = CONFIG.replace("type='CustomDataset'", "type='UnlabeledFolder'").replace(
    " with_label=False,", ""
)
IMAGENET = CONFIG.replace("type='CustomDataset'", "type='ImageNet', split='train'").replace(
    " with_label=False,", ""
)


def run(tool: str, monkeypatch, capsys, tmp_path, *words) -> tuple[int, str]:
    """Exit status, and all that was said."""
    words = (tmp_path / "tiny.py", "--data-root", tmp_path / "images", *words)
    status = run_tool(import_tool(tool), monkeypatch, *words)
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.parametrize("text", [CONFIG, UNLABELED])
def test_too_few_images_for_one_batch_are_an_error_in_any_config(
    tmp_path, monkeypatch, capsys, text
):
    draw(tmp_path).write_text(text)
    for number in range(3, IMAGES):
        (tmp_path / "images" / f"{number:02d}.png").unlink()
    status, said = run("train", monkeypatch, capsys, tmp_path, "--work-dir", tmp_path / "work")
    assert status == 2
    assert "3 images do not fill one batch of 4" in said
    assert "an epoch has 0 iterations" in said
    assert not list((tmp_path / "work").glob("*.pth"))


def test_a_text_named_jpg_ends_no_training_by_a_hosts_pipeline_and_is_named(
    tmp_path, monkeypatch, capsys
):
    draw(tmp_path).write_text(UNLABELED)
    (tmp_path / "images/notes.jpg").write_text("no image")
    options = ["--cfg-options", "train_dataloader.batch_size=5", "train_cfg.max_epochs=1"]
    work = ["--work-dir", tmp_path / "work"]
    status, said = run("train", monkeypatch, capsys, tmp_path, *work, *options)
    assert status == 0, said
    assert said.count("skipped an unreadable image") == 1
    assert "notes.jpg: not an image: the file is text" in said
    assert (tmp_path / "work/epoch_1.pth").is_file()
    assert "the latest checkpoint None" not in "".join(
        log.read_text() for log in (tmp_path / "work").glob("*/*.log")
    )


def test_in_a_test_no_image_is_replaced_and_other_readers_stay_as_they_are():
    plain = [dict(type="CheckImageFile", max_pixels=9), dict(type="LoadImageFromFile")]
    packed = dict(type="PackInputs", meta_keys=("img_path",))
    assert tolerant([*plain, packed]) == [
        dict(type="LoadImageOrSkip", on_error="skip", max_pixels=9),
        dict(type="PackInputs", meta_keys=("img_path", "skipped")),
    ]
    assert tolerant(plain, test_mode=True)[0]["on_error"] == "raise"
    special = [dict(type="LoadImageFromFile", color_type="grayscale")]
    assert tolerant(special) == special


@pytest.mark.parametrize("tool", ["train", "browse_views"])
def test_imagenet_of_four_classes_is_one_sentence_with_the_way_out(
    tmp_path, monkeypatch, capsys, tool
):
    draw(tmp_path).write_text(IMAGENET)
    for name in "abcd":
        (tmp_path / "images/train" / name).mkdir(parents=True)
        shutil.copy(tmp_path / "images/00.png", tmp_path / "images/train" / name)
    extra = ["--out", tmp_path / "v"] if tool == "browse_views" else ["--work-dir", tmp_path / "w"]
    status, said = run(tool, monkeypatch, capsys, tmp_path, *extra)
    assert status == 2
    assert "train holds 4 folders of classes, and 1,000 are expected." in said
    assert "type='UnlabeledFolder'" in said
    assert "Traceback" not in said


def test_a_hidden_folder_is_no_class_of_a_hosts_dataset_either(tmp_path, monkeypatch, capsys):
    draw(tmp_path).write_text(CONFIG.replace("with_label=False", "with_label=True"))
    (tmp_path / "images/.ipynb_checkpoints").mkdir()
    status, said = run("train", monkeypatch, capsys, tmp_path, "--work-dir", tmp_path / "work")
    assert status == 2
    assert "holds .ipynb_checkpoints, which the host takes for a class" in said


def test_what_a_hosts_dataset_passes_over_is_counted(tmp_path, monkeypatch, capsys):
    draw(tmp_path)
    (tmp_path / "images/00.png").rename(tmp_path / "images/00.webp")
    options = ["--cfg-options", "train_cfg.max_epochs=1", "train_dataloader.batch_size=24"]
    status, said = run("train", monkeypatch, capsys, tmp_path, *options)
    assert status == 2
    assert "CustomDataset passes over 1 of 24 images in" in said
    assert ".webp 1" in said
