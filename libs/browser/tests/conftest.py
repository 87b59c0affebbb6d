"""A small real web app to look at, and ways to it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

Answer = tuple[int, dict[str, str], str]


@dataclass
class Asked:
    """A request as an answerer sees it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str


@dataclass
class Site:
    """A server on loopback whose pages are functions, by path."""

    pages: dict[str, Callable[[Asked], Answer | str]]
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[dict[str, Callable[[Asked], Answer | str]]], Site]]:
    """Starts a site; all of them end with the tests."""
    servers: list[ThreadingHTTPServer] = []

    def start(pages: dict[str, Callable[[Asked], Answer | str]]) -> Site:
        site = Site(pages)

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                path, _, query = self.path.partition("?")
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode(errors="replace")
                asked = Asked(self.command, path, query, {k.lower(): v for k, v in self.headers.items()}, body)
                site.asked.append(asked)
                found = site.pages.get(path, lambda _: (404, {}, "nothing here"))(asked)
                status, headers, text = (200, {}, found) if isinstance(found, str) else found
                content = text.encode()
                self.send_response(status)
                for name, value in {"content-type": "text/html", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_OPTIONS = _answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        site.port = server.server_port
        return site

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
