"""Loopback servers as pytest fixtures; imports nothing heavy until one is used."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from factory_loopback.github import GitHubServer
    from factory_loopback.telegram import LoopbackTelegram


@pytest_asyncio.fixture
async def telegram_server() -> "AsyncIterator[LoopbackTelegram]":
    """A Telegram with user 1001 (Ada) and the supergroup -1001234567890 (Pilot).

    A test fails at its end when its bot called what is not built or sent what the Bot API does not describe; one that
    means to do so clears `telegram_server.violations`.
    """
    from factory_loopback.telegram import LoopbackTelegram

    async with LoopbackTelegram() as telegram:
        yield telegram
    if telegram.violations:
        pytest.fail("The Bot API was not kept to:\n  " + "\n  ".join(telegram.violations), pytrace=False)


@pytest_asyncio.fixture
async def github_server(tmp_path: Path) -> "AsyncIterator[GitHubServer]":
    """A GitHub with the repository acme/shop (one commit on main) and the tokens of factory, reviewer and reader.

    The tokens are `factory-token`, `reviewer-token` (both may write) and `reader-token`. A test fails at its end when
    its client asked for what is not there or not built, or in a way that GitHub does not describe; one that means to
    do so clears `github_server.problems`.
    """
    from factory_loopback.github import GitHubServer, new_repo

    bare = await new_repo(tmp_path / "acme-shop.git", {"README.md": "# Shop\n"})
    tokens = {"factory-token": "factory", "reviewer-token": "reviewer", "reader-token": "reader:read"}
    async with GitHubServer({"acme/shop": bare}, tokens) as github:
        yield github
    if github.problems:
        pytest.fail("GitHub's REST API was not kept to:\n  " + "\n  ".join(github.problems), pytrace=False)
