# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""On the path of a test's command: no other machine is reached, and each try is noted."""

import os
import socket
import sys

NOTES = "XMOCO_TEST_CONNECTS"  # the file


def listen(event: str, arguments: tuple) -> None:
    """Refuses what asks for a name, or for a machine that is not this one."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "localhost"
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", socket.gethostname(), "::1") or host.startswith("127."):
        return
    if NOTES in os.environ:
        with open(os.environ[NOTES], "a") as notes:
            notes.write(f"{event} {host} of {sys.argv}\n")
    raise OSError(f"a test has no network: {event} {host}")


sys.addaudithook(listen)
