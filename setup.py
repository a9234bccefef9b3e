# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Builds the wheel: the package, with configs and tools in the .mim folder that mim reads."""

import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM = ("configs", "tools", "model-index.yml")
STACKS = runpy.run_path(str(ROOT / "xmoco_plugin" / "_stack.py"))["STACKS"]
VERSION = runpy.run_path(str(ROOT / "xmoco_plugin" / "version.py"))["__version__"]
README = ROOT / "README.md"

COMPLETION = ["shtab>=1.6"]  # xmoco --print-completion
DEMO = ["scikit-image>=0.25,<0.26"]  # its wheel carries the photographs
EXPORT = ["safetensors>=0.4", "timm>=1.0"]  # what exported backbones are read by
EVALUATION = ["joblib>=1.3", "scikit-learn>=1.5"]  # the SVM protocols
REPORT = ["scikit-learn>=1.5"]  # t-SNE
TIFF = ["tifffile>=2025.5", "imagecodecs>=2025.3"]  # large TIFFs; the second for their codecs
SHARDS = ["s3fs>=2025.5"]  # buckets of S3; gs:// needs gcsfs and az:// adlfs beside it
TEST = [
    *COMPLETION,
    *DEMO,
    *EXPORT,
    *EVALUATION,
    *REPORT,
    *SHARDS,
    *("flask", "flask-cors", "moto[s3]>=5"),  # a server of S3 on loopback
    "pyarrow>=15",  # embed.py's parquet
    "tensorboard>=2.18",
    TIFF[0],
    "pytest>=8",
    "pytest-timeout",
    "pytest-xdist",
    "selenium>=4.20",  # drives Chromium through a report, where there is one
]
# What mmdet and mmseg need. These two and imaug, which wants an older OpenCV, go in without theirs.
TRANSFER = [
    "ftfy",
    "prettytable",
    "pycocotools",
    "regex",
    "shapely",
    "six",
    "terminaltables",
    "tqdm",
]
DEV = [*TEST, "build", "coverage>=7.10", "mypy", "ruff"]
# Sphinx and the parser go together from Python 3.11 on only; on 3.10 there is no site.
DOCS = [f"{name}; python_version >= '3.11'" for name in ("furo", "myst-parser>=5", "sphinx>=9,<10")]


class BuildPyWithMim(build_py):
    """Adds `xmoco_plugin/.mim` to what is built; an editable install finds it in the checkout."""

    def run(self) -> None:
        super().run()
        if getattr(self, "editable_mode", False):
            return
        target = Path(self.build_lib) / "xmoco_plugin" / ".mim"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
                )
            else:
                shutil.copy2(source, target / name)


setup(
    name="xmoco_plugin",
    version=VERSION,
    description="XMoCo: momentum contrast with cross-similarity consistency, for mmpretrain",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10",
    py_modules=["xmoco"],
    packages=find_packages(include=["xmoco_plugin", "xmoco_plugin.*"]),
    package_data={"xmoco_plugin.visualization.report": ["page.*"]},
    # No stack here: pip would lay a second one over the one that is installed. See _stack.py.
    install_requires=["Jinja2", "matplotlib>=3.7", "numpy", "Pillow"],
    extras_require={
        **{stack: list(needs.values()) for stack, needs in STACKS.items()},
        "completion": COMPLETION,
        "demo": DEMO,
        "docs": DOCS,
        "evaluation": EVALUATION,
        "export": EXPORT,
        "report": REPORT,
        "shards": SHARDS,
        "test": TEST,
        "tiff": TIFF,
        "dev": DEV,
        "transfer": TRANSFER,
    },
    entry_points={"console_scripts": ["xmoco = xmoco:main"]},
    cmdclass={"build_py": BuildPyWithMim},
    zip_safe=False,
)
