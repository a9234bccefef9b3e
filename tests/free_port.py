# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port below the range that systems hand to whoever connects: it very likely stays free."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 50):
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            return port
    raise OSError("none of 50 ports is free")
