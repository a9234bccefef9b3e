# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The name of a set that lies in a bucket: which are taken, and what each says."""

import re

from ...untrusted import printable

# What fsspec needs beside itself, by scheme.
PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hf": "huggingface_hub",
}
SCHEMES = tuple(PACKAGES)
SHOWN = ("s3", "gs", "az", "hf")  # of these, what messages name
LIBRARY = dict.fromkeys(("gs", "gcs"), "gs") | dict.fromkeys(("az", "abfs", "abfss"), "az")
# What the name of a set is made of: it stands in configs, and is no pattern of several names.
NAME = re.compile(r"[\w.\-/=+%,:~!&]+")
# A container and its account, which is no secret: only names that either may have are taken.
ACCOUNT = re.compile(
    r"([a-z0-9](?:-?[a-z0-9]){,62})@([a-z0-9]{3,24})\.(?:dfs|blob)\.core\.windows\.net(/.*|)", re.S
)
REVISION = re.compile(r"((?:datasets/|models/|spaces/)?[\w.\-]+/[\w.\-]+)@([^@/]+)(/.*|)", re.S)


def is_remote(url: str) -> bool:
    """Whether it names a bucket and not a folder."""
    return url.partition("://")[0].lower() in SCHEMES and "://" in url


def check_url(url: str) -> str | None:
    """Why a URL cannot name a set, in a sentence; None where it can."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in SCHEMES:
        return f"{_shown(url)}: buckets are read by {', '.join(f'{s}://' for s in SHOWN)}."
    kind = library(url)
    form = {"az": ACCOUNT, "hf": REVISION}.get(kind)
    taken = form and form.fullmatch(rest)
    if ("@" in rest and not taken) or "?" in rest:
        other = {
            "az": "CONTAINER@ACCOUNT.blob.core.windows.net/set names an account",
            "hf": "datasets/USER/NAME@REVISION/set names a revision",
        }.get(kind)
        return (
            f"{_shown(url)}: credentials have no place in the name of a set, which stands in the "
            f"config and the log; put them into the environment ({ENVIRONMENT[kind]})"
            f"{f'; {scheme}://{other}' if other else ''}."
        )
    at = "@ACCOUNT.blob.core.windows.net" if taken and kind == "az" else ""
    if not (taken[3] if taken and at else rest).strip("/"):
        shown = printable(url)
        return f"{shown}: name a bucket and a set in it, as in {scheme}://bucket{at}/set."
    if not NAME.fullmatch(rest.replace("@", "", 1) if taken else rest):
        return (
            f"{printable(url)}: the name of a set has letters, digits and . - _ / = + % , : ~ ! & "
            "alone: name another."
        )
    return None


def plain_url(url: str) -> str:
    """The one spelling of a URL, S3://b/set/ as s3://b/set; what is no bucket stays as it is."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.lower()}://{rest.rstrip('/')}" if is_remote(url) else url


def library(url: str) -> str:
    """By which of 's3', 'gs', 'az' and 'hf' a URL is read."""
    scheme = url.partition("://")[0].lower()
    return LIBRARY.get(scheme, scheme)


def account(url: str) -> str | None:
    """The account of a container, where a URL names it."""
    found = ACCOUNT.fullmatch(url.partition("://")[2]) if library(url) == "az" else None
    return found and found[2]


def bucket(url: str) -> str:
    """The URL of the bucket, container or repository that a set lies in."""
    scheme, _, rest = url.partition("://")
    parts = rest.split("/")
    typed = parts[0] in ("datasets", "models", "spaces", "buckets")
    deep = 1 if library(url) != "hf" else 3 if typed else 2
    return f"{scheme}://{'/'.join(parts[:deep])}"


def _shown(url: str) -> str:
    """A URL without what may be a secret."""
    scheme, _, rest = url.partition("://")
    return printable(f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}")


# Where credentials are put, by library.
ENVIRONMENT = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login",
    "az": "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and "
    "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    "hf": "HF_TOKEN, or hf auth login",
}
