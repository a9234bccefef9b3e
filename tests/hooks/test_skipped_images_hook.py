# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import logging
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.dataset import RepeatDataset
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from PIL import Image

from xmoco_plugin.cli.runners import end_workers
from xmoco_plugin.data import UnlabeledFolder
from xmoco_plugin.hooks import SkippedImagesHook

from .. import tiny_runner
from ..multiprocess import run_processes

META = ("sample_idx", "img_path", "skipped")


class Log(logging.Logger):
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("log", logging.INFO)
        self.lines: list[tuple[str, str]] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, record.getMessage()))

    def of(self, level: str) -> list[str]:
        return [message for name, message in self.lines if name == level]


class Loader:
    """As much of a data loader as the hook looks at."""

    def __init__(self, dataset, iterations: int) -> None:
        self.dataset = dataset
        self.iterations = iterations

    def __len__(self) -> int:
        return self.iterations


def fake_runner(images: int, iterations: int = 4, dataset=None):
    loader = Loader(range(images) if dataset is None else dataset, iterations)
    return SimpleNamespace(train_dataloader=loader, logger=Log())


def batch(*skipped: str, size: int = 3) -> dict:
    """A collated batch, one of whose samples reports these paths as skipped."""
    samples = [DataSample(metainfo=dict(img_path=f"{n}.jpg")) for n in range(size)]
    if skipped:
        report = [(path, "the file is empty (0 bytes)") for path in skipped]
        samples[1].set_field(report, "skipped", field_type="metainfo")
    return dict(inputs=None, data_samples=samples)


def feed(hook, runner, *batches) -> None:
    for index, each in enumerate(batches):
        hook.after_train_iter(runner, index, each)


def test_each_file_is_logged_once_with_its_reason():
    hook, runner = SkippedImagesHook(), fake_runner(1000)
    for _ in range(3):
        feed(hook, runner, batch("a.jpg"), batch(), batch("a.jpg", "b.jpg"), batch("b.jpg"))
    assert runner.logger.of("WARNING") == [
        "skipped an unreadable image: a.jpg: the file is empty (0 bytes)",
        "skipped an unreadable image: b.jpg: the file is empty (0 bytes)",
    ]


def test_a_files_name_breaks_no_line_and_moves_no_cursor():
    hook, runner = SkippedImagesHook(max_share=0, min_count=0), fake_runner(1000)
    with pytest.raises(ValueError, match=r"is a\\nb\\x1b\[2J\\xff\.jpg: the file is empty"):
        feed(hook, runner, batch("a\nb\x1b[2J\udcff.jpg"))
    assert runner.logger.of("WARNING") == [
        r"skipped an unreadable image: a\nb\x1b[2J\xff.jpg: the file is empty (0 bytes)"
    ]


def test_the_total_is_logged_after_a_pass_with_new_files_and_at_the_end():
    hook, runner = SkippedImagesHook(), fake_runner(1000)
    total = "unreadable images: {} of 1,000 ({})"
    feed(hook, runner, batch("a.jpg"), batch(), batch("b.jpg"), batch())
    assert runner.logger.of("INFO") == [total.format(2, "0.20%")]
    feed(hook, runner, batch("a.jpg"), batch(), batch(), batch())
    assert runner.logger.of("INFO") == [total.format(2, "0.20%")], "nothing new, nothing said"
    feed(hook, runner, batch("c.jpg"), batch())
    hook.after_train(runner)
    assert runner.logger.of("INFO") == [total.format(2, "0.20%"), total.format(3, "0.30%")]


def test_a_clean_run_says_so_once():
    hook, runner = SkippedImagesHook(), fake_runner(12)
    feed(hook, runner, *[batch()] * 8)
    hook.after_train(runner)
    assert runner.logger.lines == [("INFO", "unreadable images: 0 of 12 (0.00%)")]


def test_it_stops_above_the_share_and_not_at_it():
    hook, runner = SkippedImagesHook(max_share=0.05), fake_runner(100)
    feed(hook, runner, batch(*"abcde"), batch("a", "b"))
    with pytest.raises(
        ValueError,
        match=r"6 of 100 .*\(6\.00%\).*max_share=5\.00%.*last is f: the file is empty",
    ):
        feed(hook, runner, batch("f"))


def test_in_a_tiny_set_a_few_bad_files_are_let_pass():
    hook, runner = SkippedImagesHook(), fake_runner(20)
    feed(hook, runner, batch("a", "b", "c"))
    with pytest.raises(ValueError, match=r"4 of 20 .*\(20\.00%\)"):
        feed(hook, runner, batch("d"))
    with pytest.raises(ValueError, match=r"1 of 20 .*\(5\.00%\)"):
        feed(SkippedImagesHook(min_count=0), runner, batch("a"))


@pytest.mark.parametrize("content", [None, [], (), dict(inputs=1), dict(data_samples=None)])
def test_batches_of_another_form_are_let_pass(content):
    hook, runner = SkippedImagesHook(), fake_runner(20)
    hook.after_train_iter(runner, 0, content)
    assert hook.skipped == {}


