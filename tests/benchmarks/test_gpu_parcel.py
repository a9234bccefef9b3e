# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The parcel for a GPU machine without a registry: what it holds, and what it is refused for."""

import json
import sys
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = ".".join(map(str, sys.version_info[:2]))


def wheel(folder: Path, name: str, *needs: str, tag: str = "py3-none-any") -> Path:
    """A wheel of an empty module."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-1.0-{tag}.whl"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    about += "".join(f"Requires-Dist: {need}\n" for need in needs)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", "here = True\n")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", about)
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL",
            f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return file


def parcel(folder: Path, python: str, platform: str) -> Path:
    folder.mkdir()
    (folder / "parcel.json").write_text(json.dumps(dict(python=python, platform=platform)))
    return folder


def test_only_what_is_not_there_is_installed_and_without_a_registry(load, tmp_path):
    gpu_parcel = load("gpu_parcel")
    made = parcel(tmp_path / "parcel", *gpu_parcel.here())
    wheel(made / "wheels", "not_there_at_all", "no_such_requirement")
    wheel(made / "wheels", "numpy")  # is there: the machine's own stays
    site = gpu_parcel.install(made, tmp_path / "site")
    assert (site / "not_there_at_all.py").is_file()
    assert not (site / "numpy.py").exists()


def test_a_parcel_of_another_python_is_refused_where_its_wheels_are_needed(
    load, tmp_path, monkeypatch
):
    gpu_parcel = load("gpu_parcel")
    made = parcel(tmp_path / "parcel", "3.9", "linux x86_64")
    wheel(made / "wheels", "not_there_at_all")
    # Where the stack is installed, only the data of a parcel are wanted.
    assert gpu_parcel.read(made)["python"] == "3.9"
    assert not list(gpu_parcel.install(made, tmp_path / "site").iterdir())
    monkeypatch.setattr(gpu_parcel, "stack_is_here", lambda: False)
    with pytest.raises(
        ValueError, match=rf"is for Python 3\.9 on linux x86_64, .*{HERE} on .*PYTH"
    ):
        gpu_parcel.read(made)
    (made / "parcel.json").unlink()
    with pytest.raises(ValueError, match=r"is no parcel, it has no parcel\.json: make one with"):
        gpu_parcel.read(made)


def test_wheels_that_would_not_install_or_import_are_found_before_they_travel(load, tmp_path):
    gpu_pack = load("gpu_pack")
    wheel(tmp_path, "first", "second>=1", "torch", 'elsewhere; sys_platform == "win32"')
    wheel(tmp_path, "second", "opt; extra == 'all'")
    assert gpu_pack.faults(tmp_path) == []
    wheel(tmp_path, "third", "second>=2", "nowhere", tag="cp39-cp39-win_amd64")
    assert gpu_pack.faults(tmp_path) == [
        "third-1.0-cp39-cp39-win_amd64.whl is not for Python 3.12 on Linux",
        "third-1.0-cp39-cp39-win_amd64.whl needs second>=2, the parcel has 1.0",
        "third-1.0-cp39-cp39-win_amd64.whl needs nowhere, which nothing brings",
    ]


def test_the_parcel_stays_below_its_limit_and_says_what_was_left_out(
    load, tmp_path, monkeypatch, capsys
):
    gpu_pack = load("gpu_pack")
    fits = {"the stack": 2_000, "what the stack needs": 1_000, "the tests": 500, "kornia": 9_000}

    def wheels(group, out: Path) -> list[Path]:
        file = wheel(out, group.packages[0].replace("-", "_"))
        with file.open("ab") as end:
            end.write(bytes(fits[group.name]))
        return [file]

    monkeypatch.setattr(gpu_pack, "wheels", wheels)
    jpegs = tmp_path / "jpegs"
    jpegs.mkdir()
    Image.new("RGB", (8, 8)).save(jpegs / "a.jpg")
    args = Namespace(out=tmp_path / "out", data=None, images=jpegs, extra=[], limit_mb=0.01)
    made = gpu_pack.make(args)
    assert made.size() < 10_000
    about = json.loads((tmp_path / "out/parcel.json").read_text())
    assert list(about["bytes"]) == ["the stack", "what the stack needs", "the tests", "photographs"]
    assert about["left_out"][0].startswith("CIFAR-10 (name its folder")
    assert about["left_out"][1].startswith("kornia (0.0 MB")
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "parcel.json",
        "photos",
        "wheels",
    ]
    args.limit_mb = 0.002
    with pytest.raises(SystemExit, match=r"no place for the stack .*raise --limit-mb"):
        gpu_pack.make(args)
    assert (tmp_path / "out/parcel.json").is_file()  # the old one is still there
    args.out = jpegs
    with pytest.raises(SystemExit, match="is there and is no parcel"):
        gpu_pack.make(args)


def test_cifar_comes_out_of_its_mosaics_in_order_and_nearly_as_it_was(load, tmp_path):
    gpu_pictures = load("gpu_pictures")
    draw = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    expected = {}
    for split, count in (("train", 2100), ("test", 30)):
        colours = draw.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
        expected[split] = (
            np.broadcast_to(colours, (count, 32, 32, 3)),
            draw.integers(10, size=count),
        )
        images, labels = expected[split]
        np.savez(tmp_path / f"data/{split}.npz", images=images, labels=labels)
    (tmp_path / "parcel/cifar10").mkdir(parents=True)
    gpu_pictures.mosaics(tmp_path / "data", tmp_path / "parcel/cifar10")
    out = gpu_pictures.unpack(tmp_path / "parcel", tmp_path / "npz")
    for split, (images, labels) in expected.items():
        with np.load(out / f"{split}.npz") as found:
            assert (found["labels"] == labels).all()
            # Plain tiles beside each other: a tile that bled would be far off at its border.
            assert np.abs(found["images"].astype(int) - images).max() <= 3
    assert gpu_pictures.unpack(tmp_path, tmp_path / "npz") is None
    with pytest.raises(SystemExit, match=r"no CIFAR-10 in .*cifar10_to_npz"):
        gpu_pictures.mosaics(tmp_path, tmp_path)


def test_noise_and_crops_have_the_size_of_photographs(load, tmp_path):
    gpu_pictures = load("gpu_pictures")
    folder = tmp_path / "crops"
    folder.mkdir()
    files = gpu_pictures.photographs(None, folder, 6)
    files += sorted(gpu_pictures.draw_photos(tmp_path / "noise", 2).iterdir())
    assert [Image.open(file).size for file in files] == [(500, 375)] * 8
    # About the bytes of a photograph, which is what decoding takes time for.
    assert all(20_000 < file.stat().st_size < 200_000 for file in files)
