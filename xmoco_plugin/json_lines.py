# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import json


def parse_json_lines(text: str) -> tuple[list[dict], int]:
    """Objects in a text of JSON lines, and how many lines are cut off or no object."""
    entries, broken = [], 0
    for line in filter(str.strip, text.splitlines()):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None  # of a run that was killed while it wrote
        if isinstance(entry, dict):
            entries.append(entry)
        else:
            broken += 1
    return entries, broken
