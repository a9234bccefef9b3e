# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""moto's S3 server on loopback, in this process, with faults on demand; see shards.py."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

FAULTS = ("stall", "error", "half", "changed", "denied", "expired")
REFUSED = {
    "denied": ("AccessDenied", "Access Denied"),
    "expired": ("ExpiredToken", "The provided token has expired."),
}


class Server:
    """A server of S3 that answers GETs of chosen objects wrongly.

    Args:
        seconds: that a stalled answer takes.

    Attributes:
        url: of it.
        faults: end of an object's key -> (one of FAULTS, answers that it spoils).
        gets: how many objects, or parts of them, were asked for; bytes: of the answers.
    """

    def __init__(self, seconds: float = 3600) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *arguments: Any) -> None:
                """Say nothing."""

        self.faults: dict[str, tuple[str, float]] = {}
        self.seconds, self.gets, self.bytes = seconds, 0, 0
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet
        )
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environ: dict[str, Any], start: Callable) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET" or "list-type" in environ.get("QUERY_STRING", ""):
            return self._app(environ, start)
        self.gets += 1
        for end, (fault, left) in self.faults.items():
            if path.endswith(end) and left > 0:
                self.faults[end] = (fault, left - 1)
                return self._spoil(fault, environ, start)
        answer = self._app(environ, start)
        body = b"".join(answer)
        self.bytes += len(body)
        return [body]

    def _spoil(self, fault: str, environ: dict[str, Any], start: Callable) -> Iterable[bytes]:
        if fault == "stall":
            time.sleep(self.seconds)
            return self._app(environ, start)
        if fault == "error":
            start("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
        if fault in REFUSED:
            code, message = REFUSED[fault]
            text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            status = "403 Forbidden" if fault == "denied" else "400 Bad Request"
            start(status, [("Content-Length", str(len(text))), ("Content-Type", "text/xml")])
            return [text]
        head: list = []

        def keep(status: str, headers: list, *rest: Any) -> None:
            head[:] = [status, headers]

        body = b"".join(self._app(environ, keep))
        start(*head)
        if fault == "half":  # fewer bytes than the header says, then the connection ends
            return [body[: len(body) // 2]]
        middle = len(body) // 2
        return [body[:middle], bytes([body[middle] ^ 255]), body[middle + 1 :]]

    def environment(self) -> dict[str, str]:
        """What clients need."""
        return dict(
            AWS_ACCESS_KEY_ID="testing",
            AWS_SECRET_ACCESS_KEY="testing",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_ENDPOINT_URL=self.url,
            AWS_ALLOW_HTTP="true",
            S3_ENDPOINT_URL=self.url,
            AWS_EC2_METADATA_DISABLED="true",
        )

    def use(self) -> None:
        """Let clients in this process and its children find it."""
        os.environ.update(self.environment())

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
