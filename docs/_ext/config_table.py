# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The directive `config-table`: every config of a folder with what its header says."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FIELD = re.compile(r"^(Source|Command|Hardware|Hours|Expected|Result):\s*(.*)")


def header(file: Path) -> tuple[str, dict[str, str]]:
    """Returns what a config's first comment says: what it is, and its fields by name."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    what, fields, name = [], {}, ""
    for line in lines:
        if found := FIELD.match(line):
            name = found[1]
            fields[name] = found[2]
        elif name:
            fields[name] += " " + line
        else:
            what.append(line)
    return " ".join(what), fields


class ConfigTable(SphinxDirective):
    """``{config-table} detection``: the configs of that folder, not of those below it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        folder = CONFIGS / self.arguments[0]
        files = sorted(folder.glob("*.py"))
        if not files:
            raise self.error(f"{folder} holds no configs.")
        listed = nodes.definition_list()
        for file in files:
            self.env.note_dependency(str(file))
            what, fields = header(file)
            rows = nodes.bullet_list()
            for name, text in fields.items():
                entry = nodes.literal("", text) if name == "Command" else nodes.Text(text)
                label = nodes.strong("", f"{name}: ")
                rows += nodes.list_item("", nodes.paragraph("", "", label, entry))
            term = nodes.term("", "", nodes.literal("", str(file.relative_to(CONFIGS.parent))))
            definition = nodes.definition("", nodes.paragraph("", what), rows)
            listed += nodes.definition_list_item("", term, definition)
        return [listed]


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("config-table", ConfigTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
