# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from PIL import Image
from torchvision import io

from tests import tiny_runner
from tests.data.encoders import encode, scene
from tests.views.reference import photographs
from tests.views.test_two_view_data_preprocessor import build, seeded
from xmoco_plugin.data import LoadImageOrSkip, decode_image
from xmoco_plugin.views import PackRaggedInputs, ragged_collate, two_view_data_preprocessor
from xmoco_plugin.views.decode_jpegs import decode_jpegs
from xmoco_plugin.views.ragged import split_ragged

META = ("sample_idx", "img_path", "skipped")
FILES = [encode(image, "JPEG", quality=90) for image in photographs()]
PNG = encode(scene(40, 30), "PNG")


def broken(content: bytes) -> bytes:
    """A file with all its markers and an impossible Huffman table."""
    place = content.index(b"\xff\xc4") + 5
    return content[:place] + b"\xff" * 16 + content[place + 16 :]


def batch(files, defer=True) -> dict:
    load, pack = LoadImageOrSkip(defer_jpegs=defer), PackRaggedInputs(meta_keys=META)
    loaded = [load(dict(img_path=f"{i}.jpg", img_bytes=content)) for i, content in enumerate(files)]
    return ragged_collate([pack(results) for results in loaded])


def test_a_batch_of_files_travels_as_files_and_pixels_side_by_side():
    data = batch([*FILES, PNG])
    assert data["inputs"]["sizes"] == [*((len(content),) for content in FILES), (40, 30)]
    parts = split_ragged(data["inputs"])
    assert [bytes(part.numpy()) for part in parts[:-1]] == FILES
    np.testing.assert_array_equal(parts[-1].numpy(), decode_image(PNG))


def test_pixels_are_those_of_the_loader_up_to_rounding():
    images, reasons, fault = decode_jpegs(
        split_ragged(batch([*FILES, PNG])["inputs"]), torch.device("cpu")
    )
    assert (reasons, fault) == ({}, None)
    for image, content in zip(images, [*FILES, PNG], strict=True):
        expected = torch.from_numpy(decode_image(content)).permute(2, 0, 1)
        assert (image.int() - expected.int()).abs().max() <= 2
        assert (image.int() - expected.int()).abs().float().mean() < 0.1


def test_views_are_those_of_images_that_the_loader_decoded():
    views = seeded(build(), batch([*FILES, PNG]))
    expected = seeded(build(), batch([*FILES, PNG], defer=False))
    for ours, theirs in zip(views, expected, strict=True):
        assert (ours - theirs).abs().mean() < 0.01  # a grey level is 1/57
        assert (ours - theirs).abs().max() < 0.1


def test_an_unreadable_file_gives_its_place_to_the_next_and_is_named():
    files = [FILES[0], broken(FILES[1]), FILES[2], broken(FILES[3])]
    data = batch(files)
    assert [len(size) for size in data["inputs"]["sizes"]] == [1] * 4
    images, reasons, _ = decode_jpegs(split_ragged(data["inputs"]), torch.device("cpu"))
    assert torch.equal(images[1], images[2])
    assert torch.equal(images[3], images[0])
    assert sorted(reasons) == [1, 3]
    samples = build()(data, training=True)["data_samples"]
    named = [sample.get("skipped", []) for sample in data["data_samples"]]
    assert [len(found) for found in named] == [0, 1, 0, 1]
    assert named[1][0][0] == "1.jpg"
    assert "damaged: " in named[1][0][1]
    assert samples[3].skipped[0][0] == "3.jpg"
    with pytest.raises(ValueError, match=r"no image of a batch of 1 .*defer_jpegs=False"):
        build()(batch(files[1:2]), training=True)


@pytest.fixture
def log(tmp_path):
    """What the current logger has written."""
    logger = MMLogger.get_instance(f"decoder {tmp_path}", log_file=str(tmp_path / "log"))

    def read() -> str:
        for handler in logger.handlers:
            handler.flush()
        return (tmp_path / "log").read_text()

    return read


