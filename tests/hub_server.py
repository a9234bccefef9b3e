# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""As much of a hub of data sets as reading a folder of one takes, on loopback, with faults."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPO, COMMIT = "user/set", "0" * 40


class Hub:
    """Serves one folder as the data set ``user/set``, by the answers that huggingface_hub asks for.

    Attributes:
        url: Of it.
        faults: End of a file's name -> (one of error, half, denied; answers that it spoils).
        asked: How often each kind of request came.
        token: That requests must bear, if any.
        silent: What the path of a request has that gets no answer for 8 seconds.
    """

    def __init__(self, folder: Path) -> None:
        hub = self
        self.folder, self.token, self.silent = folder, "", ""
        self._ended = threading.Event()
        self.faults: dict[str, tuple[str, float]] = {}
        self.asked: Counter = Counter()

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                """Says nothing."""

            def do_GET(self) -> None:
                hub._get(self, unquote(urlsplit(self.path).path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hub._post(self, unquote(urlsplit(self.path).path), body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Ends it."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _get(self, to: BaseHTTPRequestHandler, path: str) -> None:
        if self.token and to.headers.get("Authorization") != f"Bearer {self.token}":
            return _answer(to, 401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if self.silent and self.silent in path:
            self.asked["silent"] += 1
            to.close_connection = self._ended.wait(8) or True
            return None
        api, files = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/"
        if path.startswith(f"{api}/tree/"):
            self.asked["tree"] += 1
            name = path.removeprefix(f"{api}/tree/").partition("/")[2]
            if not (self.folder / name).is_dir():
                return _answer(to, 404, b"{}", {"X-Error-Code": "EntryNotFound"})
            rows = [self._row(child) for child in sorted((self.folder / name).iterdir())]
            return _answer(to, 200, json.dumps(rows).encode())
        if path == api or path.startswith(f"{api}/revision/"):
            self.asked["repository"] += 1
            if path.rpartition("/")[2] == "other":
                return _answer(to, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return _answer(to, 200, json.dumps(dict(id=REPO, sha=COMMIT)).encode())
        if path.startswith(files):
            self.asked["file"] += 1
            return self._file(to, path.removeprefix(files).partition("/")[2])
        return _answer(to, 404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _post(self, to: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        self.asked["paths"] += 1
        names = json.loads(body)["paths"]
        rows = [self._row(self.folder / n) for n in names if (self.folder / n).exists()]
        _answer(to, 200, json.dumps(rows).encode())

    def _file(self, to: BaseHTTPRequestHandler, name: str) -> None:
        content, fault = (self.folder / name).read_bytes(), ""
        for end, (kind, left) in self.faults.items():
            if name.endswith(end) and left > 0:
                self.faults[end], fault = (kind, left - 1), kind
        head, status = {"X-Repo-Commit": COMMIT}, 200
        if fault == "denied":
            content, head, status = b"{}", {"X-Error-Code": "GatedRepo"}, 403
        elif fault == "error":
            content, status = b"", 503
        elif asked := to.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            end = min(int(last), len(content) - 1)
            head["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
            content, status = content[int(first) : end + 1], 206
        _answer(to, status, content, head, half=fault == "half")

    def _row(self, path: Path) -> dict:
        name = path.relative_to(self.folder).as_posix()
        if path.is_dir():
            return dict(type="directory", path=name, oid="0" * 40, size=0)
        return dict(type="file", path=name, oid="0" * 40, size=path.stat().st_size)


def _answer(
    to: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    head: dict[str, str] | None = None,
    half: bool = False,
) -> None:
    to.send_response(status)
    for key, value in {"Content-Length": str(len(body)), **(head or {})}.items():
        to.send_header(key, value)
    to.end_headers()
    to.wfile.write(body[: len(body) // 2] if half else body)
    to.close_connection = half