@pytest.mark.parametrize(
    "arguments", [dict(max_share=1.5), dict(max_share=-0.1), dict(min_count=-1), dict(interval=0)]
)
def test_arguments_out_of_range_are_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=name):
        SkippedImagesHook(**arguments)


def folder_dataset(root, meta_keys=META, **loading) -> UnlabeledFolder:
    view = [dict(type="RandomResizedCrop", scale=8, backend="pillow")]
    pipeline = [
        dict(type="LoadImageOrSkip", **loading),
        dict(type="MultiView", num_views=2, transforms=[view]),
        dict(type="PackInputs", meta_keys=meta_keys),
    ]
    return UnlabeledFolder(str(root), pipeline=pipeline)


def write_images(root, good: int, bad: int = 0) -> None:
    rng = np.random.default_rng(0)
    for number in range(good):
        pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"good{number:02}.png")
    for number in range(bad):
        (root / f"bad{number:02}.jpg").write_bytes(b"not an image")


def test_a_pipeline_that_would_hide_skipped_files_is_refused(tmp_path):
    init_default_scope("mmpretrain")
    write_images(tmp_path, 1)
    hook = SkippedImagesHook()
    hidden = folder_dataset(tmp_path, meta_keys=("img_path",))
    for dataset in (hidden, RepeatDataset(hidden, 2)):
        with pytest.raises(ValueError, match=r"meta_keys=\('sample_idx', 'img_path', 'skipped'\)"):
            hook.before_train(fake_runner(1, dataset=dataset))
    hook.before_train(fake_runner(1, dataset=folder_dataset(tmp_path)))
    hook.before_train(fake_runner(1))


def folder_loader(root, workers: int) -> dict:
    loader = tiny_runner.loader()
    loader.update(num_workers=workers, persistent_workers=workers > 0)
    view = [dict(type="RandomResizedCrop", scale=8, backend="pillow")]
    loader["dataset"] = dict(
        type="UnlabeledFolder",
        data_root=str(root),
        pipeline=[
            dict(type="LoadImageOrSkip"),
            dict(type="MultiView", num_views=2, transforms=[view]),
            dict(type="PackInputs", meta_keys=META),
        ],
    )
    return loader


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_real_run_trains_on_the_readable_files_and_names_the_others(tmp_path, workers, by_epoch):
    images = tmp_path / "images"
    images.mkdir()
    write_images(images, good=10, bad=2)
    hook = SkippedImagesHook()
    loader = folder_loader(images, workers)
    length = dict(by_epoch=True, max_epochs=3)
    if not by_epoch:
        loader["sampler"] = dict(type="InfiniteSampler", shuffle=True)
        length = dict(by_epoch=False, max_iters=9)
    runner = tiny_runner.build(tmp_path, train_dataloader=loader, train_cfg=length)
    runner.register_hook(hook)
    runner.train()
    end_workers(runner)
    assert runner.iter == 9
    assert sorted(hook.skipped) == [str(images / f"bad0{n}.jpg") for n in range(2)]
    (log,) = tmp_path.glob("*/*.log")
    text = log.read_text()
    for n in range(2):
        assert text.count(f"bad0{n}.jpg: not an image: the file is text ('not an image' ...)") == 1
    assert "unreadable images: 2 of 12 (16.67%)" in text


def test_a_real_run_stops_above_the_share(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    write_images(images, good=12, bad=8)
    runner = tiny_runner.build(
        tmp_path, [dict(type="SkippedImagesHook")], train_dataloader=folder_loader(images, 0)
    )
    with pytest.raises(ValueError, match=r"\d of 20 training images could not be read so far"):
        runner.train()


def count_on_ranks(rank: int, size: int, limit: float) -> dict:
    """Each rank finds files of its own and one that all find; what the hook says and does."""
    hook, runner = SkippedImagesHook(max_share=limit, interval=2), fake_runner(100, iterations=5)
    raised_at, message = -1, ""
    for index in range(5):
        found = [f"{rank}.jpg", "shared.jpg"] if index == 0 else []
        if index == 3 and rank == 1:
            found = ["late.jpg"]
        try:
            hook.after_train_iter(runner, index, batch(*found))
        except ValueError as error:
            raised_at, message = index, str(error)
            break
    else:
        hook.after_train(runner)
    return dict(
        skipped=list(hook.skipped),
        warnings=len(runner.logger.of("WARNING")),
        totals=runner.logger.of("INFO"),
        raised_at=raised_at,
        message=message,
    )


def count_with_two_limits(rank: int, size: int) -> list[dict]:
    return [count_on_ranks(rank, size, limit) for limit in (0.1, 0.03)]


@pytest.mark.slow
def test_files_are_counted_over_all_processes_which_stop_at_the_same_iteration():
    for below, above in run_processes(count_with_two_limits, 2):
        assert below["skipped"] == ["0.jpg", "1.jpg", "shared.jpg", "late.jpg"]
        assert below["warnings"] == 4, "the file that both found is named once"
        assert below["totals"][-1] == "unreadable images: 4 of 100 (4.00%)"
        assert below["raised_at"] == -1
        assert above["raised_at"] == 3
        assert "4 of 100" in above["message"]