def test_the_log_names_the_decoder_once(log):
    preprocessor = build()
    preprocessor(batch(FILES, defer=False), training=True)
    assert "decoded" not in log()
    for _ in range(2):
        preprocessor(batch(FILES), training=True)
    assert log().count("plain JPEGs are decoded by torchvision") == 1
    assert "(libjpeg on the CPU)" in log()


class OnHost(torch.Tensor):
    """Pixels that stay where they are, whatever device they are sent to."""

    def to(self, *args, **kwargs):
        return self.as_subclass(torch.Tensor)


class Gpu:
    """In place of a GPU, its stream and nvJPEG: what happened, in order, and how batches fail."""

    def __init__(self, monkeypatch) -> None:
        self.happened: list[str] = []
        self.fault: RuntimeError | None = None
        self._decode = io.decode_jpeg
        stream = SimpleNamespace(synchronize=lambda: self.happened.append("stream waited for"))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
        wait = lambda device: self.happened.append(f"{device} waited for")  # noqa: E731
        monkeypatch.setattr(torch.cuda, "synchronize", wait)
        monkeypatch.setattr(io, "decode_jpeg", self.decode)
        place = lambda device: torch.device("cuda", 0)  # noqa: E731
        monkeypatch.setattr(two_view_data_preprocessor, "decoder_device", place)

    def decode(self, files, mode, device="cpu"):
        if isinstance(files, torch.Tensor):
            self.happened.append("one")
            return self._decode(files, mode=mode).as_subclass(OnHost)
        self.happened.append("batch")
        if self.fault is not None:
            raise self.fault
        return self._decode(files, mode=mode)


@pytest.fixture
def gpu(monkeypatch) -> Gpu:
    return Gpu(monkeypatch)


NO_NVJPEG = "decode_jpegs_cuda: torchvision not compiled with nvJPEG support"


def test_a_decoder_that_refuses_every_batch_is_warned_of_once_and_never_named_as_at_work(log, gpu):
    gpu.fault = RuntimeError(f"{NO_NVJPEG}\nException raised from ...")
    preprocessor = build()
    assert "nvJPEG" not in log()
    for _ in range(2):
        preprocessor(batch(FILES), training=True)
    (line,) = [line for line in log().splitlines() if "nvJPEG" in line]
    assert "WARNING" in line
    assert "nvJPEG on cuda:0 failed on a batch" in line
    assert NO_NVJPEG in line
    assert "a torchvision with nvJPEG" in line
    assert "defer_jpegs=False" in line
    assert "plain JPEGs are decoded by" not in log()


def test_a_batch_that_damaged_files_spoil_is_not_blamed_on_the_decoder(log, gpu):
    preprocessor = build()
    gpu.fault = RuntimeError("Failed to decode batch: 5")
    preprocessor(batch([FILES[0], broken(FILES[1])]), training=True)
    assert "WARNING" not in log()
    assert "gave up a batch with damaged JPEGs" in log()
    gpu.fault = None
    preprocessor(batch(FILES), training=True)
    assert "(nvJPEG on cuda:0, a batch at once)" in log()
    gpu.fault = RuntimeError(NO_NVJPEG)
    preprocessor(batch(FILES), training=True)
    assert "WARNING" in log()


@pytest.mark.parametrize(
    "fault",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
        # torchvision's own handler makes this of it.
        RuntimeError("Error while decoding JPEG images: CUDA out of memory. Tried to ..."),
    ],
)
def test_a_gpu_without_memory_ends_the_run_and_no_file_is_blamed(gpu, fault):
    gpu.fault = fault
    with pytest.raises(type(fault), match="CUDA out of memory"):
        build()(batch(FILES), training=True)
    assert "one" not in gpu.happened


