# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "img", "br", "hr", "input"}


class ParsedPage(HTMLParser):
    """A page's elements, and whether its tags close what they opened.

    Attributes:
        path: of the file.
        text: of the file.
        elements: (tag, attributes) in order.
        words: all text between tags, joined.
        faults: tags that close something else.
        missing: what the runs said is missing, where the test that made the page knows.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.text = path, path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict]] = []
        self.faults: list[str] = []
        self.missing: list[str] = []
        self._open: list[str] = []
        self._words: list[str] = []
        self.feed(self.text)
        self.close()
        self.faults += self._open
        self.words = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        self._words.append(data)

    def of(self, tag: str) -> list[dict]:
        """Attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self, *names: str) -> list[str]:
        """What attributes of these names hold, in the whole page."""
        return [a[n] for _, a in self.elements for n in names if a.get(n) is not None]
