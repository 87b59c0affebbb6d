"""Faults on demand: what a test asks for happens to the next calls, and to these only."""

import time
from types import SimpleNamespace

import aiohttp
import pytest
from aiogram import Bot
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from factory_loopback.telegram import LoopbackTelegram, faults

PILOT = -1001234567890


async def test_too_many_requests(telegram: LoopbackTelegram, bot: Bot):
    """429 with retry_after, twice, and nothing is sent; then the call goes through."""
    telegram.fault("sendMessage", 429, retry_after=7, times=2)

    for _ in range(2):
        with pytest.raises(TelegramRetryAfter) as refused:
            await bot.send_message(PILOT, "x")
        assert refused.value.retry_after == 7
    await bot.send_message(PILOT, "y")

    assert [m.text for m in await telegram.person().read()] == ["y"]
    assert [(call.status, call.args["text"]) for call in telegram.calls("sendMessage")] == [
        (429, "x"),
        (429, "x"),
        (200, "y"),
    ]


async def test_a_fault_that_lasts(telegram: LoopbackTelegram, bot: Bot, monkeypatch: pytest.MonkeyPatch):
    """429 for a minute, however often it is called: each answer says what is left of it, and then it is over."""
    clock = [1000.0]
    monkeypatch.setattr(faults, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    telegram.fault("*", 429, lasts=60)
    for passed, left in ((0, 60), (12.5, 48), (47, 1)):
        clock[0] += passed
        with pytest.raises(TelegramRetryAfter) as refused:
            await bot.send_message(PILOT, "x")
        assert refused.value.retry_after == left
    clock[0] += 1
    await bot.send_message(PILOT, "y")
    assert [m.text for m in await telegram.person().read()] == ["y"]


async def test_a_fault_meets_its_method_and_its_chat_only(telegram: LoopbackTelegram, bot: Bot):
    """A bot that is blocked in one chat works in the others."""
    telegram.fault("sendMessage", 403, chat_id=PILOT, times=None)

    await bot.get_me()
    await bot.send_message(1001, "x")
    for _ in range(3):
        with pytest.raises(TelegramForbiddenError, match="bot was blocked by the user"):
            await bot.send_message(PILOT, "x")

    assert len(telegram.calls(chat_id=1001)) == 1


async def test_a_server_error_comes_with_or_without_the_effect(telegram: LoopbackTelegram, bot: Bot):
    """502 before the act shows nothing; after it the message is there although the bot sees an error."""
    telegram.fault("sendMessage", 502)
    with pytest.raises(TelegramServerError, match="Bad Gateway"):
        await bot.send_message(PILOT, "before")
    telegram.fault("sendMessage", 502, acts=True)
    with pytest.raises(TelegramServerError):
        await bot.send_message(PILOT, "after")

    assert [m.text for m in await telegram.person().read()] == ["after"]


async def test_a_connection_that_breaks_and_a_page_of_a_proxy(telegram: LoopbackTelegram, bot: Bot):
    """No answer at all, and an answer that is no JSON: what a network between can do."""
    telegram.fault("sendMessage", drop=True, acts=True)
    with pytest.raises(TelegramNetworkError):
        await bot.send_message(PILOT, "broken")
    telegram.fault("sendMessage", 502, html=True)
    with pytest.raises(ClientDecodeError):
        await bot.send_message(PILOT, "page")

    assert [m.text for m in await telegram.person().read()] == ["broken"]
    assert [call.status for call in telegram.calls()] == [0, 502]


async def test_a_slow_answer_is_slow(telegram: LoopbackTelegram, bot: Bot):
    """The log knows how long each call took."""
    telegram.fault("getMe", 500, delay=0.3)
    started = time.monotonic()

    with pytest.raises(TelegramServerError):
        await bot.get_me()

    assert time.monotonic() - started >= 0.3
    assert telegram.calls("getMe")[0].seconds >= 0.3


async def test_faults_and_the_log_over_http(telegram: LoopbackTelegram, bot: Bot):
    """A test in another process has the same hands."""
    async with aiohttp.ClientSession() as session:
        admin = f"{telegram.url}/admin"
        await session.post(f"{admin}/faults", json={"method": "getMe", "status": 429, "retry_after": 3})
        with pytest.raises(TelegramRetryAfter):
            await bot.get_me()
        await bot.get_me()
        calls = await (await session.get(f"{admin}/calls?method=getMe")).json()
        wrong = await session.post(f"{admin}/faults", json={"methd": "getMe"})
        await session.post(f"{admin}/faults", json={"times": None})
        await session.delete(f"{admin}/faults")
        violations = await (await session.get(f"{admin}/violations")).json()
    await bot.get_me()

    assert [call["status"] for call in calls] == [429, 200]
    assert (wrong.status, violations) == (400, [])