def test_memory_that_runs_out_behind_a_lone_file_is_no_damage_of_it(gpu, monkeypatch):
    def full(self, device):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(OnHost, "to", full)
    gpu.fault = RuntimeError(NO_NVJPEG)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        decode_jpegs(split_ragged(batch(FILES)["inputs"]), torch.device("cuda", 0))


def test_a_gpu_decodes_after_its_stream_and_files_go_alone_after_all_it_was_given(gpu):
    parts, device = split_ragged(batch(FILES[:2])["inputs"]), torch.device("cuda", 0)
    decode_jpegs(parts, device)
    assert gpu.happened == ["stream waited for", "batch"]
    gpu.happened.clear()
    gpu.fault = RuntimeError("Failed to decode batch: 5")
    decode_jpegs(parts, device)
    assert gpu.happened == ["stream waited for", "batch", "cuda:0 waited for", "one", "one"]


def test_a_run_decodes_in_the_preprocessor_and_counts_what_it_cannot_read(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(12):
        content = encode(Image.fromarray(scene(20 + i, 24, i)), "JPEG")
        (folder / f"{i:02}.jpg").write_bytes(broken(content) if i == 5 else content)
    loader = tiny_runner.loader()
    loader.update(collate_fn=dict(type="ragged_collate"))
    loader["dataset"] = dict(
        type="UnlabeledFolder",
        data_root=str(folder),
        pipeline=[
            dict(type="LoadImageOrSkip", defer_jpegs=True),
            dict(type="PackRaggedInputs", meta_keys=META),
        ],
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        runner = tiny_runner.build(
            tmp_path, [dict(type="SkippedImagesHook")], train_dataloader=loader
        )
        preprocessor = build(views=dict(size=8))
        runner.model.data_preprocessor = preprocessor
        runner.train()
    (log,) = tmp_path.glob("*/*.log")
    assert log.read_text().count("05.jpg: damaged: ") == 1
    assert "unreadable images: 1 of 12" in log.read_text()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_pixels_and_faults_are_those_of_the_cpu():
    cpu, gpu = torch.device("cpu"), torch.device("cuda", torch.cuda.current_device())
    parts = split_ragged(batch([*FILES, PNG])["inputs"])
    expected, _, _ = decode_jpegs(parts, cpu)
    images, reasons, fault = decode_jpegs(parts, gpu)
    assert (reasons, fault) == ({}, None)
    assert all(image.is_cuda for image in images[:-1])
    for ours, theirs in zip(images, expected, strict=True):
        difference = (ours.cpu().int() - theirs.int()).abs().float()
        assert difference.mean() < 2  # nvJPEG interpolates the chroma by its own rule
    parts = split_ragged(batch([FILES[0], broken(FILES[1])])["inputs"])
    images, reasons, fault = decode_jpegs(parts, gpu)
    assert list(reasons) == [1]
    assert fault
    assert torch.equal(images[0], images[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_nothing_is_written_over_that_queued_kernels_have_still_to_read():
    gpu = torch.device("cuda", torch.cuda.current_device())
    parts = split_ragged(batch(FILES * 4)["inputs"])
    shapes = [image.shape for image in decode_jpegs(parts, gpu)[0]]
    for _ in range(5):
        read = [torch.full(shape, 7, dtype=torch.uint8, device=gpu) for shape in shapes]
        torch.cuda.synchronize(gpu)
        torch.cuda._sleep(2 * 10**8)  # cycles, about 0.1 s: the sums are then still to come
        sums = [image.sum(dtype=torch.int64) for image in read]
        del read  # the decoder gets this memory
        decode_jpegs(parts, gpu)
        assert [int(total) for total in sums] == [7 * shape.numel() for shape in shapes]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_log_names_nvjpeg(log):
    preprocessor = build().to("cuda")
    preprocessor(batch(FILES), training=True)
    assert "(nvJPEG on cuda" in log()
    assert "WARNING" not in log()
