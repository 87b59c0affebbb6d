"""Fixtures: a loopback Telegram and the real aiogram talking to it; a loopback GitHub, the real PyGithub and the real git."""

import asyncio
import contextlib
import os
import struct
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiogram import Bot
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import BufferedInputFile
from factory_loopback.github import GitHubServer, new_repo
from factory_loopback.telegram import LoopbackTelegram
from github import Auth, Github
from github.Repository import Repository


@pytest.fixture
async def telegram() -> AsyncIterator[LoopbackTelegram]:
    async with LoopbackTelegram(
        users=["1001=Ada@ada", "1002=Grace"],
        chats=["-1001234567890=Pilot", "-1002000000000=Open@openchat", "-77=Old group"],
        forums=["-1003000000000=Topics"],
    ) as server:
        yield server


async def close(session: AiohttpSession) -> None:
    """Without the quarter of a second that aiogram waits for TLS to end."""
    await (await session.create_session()).close()


@pytest.fixture
async def bot_for() -> AsyncIterator[Callable[..., Bot]]:
    """Makes bots for a server's URL and a token; their sessions are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(url: str, token: str) -> Bot:
            session = AiohttpSession(api=TelegramAPIServer.from_base(url))
            stack.push_async_callback(close, session)
            return Bot(token, session=session, default=DefaultBotProperties(parse_mode="HTML"))

        yield make


@pytest.fixture
async def bot(telegram: LoopbackTelegram, bot_for: Callable[..., Bot]) -> Bot:
    return bot_for(telegram.url, telegram.token)


@pytest.fixture
def mp4() -> BufferedInputFile:
    """As much of an MP4 as Telegram looks at here: its `ftyp` box."""
    return BufferedInputFile(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(2000), "demo.mp4")


@pytest.fixture
def png() -> Callable[[int, int], BufferedInputFile]:
    """A PNG's header with this width and height."""
    return lambda width, height: BufferedInputFile(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(9), "shot.png"
    )


@pytest.fixture
def jpeg() -> Callable[[int, int], BufferedInputFile]:
    """A JPEG's markers up to the frame header with this width and height."""
    return lambda width, height: BufferedInputFile(
        b"\xff\xd8\xff\xe0\0\4ab\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width) + bytes(20), "poster.jpg"
    )


# GitHub

T = TypeVar("T")
REPO = "acme/shop"
TOKENS = {
    "factory-token": "factory",
    "reviewer-token": "reviewer",
    "reader-token": "reader:read",
    "boss-token": "boss:admin",
}
GIT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    **{
        f"GIT_{role}_{what}": text
        for role in ("AUTHOR", "COMMITTER")
        for what, text in (("NAME", "F"), ("EMAIL", "f@x.y"))
    },
}


class Site:
    """A server with one repository, in a thread of its own, so that tests may block as PyGithub and git do."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._clients: list[Github] = []
        self.bare = directory / "shop.git"
        if not self.bare.exists():
            self.run(new_repo(self.bare, {"README.md": "# Shop\n", "src/app.py": "one\ntwo\nthree\nfour\nfive\n"}))
        self.server = GitHubServer({REPO: self.bare}, TOKENS, **options)
        self.run(self.server.start())

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """On the server's own loop."""
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.run(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def client(self, auth: Auth.Auth | str = "factory-token") -> Github:
        made = Github(
            base_url=self.server.api,
            auth=Auth.Token(auth) if isinstance(auth, str) else auth,
            retry=None,
            seconds_between_requests=0,
            seconds_between_writes=0,
        )
        self._clients.append(made)
        return made

    def repo(self, auth: Auth.Auth | str = "factory-token") -> Repository:
        return self.client(auth).get_repo(REPO)

    def git_url(self, token: str = "factory-token") -> str:
        return self.server.url.replace("://", f"://x-access-token:{token}@") + f"/{REPO}.git"

    def clone(self, token: str = "factory-token", name: str = "clone") -> "Clone":
        clone = Clone(self.directory / name)
        git(self.directory, "clone", "-q", self.git_url(token), name)
        return clone

    def branch(self, name: str = "feature", files: dict[str, str] | None = None, token: str = "factory-token") -> str:
        """Pushes a new branch with one commit and returns its sha."""
        clone = Clone(self.directory / "clone")
        if not clone.path.exists():
            self.clone()
        clone.git("fetch", "-q", "origin")
        clone.git("checkout", "-q", "-B", name, "origin/main")
        return clone.commit(files or {"new.txt": f"{name}\n"}, push=True)


class Clone:
    """A working tree."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str) -> str:
        return git(self.path, *arguments)

    def commit(self, files: dict[str, str], *, push: bool = False) -> str:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "-q", "-m", f"Change {', '.join(files)}")
        if push:
            self.git("push", "-q", "-u", "origin", "HEAD")
        return self.git("rev-parse", "HEAD")


def git(directory: Path, *arguments: str) -> str:
    """Raises RuntimeError with what git said."""
    done = subprocess.run(["git", *arguments], cwd=directory, env=GIT, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes sites on one directory, one after the other; they are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> Site:
            site = Site(tmp_path, **options)
            stack.callback(site.close)
            return site

        yield make


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Iterator[Site]:
    """One that its test keeps to the description: what is not as described fails it."""
    made = open_site()
    yield made
    assert made.server.problems == []
