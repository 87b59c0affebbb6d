"""`/health` and `/metrics`, answered from another thread than the loop: a starved loop cannot say that it is well."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from . import metrics

log = structlog.get_logger()

STALLED = 5.0  # seconds without a beat of the loop


class Health:
    """What the loop last said of itself. `beat()` from the loop; `set(name, ok)` for each thing it depends on."""

    def __init__(self, service: str, port: int, host: str = "127.0.0.1") -> None:
        self.service = service
        self._beat = time.monotonic()
        self._checks: dict[str, bool] = {}
        self.details: Callable[[], dict[str, Any]] = dict
        self._server = ThreadingHTTPServer((host, port), self._handler())
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def beat(self) -> None:
        self._beat = time.monotonic()

    def set(self, name: str, ok: bool) -> None:
        """Says in the log when it changes."""
        if self._checks.get(name, True) != ok:
            log.info("is back", what=name) if ok else log.warning("went away", what=name)
        self._checks[name] = ok

    def report(self) -> dict[str, Any]:
        lag = time.monotonic() - self._beat
        checks = dict(self._checks)
        state = "stalled" if lag > STALLED else "ok" if checks and all(checks.values()) else "degraded"
        return {"service": self.service, "state": state, "loop_lag": round(lag, 2), "checks": checks, **self.details()}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                report = health.report()
                if self.path == "/health":
                    self._answer(
                        200 if report["state"] == "ok" else 503, "application/json", json.dumps(report).encode()
                    )
                elif self.path == "/metrics":
                    text = metrics.text(report["loop_lag"], report["checks"])
                    self._answer(200, metrics.CONTENT_TYPE, text)
                else:
                    self.send_error(404)

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                try:
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:
                    pass  # whoever asked has not waited: on a busy machine a check gives up after some seconds

            def log_message(self, format: str, *args: object) -> None:
                """Health checks are not news."""

        return Handler
