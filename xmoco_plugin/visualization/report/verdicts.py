# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the health hook concluded, epoch by epoch."""

from dataclasses import dataclass

from .figure import Table
from .work_dir import WorkDir

# A sign beside the word, so that colour is not needed.
SIGNS = {
    "learning": "✓",
    "too early": "…",
    **dict.fromkeys(("collapsing", "not learning", "worse than it began"), "✗"),
}


@dataclass
class Verdict:
    """The last verdict of a run.

    Attributes:
        word: of the health hook, or 'no verdict'.
        reason: the hook's, with the number behind it.
        epoch: it was given at, or None.
        history: 'epochs 1 to 3: too early', one entry a stretch.
        table: every epoch's.
    """

    word: str = "no verdict"
    reason: str = "no health.jsonl in the work dir"
    epoch: int | None = None
    history: tuple[str, ...] = ()
    table: Table | None = None

    @property
    def sign(self) -> str:
        """One character that means the same as the word."""
        return SIGNS.get(self.word, "?")

    @property
    def kind(self) -> str:
        """The word as the name of a class of the page."""
        return self.word.replace(" ", "-") if self.word in SIGNS else "none"

    @classmethod
    def of(cls, run: WorkDir) -> "Verdict":
        """Read it from the run's health entries."""
        entries = [e for e in run.health if isinstance(e.get("verdict"), str)]
        if not entries:
            return cls()
        stretches: list[list] = []  # [first epoch, last epoch, word]
        for entry in entries:
            if stretches and stretches[-1][2] == entry["verdict"]:
                stretches[-1][1] = entry["epoch"]
            else:
                stretches.append([entry["epoch"], entry["epoch"], entry["verdict"]])
        last = entries[-1]
        return cls(
            last["verdict"],
            str(last.get("reason", "")),
            last["epoch"],
            tuple(
                f"epoch {first:g}: {word}" if first == end else f"epochs {first:g}–{end:g}: {word}"
                for first, end, word in stretches
            ),
            Table(
                ["epoch", "verdict", "reason"],
                [[f"{e['epoch']:g}", e["verdict"], str(e.get("reason", ""))] for e in entries],
            ),
        )
