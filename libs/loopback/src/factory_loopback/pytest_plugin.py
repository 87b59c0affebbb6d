"""Loopback servers as pytest fixtures; imports nothing heavy until one is used."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
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
