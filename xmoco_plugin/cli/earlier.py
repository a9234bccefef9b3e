# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The evaluation that a folder holds already, which another one must not replace."""

from pathlib import Path

from xmoco_plugin.untrusted import FileRefusedError, parse_json, printable, read_text

ANOTHER = "Name another folder with --out, or remove this one."


def refuse_other(out: Path, facts: dict) -> None:
    """Lets nobody lose an evaluation to another one.

    Raises:
        ValueError: the folder holds one with other settings, which are named, or another file of
            that name.
    """
    file = out / "evaluation.json"
    if not file.is_file():
        return
    try:
        content = read_text(file)
    except FileRefusedError as error:
        raise ValueError(f"{printable(file)}: {error}. {ANOTHER}") from None
    try:
        found = parse_json(content, finite=False)
    except FileRefusedError:  # cut off: there is nothing to lose
        return
    if not isinstance(found, dict) or not isinstance(found.get("settings") or {}, dict):
        raise ValueError(f"{printable(file)} is no evaluation. {ANOTHER}")
    decisive = ("sha256", "data", "image_size", "train", "test", "classes")
    old, new = ({k: f.get(k) for k in decisive} | (f.get("settings") or {}) for f in (found, facts))
    unlike = [
        f"{k} was {printable(str(old.get(k)))[:300]}, now {new[k]}"
        for k in new
        if old.get(k) != new[k]
    ]
    if unlike:
        raise ValueError(
            f"{out} holds an evaluation with other settings: {'; '.join(unlike)}. {ANOTHER}"
        )
