# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at a built site as a browser would: links lead somewhere, and nothing is fetched.

python docs/_ext/check_site.py docs/_build
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads by itself; a link that somebody clicks may lead anywhere.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
NOT_LOADED = {"canonical", "index", "search", "next", "prev", "author", "contents"}
STYLE = re.compile(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)")


class Page(HTMLParser):
    """The anchors of a page, where its links lead, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes down what an element names."""
        named = {name: value for name, value in attrs if value is not None}
        if "id" in named:
            self.anchors.add(named["id"])
        if tag == "a" and "href" in named:
            self.links.add(named["href"])
        if tag in LOADED and LOADED[tag] in named and named.get("rel") not in NOT_LOADED:
            self.loads.add(named[LOADED[tag]])


def faults_of(site: Path) -> list[str]:
    """Returns a line for each link that leads nowhere and each address that would be fetched."""
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}
    found = []
    for file, page in pages.items():
        name = file.relative_to(site)
        found += [f"{name} fetches {url}" for url in page.loads if urlsplit(url).netloc]
        for link in sorted(page.links | page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file.resolve()
            if not target.exists():
                found.append(f"{name}: no such file: {link}")
            elif target in pages and parts.fragment:
                anchors = pages[target].anchors
                if unquote(parts.fragment) not in anchors | {""}:
                    found.append(f"{name}: no such place in the page: {link}")
    for file in site.rglob("*.css"):
        urls = STYLE.findall(file.read_text(encoding="utf-8"))
        found += [f"{file.relative_to(site)} fetches {url}" for url in urls]
    return found


def main() -> int:
    """Prints the faults; returns the exit status."""
    site = Path(sys.argv[1]).resolve()
    found = faults_of(site)
    for fault in found:
        print(fault)
    pages = len(list(site.rglob("*.html")))
    print(f"{site}/index.html: {pages} pages, {len(found)} faults in links")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
