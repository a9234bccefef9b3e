# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a library's error means to who asked for a file of a bucket, without its secrets."""

import os
import re
from typing import Any, NamedTuple

from ...untrusted import printable
from .place import ENVIRONMENT, library

SECRETS = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|SIGNATURE|CONNECTION_STRING|^sig$", re.I)
URL = re.compile(r"\w+://[^\s'\"]+")
QUERY = re.compile(r"(\w+://[^\s?'\"]+)\?[^\s'\")]+")  # of a URL: signatures stand in it
# A user or a token, and a password, as the URL of a proxy or a server may have them.
USER = re.compile(r"(?<=http:|ttps:)//[^\s/]*@|//[^\s/@]*:[^\s/]*@")
SIGNED = re.compile(r"\b(sig|[\w-]*signature|[\w-]*security-token)=[^\s&'\")]+", re.I)
LONGEST = 200  # characters of an error that a message shows
SHORTEST = 6  # of a value in the environment that is looked for: a region is no secret
NO_RIGHT = (401, 403)
NO_BUCKET = ("no such bucket", "nosuchbucket", "repository not found", "containernotfound")
MISSING = ("credentials", "connection string", "connection_string", "no token")


class Meaning(NamedTuple):
    """Of an error.

    Attributes:
        missing: Whether there is no such file, or nothing that it could lie in.
        sentence: What to say at once, without asking again; None where asking again may help.
    """

    missing: bool
    sentence: str | None


def meaning(error: BaseException, where: str) -> Meaning:
    """What an error of any library that fsspec reaches a bucket by means.

    Args:
        error: Of a request.
        where: The URL that was asked for.
    """
    chain, text = _chain(error), plain(error)
    statuses = [status for e in chain if (status := _status(e)) is not None]
    kinds, lower = {type(e).__name__ for e in chain}, _without_names(str(error), where).lower()
    way = ENVIRONMENT[library(where)]
    gone = isinstance(error, FileNotFoundError) or 404 in statuses[:1]
    if gone and any(name in lower for name in NO_BUCKET):
        return Meaning(True, no_bucket(where))
    if gone and "bucket" in lower and "does not exist" in lower:
        return Meaning(True, no_bucket(where))
    if "revision not found" in lower:
        return Meaning(True, f"{where}: there is no such revision of the repository: name another.")
    if gone:
        return Meaning(True, None)
    refused = isinstance(error, PermissionError) or "Forbidden:" in str(error)
    if refused or any(status in NO_RIGHT for status in statuses):
        return Meaning(
            False,
            f"{where}: not allowed ({text}): ask for the right to read and list, or renew what has "
            f"expired ({way}).",
        )
    if any("Credentials" in kind for kind in kinds) or any(word in lower for word in MISSING):
        return Meaning(
            False,
            f"{where}: there are no credentials that can be used ({type(error).__name__}): put "
            f"them into the usual environment ({way}).",
        )
    return Meaning(False, None)


def no_bucket(where: str) -> str:
    """That there is nothing that a set could lie in."""
    if library(where) == "hf":
        return (
            f"{where}: there is no such repository, or it is private: check the name, which begins "
            f"with datasets/ where it is a data set, or log in ({ENVIRONMENT['hf']})."
        )
    return f"{where}: there is no such bucket."


def plain(error: BaseException) -> str:
    """The first line of an error, without what may be a secret."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    text = USER.sub("//", QUERY.sub(r"\1", text))
    for name, value in os.environ.items():
        for part in _secrets(value) if SECRETS.search(name) else ():
            text = text.replace(part, "***") if len(part) >= SHORTEST else text
    text = printable(SIGNED.sub(r"\1=***", text))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _secrets(value: str) -> list[str]:
    """What to hide of a variable: itself, and the parts of a connection string or a signature."""
    value = value.lstrip("?")
    fields = (field.partition("=") for field in (*value.split(";"), *re.split("[;&]", value)))
    return [value, *(part.rstrip("=") for key, _, part in fields if SECRETS.search(key))]


def _without_names(text: str, where: str) -> str:
    """An error without the names that the user gave, which may be any words."""
    path = where.partition("://")[2]
    text = URL.sub("", text.replace(where, "").replace(path, ""))
    for name in path.split("/"):
        if any(word in name.lower() for word in MISSING):
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", "", text)
    return text


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found and len(found) < 8:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _status(error: Any) -> int | None:
    """Of HTTP: each library names it otherwise."""
    answer = getattr(error, "response", None)
    for holder, name in (
        (error, "status_code"),
        (error, "status"),
        (error, "code"),
        (answer, "status_code"),
    ):
        value = getattr(holder, name, None)
        if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            return int(value)
    return None
