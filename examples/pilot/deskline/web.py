"""The web server: one page for every path of the app, its scripts and styles, and where the API is."""

import argparse
import json
import mimetypes
from pathlib import Path

from deskline import serving, settings

STATIC = Path(__file__).parent / "static"


def config_script(name: str, api_url: str) -> str:
    """`/config.js`: what the page has to know and no file can say."""
    return f"window.DESK = {json.dumps({'name': name, 'api': api_url.rstrip('/')})};\n"


def static_file(path: str) -> Path | None:
    """The file that answers `path`: the page itself for the app's own paths, None where there is nothing."""
    if path == "/" or path.startswith("/tickets/"):
        return STATIC / "index.html"
    file = (STATIC / path.lstrip("/")).resolve()
    return file if file.is_file() and file.is_relative_to(STATIC.resolve()) else None


class WebServer(serving.Server):
    def __init__(self, port: int, api_url: str) -> None:
        super().__init__(port, WebHandler)
        self.config = config_script(settings.NAME, api_url)


class WebHandler(serving.Handler):
    server: WebServer

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/health":
            return self.send(200, "text/plain", b"ok\n")
        if path == "/config.js":
            return self.send(200, "text/javascript", self.server.config.encode())
        file = static_file(path)
        if file is None:
            return self.send(404, "text/plain", b"There is nothing here.\n")
        return self.send(200, mimetypes.guess_type(file.name)[0] or "application/octet-stream", file.read_bytes())

    do_HEAD = do_GET


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="deskline.web")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-url", required=True, help="where the browser finds the API")
    options = parser.parse_args()
    serving.run(WebServer(options.port, options.api_url), "web")
