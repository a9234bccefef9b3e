# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The site: Markdown pages, options and classes as they are in the code. `make docs` builds it."""

import runpy
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

project = "xmoco_plugin"
author = "xmoco_plugin contributors"
copyright = author
release = runpy.run_path(str(HERE.parent / "xmoco_plugin" / "version.py"))["__version__"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_options",
    "config_table",
]
exclude_patterns = ["_ext", "_build"]
source_suffix = {".md": "markdown"}

# Headings are link targets by the names that GitHub gives them, so that a link works in both.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# The hosts' classes are documented elsewhere.
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "none"
autodoc_inherit_docstrings = False  # "Initialize BaseModule" says nothing
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # an attribute is described once, where the class lists it

html_theme = "furo"
html_title = f"xmoco_plugin {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
highlight_language = "text"  # of blocks that name none
html_show_sphinx = False
html_copy_source = False


def keep_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]):
    """Lets ``|`` in a docstring be the bar of a formula, which Sphinx takes for a substitution."""
    for i, line in enumerate(lines):
        parts = line.split("``")  # every other part is code
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[i] = "``".join(parts)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_bars)
