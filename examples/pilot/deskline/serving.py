"""Serving HTTP on this machine until a signal says stop; the same for the page and the API."""

import http.server
import signal
import sys


class Server(http.server.ThreadingHTTPServer):
    """Listens on 127.0.0.1; port 0 takes a free one."""

    def __init__(self, port: int, handler: type["Handler"]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.port = self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # that is a browser that went away
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    def send(self, status: int, content_type: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if self.path != "/health":  # asked every second or so
            super().log_request(code, size)


def run(server: Server, name: str) -> None:
    """Serves until SIGTERM or Ctrl-C, then returns at once; open connections are dropped."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    print(f"{name} listens on http://127.0.0.1:{server.port}", flush=True)
    with server:
        server.serve_forever()
