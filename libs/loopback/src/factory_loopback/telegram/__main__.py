"""`python -m factory_loopback.telegram`: the loopback Telegram as a process of its own.

Prints one JSON line when it listens: `{"url", "token", "chats": [{"id", "title", "page"}], "users": [{"id", "name"}]}`.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from factory_loopback.errors import LoopbackError

from .server import CHATS, TOKEN, USERS, LoopbackTelegram


def main(argv: list[str] | None = None) -> int:
    try:
        return asyncio.run(serve(parsed(sys.argv[1:] if argv is None else argv)))
    except (LoopbackError, OSError) as error:
        print(f"loopback telegram: {error}", file=sys.stderr)  # noqa: T201 - a command's last word
        return 2


def parsed(argv: list[str]) -> argparse.Namespace:
    about = {"prog": "python -m factory_loopback.telegram", "description": __doc__}
    parser = argparse.ArgumentParser(**about, fromfile_prefix_chars="@", epilog="@FILE: more of these, one a line.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--token", default=TOKEN, help="the bot's token, NUMBER:SECRET")
    parser.add_argument("--bot", default="Factory", metavar="NAME", help="the bot's name in the chat")
    parser.add_argument("--user", action="append", metavar="ID=NAME[@USERNAME]", help=f"default: {USERS[0]}")
    parser.add_argument("--chat", action="append", metavar="ID=TITLE[@USERNAME]", help=f"default: {CHATS[0]}")
    parser.add_argument(
        "--forum", action="append", default=[], metavar="ID=TITLE[@USERNAME]", help="a chat with topics"
    )
    parser.add_argument("--data", type=Path, help="directory that keeps the chats over a restart")
    return parser.parse_args(list(_with_negative_ids(argv)))


def _with_negative_ids(argv: list[str]) -> Iterator[str]:
    """`--chat -1001=Pilot` as `--chat=-1001=Pilot`: argparse takes an id of a group for an option."""
    words = iter(argv)
    for word in words:
        value = next(words, None) if word in ("--chat", "--forum") else None
        yield word if value is None else f"{word}={value}"


async def serve(options: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    users, chats = options.user or USERS, options.chat or CHATS
    telegram = LoopbackTelegram(
        options.token,
        users=users,
        chats=chats,
        forums=options.forum,
        host=options.host,
        port=options.port,
        data=options.data,
        bot_name=options.bot,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with telegram:
        ready = {
            "url": telegram.url,
            "token": telegram.token,
            "chats": [
                {"id": c.id, "title": c.title, "page": telegram.page(c.id)} for c in telegram.chats.chats.values()
            ],
            "users": [{"id": user_id, "name": user["first_name"]} for user_id, user in telegram.chats.users.items()],
        }
        print(json.dumps(ready), flush=True)  # noqa: T201 - the line that a parent process waits for
        await stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
