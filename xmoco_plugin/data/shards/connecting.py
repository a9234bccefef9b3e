# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""fsspec's files for each kind of bucket, with an end to waiting for a server."""

import logging
import os
from collections.abc import Callable
from typing import Any

from .errors import ShardError
from .place import PACKAGES, account, library

# Seconds: to begin an answer, and without a byte of one. A stalled server ends after about as many
# times the second as it is asked.
CONNECT, SILENCE = 10, 30
# How often we ask. gcsfs asks six times and huggingface_hub five, which nothing turns off: together
# they would multiply.
TRIES = {"s3": 3, "az": 3, "gs": 1, "hf": 1}


def connect(url: str) -> Any:
    """fsspec's files for a URL; credentials and server come from the environment alone.

    Raises:
        ShardError: A package is missing; or the environment's credentials are of another account
            than the URL names.
    """
    scheme = url.partition("://")[0].lower()
    try:
        return WAYS[library(url)](url)
    except ImportError as error:
        package = PACKAGES[scheme]
        extra = "'xmoco_plugin[shards]'" if scheme == "s3" else package
        raise ShardError(
            f"{scheme}:// needs the package {package}, which is not installed ({error}): "
            f"pip install {extra}."
        ) from None


def _s3(url: str) -> Any:
    import fsspec

    limits = dict(connect_timeout=CONNECT, read_timeout=SILENCE, retries=dict(max_attempts=0))
    files = fsspec.filesystem("s3", skip_instance_cache=True, config_kwargs=limits)
    files.retries = 1  # ours are enough: together they would multiply
    return files


def _gs(url: str) -> Any:
    # Not what fsspec takes: that one asks for the kind of a bucket by gRPC before each request,
    # and gRPC does not outlive a fork.
    import aiohttp
    from gcsfs.core import GCSFileSystem

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what is wrong is raised here
    # Without limits of their own its requests wait for ever.
    limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE)
    return GCSFileSystem(skip_instance_cache=True, requests_timeout=limits)


def _az(url: str) -> Any:
    import fsspec

    logging.getLogger("azure").setLevel(logging.CRITICAL)
    wanted = account(url)
    given = dict(account_name=wanted) if wanted else {}
    files = fsspec.filesystem("az", skip_instance_cache=True, **given)
    client = files.service_client
    if wanted and client.account_name != wanted:
        raise ShardError(
            f"{url} names the account {wanted}, and the environment's "
            f"AZURE_STORAGE_CONNECTION_STRING is of {client.account_name}: use one of them."
        )
    # A client of its own waits for a minute between its three tries.
    files.service_client = type(client)(
        client.url,
        client.credential,
        **dict(retry_total=0, connection_timeout=CONNECT, read_timeout=SILENCE),
    )
    return files


def _hf(url: str) -> Any:
    import fsspec

    # Said anew: the library looks at its environment once, when it is imported.
    server = os.environ.get("HF_ENDPOINT") or None
    return fsspec.filesystem("hf", skip_instance_cache=True, endpoint=server)


WAYS: dict[str, Callable[[str], Any]] = {"s3": _s3, "gs": _gs, "az": _az, "hf": _hf}
