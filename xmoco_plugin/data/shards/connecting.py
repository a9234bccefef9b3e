# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""fsspec's files for each kind of bucket, with an end to waiting for a server."""

import logging
import os
from collections.abc import Callable
from functools import partial
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
    import huggingface_hub.utils._http as http

    _end_waiting(http)
    # Said anew: the library looks at its environment once, when it is imported.
    server = os.environ.get("HF_ENDPOINT") or None
    return fsspec.filesystem("hf", skip_instance_cache=True, endpoint=server)


def _end_waiting(http: Any) -> None:
    """An end to each request of huggingface_hub that has none; its user's own client stays in use.

    It lists a folder and says with the request that it waits for ever: what its client says does
    not count. It makes that client anew after a fork and a fault, and this keeps what makes it.
    """
    for name, to_set in (
        ("_GLOBAL_CLIENT_FACTORY", "set_client_factory"),  # from 1.0, with httpx
        ("_GLOBAL_BACKEND_FACTORY", "configure_http_backend"),  # with requests
    ):
        make = getattr(http, name, None)
        if make is not None:
            if getattr(make, "func", None) is not _ending:
                getattr(http, to_set)(partial(_ending, make))
            return
    raise ShardError(
        "hf:// needs a huggingface_hub whose requests can be given an end, which this one is not: "
        "pip install 'huggingface_hub<3'."
    )


def _ending(make: Callable[[], Any]) -> Any:
    """A client whose requests all end."""
    client = make()
    if hasattr(client, "event_hooks"):
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "request": [*hooks["request"], _limit]}
    else:
        client.send = partial(_send, client.send)
    return client


def _limit(request: Any) -> None:
    """Of httpx: seconds to each part of it that has none."""
    given = request.extensions.get("timeout") or {}
    ours = dict(connect=CONNECT, read=SILENCE, write=SILENCE)
    taken = {part: given.get(part) or seconds for part, seconds in ours.items()}
    request.extensions = {**request.extensions, "timeout": {**given, **taken}}


def _send(send: Callable[..., Any], request: Any, **ways: Any) -> Any:
    """Of requests: the same."""
    return send(request, **{**ways, "timeout": ways.get("timeout") or (CONNECT, SILENCE)})


WAYS: dict[str, Callable[[str], Any]] = {"s3": _s3, "gs": _gs, "az": _az, "hf": _hf}
