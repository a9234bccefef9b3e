# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the site is built with, where no Sphinx is needed to try it."""

import sys

import pytest

from .pages import DOCS, ROOT

sys.path.insert(0, str(DOCS / "_ext"))
import check_site

PAGE = '<html><body><h1 id="top">x</h1>{}</body></html>'


@pytest.mark.parametrize(
    ("inside", "fault"),
    [
        ('<a href="other.html#there">x</a>', None),
        ('<a href="#top">x</a> <a href="https://example.org/x">clicked, not loaded</a>', None),
        ('<a href="gone.html">x</a>', "no such file: gone.html"),
        ('<a href="other.html#gone">x</a>', "no such place in the page: other.html#gone"),
        ('<img src="gone.png">', "no such file: gone.png"),
        ('<script src="https://cdn.example.org/x.js"></script>', "fetches https://cdn.example.org"),
        ('<link rel="stylesheet" href="//fonts.example.org/x">', "fetches //fonts.example.org/x"),
    ],
)
def test_a_link_that_leads_nowhere_and_an_address_that_is_fetched_are_found(
    tmp_path, inside, fault
):
    (tmp_path / "index.html").write_text(PAGE.format(inside))
    (tmp_path / "other.html").write_text(PAGE.format('<p id="there">x</p>'))
    found = check_site.faults_of(tmp_path)
    assert len(found) == bool(fault)
    assert not fault or fault in found[0]


def test_a_font_that_a_style_fetches_is_found(tmp_path):
    (tmp_path / "x.css").write_text(
        '@import "https://fonts.example.org/a.css"; p {background: url(local.png)}'
        "@font-face {src: url('//fonts.example.org/b.woff')}"
    )
    found = check_site.faults_of(tmp_path)
    assert [fault.split()[-1] for fault in found] == [
        "https://fonts.example.org/a.css",
        "//fonts.example.org/b.woff",
    ]


def test_every_config_says_what_it_is_in_its_first_lines():
    pytest.importorskip("sphinx")
    import config_table

    silent = [
        file.name
        for file in (ROOT / "configs").rglob("*.py")
        if file.parent.name != "_base_" and not config_table.header(file)[0]
    ]
    assert silent == []
