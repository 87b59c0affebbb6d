"""`python -m factory_loopback.github`: the loopback GitHub as a process of its own.

Prints one JSON line when it listens: `{"url", "api"}`; `url/owner/name.git` is git's, `api` is PyGithub's base_url.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from factory_loopback.errors import BadSetup, LoopbackError

from .server import GitHubServer


def main(argv: list[str] | None = None) -> int:
    try:
        return asyncio.run(serve(parsed(sys.argv[1:] if argv is None else argv)))
    except (LoopbackError, OSError) as error:
        print(f"loopback github: {error}", file=sys.stderr)  # noqa: T201 - a command's last word
        return 2


def parsed(argv: list[str]) -> argparse.Namespace:
    about = {"prog": "python -m factory_loopback.github", "description": __doc__}
    parser = argparse.ArgumentParser(**about, fromfile_prefix_chars="@", epilog="@FILE: more of these, one a line.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--data", type=Path, help="directory that keeps everything but git over a restart")
    parser.add_argument("--repo", action="append", default=[], metavar="OWNER/NAME=DIRECTORY", help="a bare repository")
    parser.add_argument("--token", action="append", default=[], metavar="TOKEN=LOGIN[:PERMISSION]")
    parser.add_argument("--user", action="append", default=[], metavar="LOGIN[:PERMISSION]", help="without a token")
    parser.add_argument("--app", action="append", default=[], metavar="ID=PUBLIC_KEY_FILE:LOGIN")
    parser.add_argument("--webhook", metavar="URL", help="hears of everything that happens")
    parser.add_argument("--webhook-secret", default="", metavar="SECRET")
    parser.add_argument("--spec", type=Path, metavar="FILE", help="GitHub's OpenAPI document, to check against")
    return parser.parse_args(argv)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise BadSetup(f"{text!r} is not NAME=VALUE.")
    return name, value


async def serve(options: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    github = GitHubServer(
        {name: Path(path) for name, path in map(_pair, options.repo)},
        dict(map(_pair, options.token)),
        users=options.user,
        apps=options.app,
        host=options.host,
        port=options.port,
        data=options.data,
        spec=options.spec,
    )
    if options.webhook:
        github.add_hook(options.webhook, options.webhook_secret)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with github:
        print(json.dumps({"url": github.url, "api": github.api}), flush=True)  # noqa: T201 - what a parent waits for
        await stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
