"""Notes: one page on which a small team leaves each other lines, kept in one JSON file."""

import html
import json
import os
import signal
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

FILE = Path(os.environ.get("NOTES_FILE", "notes.json"))
LIMIT = 500
PAGE = (Path(__file__).parent / "page.html").read_text()
writing = threading.Lock()


def read(file: Path) -> list[str]:
    """The notes, the newest first."""
    return json.loads(file.read_text()) if file.exists() else []


def add(file: Path, text: str) -> None:
    """Puts a note on top. Raises ValueError where it is empty or too long."""
    text = text.strip()
    if not text or len(text) > LIMIT:
        raise ValueError(f"A note has 1 to {LIMIT} characters.")
    with writing:
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps([text, *read(file)], ensure_ascii=False, indent=1))
        fresh.replace(file)  # in one move: a reader sees the old list or the new one


def render(notes: list[str], problem: str = "") -> str:
    items = "\n".join(f"<li>{html.escape(note)}</li>" for note in notes)
    alert = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    return PAGE.replace("<!-- problem -->", alert).replace("<!-- notes -->", items)


def app(environ: dict, start_response: Callable) -> Iterable[bytes]:
    """The WSGI application: the page, its form, and `/health`."""
    match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
        case "GET", "/health":
            return _answer(start_response, "200 OK", "ok\n", "text/plain")
        case "GET", "/":
            return _answer(start_response, "200 OK", render(read(FILE)))
        case "POST", "/":
            length = min(int(environ.get("CONTENT_LENGTH") or 0), 64 * 1024)
            form = urllib.parse.parse_qs(environ["wsgi.input"].read(length).decode(errors="replace"))
            try:
                add(FILE, form.get("note", [""])[0])
            except ValueError as error:
                return _answer(start_response, "400 Bad Request", render(read(FILE), str(error)))
            start_response("303 See Other", [("Location", "/"), ("Content-Length", "0")])
            return []
    return _answer(start_response, "404 Not Found", "There is nothing here.\n", "text/plain")


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection: browsers open some that they never use."""

    daemon_threads = True


def _answer(start_response: Callable, status: str, body: str, kind: str = "text/html") -> list[bytes]:
    data = body.encode()
    start_response(status, [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(data)))])
    return [data]


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with make_server("127.0.0.1", int(os.environ["PORT"]), app, Server) as server:
        print(f"notes on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
