# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs the parts of gpu_run.sh one after the other, each in its own time, and writes the page.

Needs nothing but the standard library: what is broken on the machine shows in its part alone.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import gpu_page
import gpu_parcel
from gpu_process import Process

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DOCS = ROOT / "docs" / "lab" / "performance.md"
MINUTES = 9.0
# Seconds to spare for writing, for killing, and for a machine that is slow to let go.
SPARE = 8.0
MARGIN = 4.0  # a part is told to be done so long before it is ended


class Part(NamedTuple):
    """Of the run; seconds of nine minutes, in proportion of others. None: all that is left."""

    name: str
    title: str
    seconds: float | None


PARTS = (
    Part("tests", "a. Tests that need a GPU", 120),
    Part("step", "b. The step, views that are there already", 120),
    Part("jpegs", "c. From JPEGs to updated weights", 90),
    Part("views", "d. Views of decoded images", 60),
    Part("loss", "e. The loss head", 30),
    Part("teacher", "f. A frozen teacher, beside lightly-train's", 45),
    Part("cifar", "g. CIFAR-10, ResNet-18", None),
)


class Run:
    """One call: its record on disk, and what its parts are told."""

    def __init__(self, args: argparse.Namespace, out: Path, scratch: Path) -> None:
        self.args, self.out, self.scratch = args, out, scratch
        self.began = time.monotonic()
        self.end = self.began + 60 * args.minutes - min(SPARE, 6 * args.minutes)
        self.env = dict(os.environ)
        # What is compiled once is not compiled again: neither by Python nor by torch.
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.env.update(
            TORCHINDUCTOR_CACHE_DIR=str(scratch / "inductor"),
            TRITON_CACHE_DIR=str(scratch / "triton"),
            PYTHONUNBUFFERED="1",
        )
        self.env.setdefault("OMP_NUM_THREADS", "1")
        self.inputs: list[str] = ["--rehearse"] * args.rehearse
        self.record: dict[str, Any] = dict(
            rehearsal=args.rehearse,
            minutes=args.minutes,
            machine={},
            parcel=None,
            data="",
            parts=[],
        )
        self.process = Process(out / "gpu_run.log")

    def save(self) -> None:
        """Writes the record and its page; whole, or as they were."""
        self.record["seconds"] = round(time.monotonic() - self.began, 1)
        for name, text in (
            ("gpu_run.json", json.dumps(self.record, indent=1) + "\n"),
            ("gpu_run.md", gpu_page.page(self.record)),
        ):
            temporary = self.out / f".{name}.{os.getpid()}"
            temporary.write_text(text)
            temporary.replace(self.out / name)

    def part(self, name: str, limit: float, seen: Callable[[list[dict]], None]) -> dict:
        """Runs a part; see ``Parts.run``."""
        rows = self.scratch / f"{name}.jsonl"
        command = [sys.executable, str(HERE / "gpu_parts.py"), name, "--rows", str(rows)]
        command += ["--seconds", f"{max(limit - MARGIN, 1):.0f}", *self.inputs]
        return self.process.run(command, rows, limit, seen, self.env)


def look(run: Run) -> None:
    """Fills in the machine.

    Raises:
        SystemExit: there is no GPU, or the stack is not there.
    """
    found: dict[str, Any] = {}

    def seen(new: list[dict]) -> None:
        for line in new:  # of this part alone facts, not results
            found.update(line["row"])

    result = run.part("machine", min(90, run.end - time.monotonic()), seen)
    cuda = found.pop("cuda", None)
    if cuda is False and not run.args.rehearse:
        raise SystemExit(
            f"no CUDA device: torch {found['torch']} sees none. Call this where there is one, or "
            "rehearse it on a CPU: --rehearse."
        )
    if result["status"] != "done":
        raise SystemExit(_why(run, result))
    if found.get("commit") == "unknown" and run.record["parcel"]:
        found["commit"] = f"{run.record['parcel']['commit']} (of the parcel)"
    run.record["machine"] = found
    run.save()


def _why(run: Run, result: dict) -> str:
    last = result["end"][-1] if result["end"] else "it printed nothing"
    if run.record["parcel"]:
        return f"the stack cannot be imported with the parcel's wheels ({result['status']}): {last}"
    return (
        f"no parcel in {run.args.parcel}, and this Python cannot import the stack itself ({last}): "
        "where there is a package registry run 'make gpu-parcel', and carry that folder here."
    )


def limits(run: Run, parts: list[Part]) -> Iterator[tuple[Part, float]]:
    """Each part with the seconds that it gets, asked for when its turn comes."""
    for part in parts:
        left = run.end - time.monotonic()
        # A rehearsal is there to try all of it, on a machine of whatever speed; and a part that is
        # alone shares with none.
        free = part.seconds is None or run.args.rehearse or len(parts) == 1
        share = left if free else part.seconds * run.args.minutes / MINUTES
        yield part, min(share, left)


