# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Without a fitting stack, importing the package is one error with the command that mends it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xmoco_plugin import _stack

ROOT = Path(__file__).resolve().parents[1]
TESTED = {
    "onedl": {
        "torch": ("torch", "2.11.0"),
        "torchvision": ("torchvision", "0.26.0"),
        "mmengine": ("onedl-mmengine", "0.10.12"),
        "mmcv": ("onedl-mmcv", "2.3.6"),
        "mmpretrain": ("onedl-mmpretrain", "1.3.6"),
    },
    "official": {
        "torch": ("torch", "2.11.0"),
        "torchvision": ("torchvision", "0.26.0"),
        "mmengine": ("mmengine", "0.10.7"),
        "mmcv": ("mmcv-lite", "2.1.0"),
        "mmpretrain": ("mmpretrain", "1.2.0"),
        "numpy": ("numpy", "1.26.4"),
        "pkg_resources": ("setuptools", "80.10.2"),
    },
}


@pytest.fixture
def site(tmp_path):
    """A folder that stands for site-packages, and a way to put empty packages into it."""

    def put(module: str, distribution: str, version: str, code: str = "") -> None:
        package = tmp_path / module
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text(code or f"__version__ = {version!r}\n")
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )

    return tmp_path, put


def import_with(site: Path, module: str = "import xmoco_plugin") -> str:
    """Imports the package where only `site` and the standard library are; returns stderr."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(site)!r}]; {module}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("Traceback") == 1, done.stderr
    return done.stderr[done.stderr.index("ImportError: ") :]


def test_the_stack_of_this_environment_passes():
    _stack.check_stack()


def test_importing_the_package_prints_nothing():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import xmoco_plugin"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_only_the_one_line_of_a_host_is_left_out(capsys):
    with _stack.without_unasked():
        print("before")
        print(_stack.UNASKED)
        print("more:", _stack.UNASKED)
        kept = sys.stdout  # as a logger of the host would keep it
        print("no end", end="")
    print("after", file=kept)
    assert capsys.readouterr().out == (f"before\nmore: {_stack.UNASKED}\nno endafter\n")


def test_no_stack_at_all_is_one_error_that_installs_the_maintained_one(site):
    message = import_with(site[0])
    for module in ("torch", "torchvision", "mmengine", "mmcv", "mmpretrain"):
        assert f"- {module}: not installed" in message
        assert f"'{_stack.STACKS['onedl'][module]}'" in message
    assert message.count("pip install") == 1
    assert "setuptools" not in message


@pytest.mark.parametrize("stack", ["onedl", "official"])
def test_a_missing_part_is_installed_from_the_stack_that_is_there(site, stack):
    folder, put = site
    for module, (distribution, version) in TESTED[stack].items():
        if module != "mmpretrain":
            put(module, distribution, version)
    message = import_with(folder)
    assert re.findall(r"- (\w+): ", message) == ["mmpretrain"]
    assert f"pip install '{_stack.STACKS[stack]['mmpretrain']}'" in message


@pytest.mark.parametrize(
    ("module", "version"), [("mmengine", "0.8.3"), ("mmcv", "2.4.0"), ("mmpretrain", "1.1.1")]
)
def test_a_version_out_of_range_is_named_with_the_range(site, module, version):
    folder, put = site
    for name, (distribution, tested) in TESTED["official"].items():
        put(name, distribution, version if name == module else tested)
    message = import_with(folder)
    need = next(need for need in _stack.NEEDS if need.module == module)
    distribution = TESTED["official"][module][0]
    assert f"{distribution} {version} is installed (needed: >={need.low}, <{need.high})" in message
    assert f"pip install '{_stack.STACKS['official'][module]}'" in message


def test_two_stacks_over_each_other_are_told_apart_and_removed_first(site):
    folder, put = site
    for name, (distribution, version) in TESTED["onedl"].items():
        put(name, distribution, version)
    put("mmengine", "mmengine", "0.10.7")
    message = import_with(folder)
    assert "onedl-mmengine 0.10.12 and mmengine 0.10.7 are installed over each other" in message
    commands = message[message.index("This mends it:") :].split("\n")[1:3]
    assert commands[0].strip() == "pip uninstall -y onedl-mmengine mmengine"
    assert commands[1].strip() == f"pip install '{_stack.STACKS['onedl']['mmengine']}'"


def test_an_assertion_of_the_host_becomes_one_error_without_its_traceback(site):
    folder, put = site
    for name, (distribution, version) in TESTED["onedl"].items():
        put(name, distribution, version, "assert False, 'MMCV is incompatible'" * (name == "mmcv"))
    message = import_with(folder)
    assert "mmcv: import fails, AssertionError: MMCV is incompatible" in message
    assert f"pip install --force-reinstall '{_stack.STACKS['onedl']['mmcv']}'" in message


def test_a_missing_library_of_the_system_is_not_blamed_on_the_wheel(site):
    folder, put = site
    reason = "libGL.so.1: cannot open shared object file: No such file or directory"
    for name, (distribution, version) in TESTED["onedl"].items():
        put(name, distribution, version, f"raise ImportError({reason!r})" * (name == "mmcv"))
    message = import_with(folder)
    assert reason in message
    assert "apt-get install -y libgl1" in message
    assert "pip install" not in message


def test_the_official_stack_without_pkg_resources_asks_for_an_older_setuptools(site):
    folder, put = site
    for name, (distribution, version) in TESTED["official"].items():
        if name != "pkg_resources":
            put(name, distribution, version)
    message = import_with(folder)
    assert re.findall(r"- (\w+): ", message) == ["pkg_resources"]
    assert "pip install 'setuptools<81'" in message


def test_the_official_stack_with_numpy_2_asks_for_an_older_one(site):
    folder, put = site
    for name, (distribution, version) in TESTED["official"].items():
        put(name, distribution, "2.2.6" if name == "numpy" else version)
    message = import_with(folder)
    assert re.findall(r"- (\w+): ", message) == ["numpy"]
    assert "pip install 'numpy<2'" in message


def test_a_module_on_the_path_without_metadata_is_judged_by_its_own_version(site):
    folder, put = site
    for name, (distribution, version) in TESTED["onedl"].items():
        if name != "mmpretrain":
            put(name, distribution, version)
    (folder / "mmpretrain").mkdir()
    (folder / "mmpretrain" / "__init__.py").write_text("__version__ = '0.9'\n")
    message = import_with(folder)
    assert f"mmpretrain: 0.9 is imported from {folder}" in message


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("2.11.0+cu130", (2, 11, 0)),
        ("0.10.12", (0, 10, 12)),
        ("1.2rc1", (1, 2, 0)),
        ("x", (0, 0, 0)),
    ],
)
def test_versions_compare_as_numbers_not_as_text(version, release):
    assert _stack._release(version) == release


def test_every_tested_version_lies_in_its_range_and_in_what_pip_is_told():
    packaging = pytest.importorskip("packaging.requirements")
    for stack, parts in TESTED.items():
        for module, (distribution, version) in parts.items():
            requirement = packaging.Requirement(_stack.STACKS[stack][module])
            assert requirement.name == distribution
            assert requirement.specifier.contains(version)
            for need in _stack.NEEDS:
                if need.module == module:
                    assert _stack._in_range(version, need)
