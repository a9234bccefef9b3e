# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""argparse as the commands use it: mistakes name what was probably meant, numbers have a range."""

import argparse
import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any


def parse_all(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """As `parse_args`, but names the nearest option beside one that there is not.

    Raises:
        SystemExit: A mistake, said on stderr.
    """
    found, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(" ".join(describe_unknown(unknown, option_names(parser))))
    return found


def option_names(parser: argparse.ArgumentParser) -> list[str]:
    """Every option of a parser and of those below it."""
    names: list[str] = []
    for action in parser._actions:
        names += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                names += option_names(below)
    return names


def describe_unknown(unknown: Sequence[str], known: Iterable[str]) -> list[str]:
    """A sentence for each word that looks like an option; for the others only where none does."""
    known = list(known)
    sentences = []
    for word in [w for w in unknown if w.startswith("-")] or unknown:
        if word.startswith("-"):
            near = nearest(word.split("=")[0], known)
            hint = f" The nearest is {near}." if near else ""
            sentences.append(f"{word}: there is no such option.{hint}")
        else:
            sentences.append(f"{word}: nothing more is expected here.")
    return sentences


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like this one; nothing where none is like it."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """A type for argparse: one of these names, the nearest is named beside another."""

    def name(text: str) -> str:
        if text not in names:
            near = nearest(text, names)
            hint = f" The nearest is {near}." if near else ""
            raise argparse.ArgumentTypeError(f"{text}: choose from {', '.join(names)}.{hint}")
        return text

    return name


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A type for argparse: whole numbers of a range, its ends included."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text}: a whole number {span(low, high)}")
        return value

    return whole_number


def number(low: float, high: float | None = None) -> Callable[[str], float]:
    """A type for argparse: finite numbers of a range, its ends included."""

    def any_number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text}: a number {span(low, high)}")
        return value

    return any_number


def span(low: float, high: float | None) -> str:
    """The words for a range."""
    return f"from {low:,}" if high is None else f"from {low:,} to {high:,}"


NO_PLAIN = re.compile(r"""\bdict\s*\(|\{\s*['"]?\w+['"]?\s*:""")


class ConfigOptions(argparse.Action):
    """Collects key=value words for mmengine's DictAction, which reads them once it is there."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Raises ArgumentError for a word that is not of that form."""
        for word in values:
            if not word.partition("=")[0] or "=" not in word:
                raise argparse.ArgumentError(self, f"{word!r}: key=value is what it takes")
            if NO_PLAIN.search(word.partition("=")[2]):  # the host makes words of it, or recurses
                raise argparse.ArgumentError(
                    self,
                    f"{word}: it takes numbers, words and lists of them, no dict. Put it into a "
                    "config file that inherits this one (_base_), or set one value in a dict that "
                    "is there, such as custom_hooks.0.interval=1",
                )
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), *values])
