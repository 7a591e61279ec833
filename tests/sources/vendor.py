"""What every stand-in of a vendor needs: real bars, an HTTP server on 127.0.0.1, its requests counted."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pandas as pd
import pytest

__all__ = ["SHARED", "Reply", "Request", "Vendor", "real_bars"]

SHARED = Path(os.environ.get("LAZYBARS_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"


def real_bars(name: str) -> pd.DataFrame:
    """Real bars of ``../shared/data``, indexed by their UTC start; skips, or fails in CI, without them."""
    path = SHARED / f"{name}.parquet"
    if not path.exists():
        missing = f"no real bars: {path} is missing"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return pd.read_parquet(path).set_index("timestamp").sort_index()


@dataclass(frozen=True)
class Request:
    """One request: its path, its parameters, and the headers it came with."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """What the vendor answers: a status, and a JSON document or its bytes.

    sent : the connection is lost after so many bytes of it.
    """

    body: Any
    status: int = 200
    sent: int | None = None


@dataclass
class Vendor:
    """A vendor's HTTP service.

    answer : what it answers; called in a thread of the server.
    requests : all so far, in the order of their coming.
    """

    answer: Callable[[Request], Reply]
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def asked_since(self, before: int) -> list[str]:
        """The paths of the requests after the first so many."""
        return [request.path for request in self.requests[before:]]

    @contextmanager
    def serving(self) -> Iterator[Vendor]:
        """Serve on a free port of 127.0.0.1; ended with the block."""
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # a reply waits 40 ms for its acknowledgement otherwise

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                self._reply(Request(parts.path, dict(parse_qsl(parts.query)), dict(self.headers.items())))

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._reply(Request(self.path, dict(parse_qsl(form)), dict(self.headers.items())))

            def _reply(self, request: Request) -> None:
                vendor.requests.append(request)
                reply = vendor.answer(request)
                made = isinstance(reply.body, bytes)
                body = reply.body if made else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                self.send_header("Content-Type", "application/octet-stream" if made else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: reply.sent])
                self.close_connection = reply.sent is not None

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="vendor", daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