def go(args: argparse.Namespace, out: Path, scratch: Path) -> int:
    """Installs, runs all parts, writes; returns the exit status: 0 if each part was done."""
    run = Run(args, out, scratch)

    def interrupt(number: int, frame: FrameType | None) -> None:
        for entry in run.record["parts"]:
            if entry["status"] == "running":
                entry["status"] = "cut off"
        run.save()
        run.process.stop()
        clear(scratch)
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    run.save()
    install(run)
    look(run)
    find_data(run)
    for part, limit in limits(run, [p for p in PARTS if args.only is None or p.name in args.only]):
        entry: dict[str, Any] = dict(
            name=part.name, title=part.title, status="running", seconds=0.0, limit=limit
        )
        entry |= dict(rows=[], notes=[], end=[])
        run.record["parts"].append(entry)
        if limit < 2 * MARGIN:
            entry["status"] = "not begun: no time was left"
            run.save()
            continue

        def seen(new: list[dict], entry: dict = entry) -> None:
            entry["rows"] += [x["row"] for x in new if "row" in x]
            entry["notes"] += [x["note"] for x in new if "note" in x]
            run.save()

        print(f"{part.title}: at most {limit:.0f} s", flush=True)
        entry |= run.part(part.name, limit, seen)
        run.save()
        print(f"  {entry['status']}, {entry['seconds']:.0f} s", flush=True)
    print(f"{out / 'gpu_run.md'}\n{out / 'gpu_run.json'}")
    return int(any(entry["status"] != "done" for entry in run.record["parts"]))


def install(run: Run) -> None:
    """Lets the parts import what the parcel brings, and this checkout."""
    paths = [str(ROOT)]
    if run.args.parcel.exists():
        run.record["parcel"] = gpu_parcel.read(run.args.parcel)
        paths.insert(0, str(gpu_parcel.install(run.args.parcel, run.scratch / "site")))
    there = run.env.get("PYTHONPATH")
    run.env["PYTHONPATH"] = os.pathsep.join([*paths, *([there] if there else [])])


def find_data(run: Run) -> None:
    """Tells the parts where CIFAR-10 and JPEGs are: those named, the parcel's, or noise."""
    import gpu_pictures  # needs numpy and Pillow, which are there by now

    args, parcel = run.args, run.args.parcel
    data = args.data or gpu_pictures.unpack(parcel, run.scratch / "cifar10")
    images = args.images or gpu_parcel.photos(parcel)
    cifar = "none" if data is None else "--data" if args.data else "a JPEG-90 copy"
    jpegs = "--images" if args.images else "the parcel's" if images else "smooth noise"
    run.record["data"] = f"CIFAR-10: {cifar}; JPEGs: {jpegs}"
    if images is None:
        images = gpu_pictures.draw_photos(run.scratch / "photos", 8 if args.rehearse else 64)
    run.inputs += ["--images", str(images)] + (["--data", str(data)] if data else [])
    run.inputs += ["--peer", str(args.peer)] if args.peer else []


def clear(scratch: Path) -> None:
    """Begins to remove the folder; a slow disk does not make the call longer."""
    subprocess.Popen(["rm", "-rf", str(scratch)], start_new_session=True)


def main() -> None:
    """Runs, or merges."""
    parser = argparse.ArgumentParser(prog="gpu_run.sh", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="default: 9")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, with tiny sizes")
    parser.add_argument("--only", nargs="+", choices=[p.name for p in PARTS], help="these parts")
    parser.add_argument("--parcel", type=Path, default=ROOT / "gpu-parcel")
    parser.add_argument("--data", type=Path, help="CIFAR-10: folder of train.npz and test.npz")
    parser.add_argument("--images", type=Path, help="folder of JPEGs")
    parser.add_argument("--peer", type=Path, help="Python or packages that have lightly-train")
    parser.add_argument("--merge", type=Path, metavar="FILE", help="put its figures into the docs")
    parser.add_argument("--docs", type=Path, default=DOCS, help="default: docs/lab/performance.md")
    args = parser.parse_args()
    try:
        if args.merge is not None:
            record = json.loads(args.merge.read_text())
            args.docs.write_text(gpu_page.merge(args.docs.read_text(), record))
            return
        out = Path(os.environ.get("OUT") or ROOT / "work_dirs" / "gpu_run")
        out.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="gpu_run_"))
        try:
            sys.exit(go(args, out, scratch))
        finally:
            clear(scratch)
    except (OSError, ValueError) as error:
        raise SystemExit(f"gpu_run.sh: {error}") from error


if __name__ == "__main__":
    main()
