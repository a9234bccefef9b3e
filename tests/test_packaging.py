# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the built wheel holds, and that it works where there is no checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config

import xmoco_plugin

ROOT = Path(__file__).resolve().parents[1]
IGNORED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "work_dirs")
BUILD = "import sys; from setuptools.build_meta import build_{0}; build_{0}(sys.argv[1])"


def run(*command, cwd: Path, **environment: str) -> str:
    """Runs a command without the checkout on its path; returns what it printed."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel built from the source distribution built from this checkout."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=IGNORED)
    run(sys.executable, "-c", BUILD.format("sdist"), folder, cwd=source)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "unpacked")
    unpacked = next((folder / "unpacked").iterdir())
    run(sys.executable, "-c", BUILD.format("wheel"), folder, cwd=unpacked)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def clean_python(wheel, tmp_path_factory) -> Path:
    """The interpreter of a new environment: this one's packages and the wheel, no checkout."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    site = Path(
        run(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
        ).strip()
    )
    # One line in a .pth file adds a folder and does not follow that folder's own .pth files,
    # so an editable install of this checkout stays behind.
    (site / "stack.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--no-index", "--no-deps", "--no-compile", wheel, cwd=folder)
    return python


def test_the_wheel_holds_every_config_and_tool_in_the_mim_layout(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("configs", "tools"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".sh"):
                assert f"xmoco_plugin/.mim/{path.relative_to(ROOT)}" in names
    assert "xmoco_plugin/.mim/model-index.yml" in names
    page = {f"xmoco_plugin/visualization/report/page.{kind}" for kind in ("html", "css")}
    assert page <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_no_message_or_page_has_pip_fetch_this_package_which_is_on_no_index():
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for folder in ("xmoco_plugin", "tools", "configs"):
        files += [file for file in (ROOT / folder).rglob("*") if file.suffix in (".py", ".sh")]
    wrong = re.compile(r"pip install\s+['\"]?xmoco.plugin\b")
    assert not [file.name for file in files if wrong.search(file.read_text(encoding="utf-8"))]


def test_the_wheel_requires_no_stack_unless_an_extra_asks_for_one(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    required = [line.split(": ")[1] for line in lines if line.startswith("Requires-Dist")]
    plain = {re.split(r"[^\w-]", line)[0] for line in required if "extra ==" not in line}
    assert plain == {"Jinja2", "matplotlib", "numpy", "Pillow"}
    official = [line for line in required if re.search(r"extra == .official", line)]
    assert any(line.startswith("mmpretrain") for line in official)
    assert not any(line.startswith("onedl-") for line in official)


def test_a_config_builds_on_the_installed_wheel_by_its_scoped_name(clean_python, tmp_path):
    (tmp_path / "mine.py").write_text(
        "_base_ = ['xmoco_plugin::xmoco_r50_8xb32.py']\n"
        "model = dict(queue_len=64, feat_dim=16,\n"
        "    backbone=dict(depth=18, base_channels=8, stem_channels=8),\n"
        "    neck=dict(in_channels=64, hid_channels=16, out_channels=16))\n"
    )
    printed = run(
        clean_python,
        "-c",
        "import xmoco_plugin\n"
        "from mmengine.config import Config\n"
        "from mmpretrain.registry import MODELS\n"
        "cfg = Config.fromfile('mine.py')\n"
        "model = MODELS.build(cfg.model)\n"
        "print(xmoco_plugin.__file__, xmoco_plugin.config_path('xmoco_r50_8xb32.py'))\n"
        "print(type(model).__name__, tuple(model.queue.shape), cfg.train_cfg.max_epochs)\n",
        cwd=tmp_path,
    )
    printed = " ".join(printed.splitlines()[-2:]).split()
    site = str(clean_python.parents[1])
    assert printed[0].startswith(site)
    assert printed[1].startswith(site)
    assert "/.mim/configs/" in printed[1]
    assert printed[2:] == ["XMoCo", "(16,", "64)", "200"]


def test_the_installed_command_starts_and_finds_the_installed_package(clean_python, tmp_path):
    command = clean_python.with_name("xmoco")
    assert run(command, "--version", cwd=tmp_path).strip() == xmoco_plugin.__version__
    (tmp_path / "tiny.py").write_text("work_dir = 'x'")
    for start in (
        [command],
        [clean_python, "-m", "xmoco"],
        [clean_python, "-m", "xmoco_plugin.cli"],
    ):
        assert "--data-root" in run(*start, "train", "--help", cwd=tmp_path)


def test_the_installed_tools_start_from_the_mim_folder(clean_python, tmp_path):
    tool = next(clean_python.parents[1].rglob(".mim/tools/train.py"))
    assert "--data-root" in run(clean_python, tool, "--help", cwd=tmp_path)


def test_a_checkout_resolves_its_own_configs_by_the_scoped_name(tmp_path):
    (tmp_path / "mine.py").write_text("_base_ = ['xmoco_plugin::xmoco_r50_8xb32.py']\n")
    ours = Config.fromfile(str(tmp_path / "mine.py"))
    plain = Config.fromfile(str(ROOT / "configs" / "xmoco_r50_8xb32.py"))
    assert ours.train_dataloader.batch_size == plain.train_dataloader.batch_size
    assert ours.model.type == plain.model.type
    # The classes are in mmpretrain's registries: a scope of our own would find none of them.
    assert ours.model._scope_ == "mmpretrain"


def test_other_packages_scopes_still_go_the_hosts_way(tmp_path):
    (tmp_path / "theirs.py").write_text("_base_ = ['mmpretrain::_base_/default_runtime.py']\n")
    assert Config.fromfile(str(tmp_path / "theirs.py")).default_scope == "mmpretrain"
    (tmp_path / "nobodys.py").write_text("_base_ = ['nobody::a/b.py']\n")
    with pytest.raises(AssertionError, match="nobody"):
        Config.fromfile(str(tmp_path / "nobodys.py"))


def test_an_unknown_config_name_lists_those_that_exist(tmp_path):
    (tmp_path / "mine.py").write_text("_base_ = ['xmoco_plugin::xmoco_r51.py']\n")
    with pytest.raises(FileNotFoundError, match=r"no config 'xmoco_r51\.py'.*xmoco_r50_8xb32\.py"):
        Config.fromfile(str(tmp_path / "mine.py"))


def test_the_version_is_the_wheels(wheel):
    assert wheel.name == f"xmoco_plugin-{xmoco_plugin.__version__}-py3-none-any.whl"
