"""Fixtures of the loopback Telegram's tests: a server, the real aiogram talking to it, files to send."""

import contextlib
import struct
from collections.abc import AsyncIterator, Callable

import pytest
from aiogram import Bot
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import BufferedInputFile
from factory_loopback.telegram import LoopbackTelegram


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
