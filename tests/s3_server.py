"""An S3-compatible server on loopback whose requests take a while longer: moto's, in a process of its own.

As a program it takes the delay in seconds, prints its port and serves until its input ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUCKET = "bars"
# No other machine is ever meant, so these open nothing.
KEYS = {"AWS_ACCESS_KEY_ID": "loopback-key", "AWS_SECRET_ACCESS_KEY": "loopback-secret-word"}


@dataclass(frozen=True)
class Server:
    """One that runs. environment : what a client needs to find it."""

    endpoint: str
    environment: dict[str, str]

    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")

    def requests(self) -> list[str]:
        """What it was asked since the last time, as "GET /bucket/key"."""
        import urllib.request

        with urllib.request.urlopen(f"{self.endpoint}/-/requests") as answer:
            return str(answer.read().decode()).splitlines()

    def upload(self, folder: Path, prefix: str) -> str:
        """Copy a store there, the manifest last; gives its URL."""
        client = self.client()
        files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
        for file in sorted(files, key=lambda one: one.name == "manifest.json"):
            client.upload_file(str(file), BUCKET, f"{prefix}/{file.relative_to(folder).as_posix()}")
        self.requests()
        return f"s3://{BUCKET}/{prefix}"


@contextmanager
def serving(delay_s: float) -> Iterator[Server]:
    """A server with an empty bucket; in this process the environment names it."""
    with subprocess.Popen(
        [sys.executable, __file__, str(delay_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        environment = {
            **KEYS,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            server = Server(endpoint, environment)
            server.client().create_bucket(Bucket=BUCKET)
            yield server
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
            process.stdin.close()
            process.wait(30)


def _serve(delay_s: float) -> None:
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)
    seen: list[str] = []

    def slow(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/-/requests":
            said = "\n".join(seen)
            seen.clear()
            start("200 OK", [("Content-Type", "text/plain")])
            return [said.encode()]
        seen.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        time.sleep(delay_s)
        return app(environ, start)

    server = make_server("127.0.0.1", 0, slow, threaded=True)
    print(server.server_port, flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
