"""Updates that are delivered: to aiogram's setting of a webhook, with its secret, each until it is taken."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramConflictError
from aiogram.types import Update
from aiohttp import web
from factory_loopback.telegram import LoopbackTelegram


class Hearer:
    """A bot's own server: what it was sent, and what it answers next (200 where nothing is said)."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.secrets: list[str | None] = []
        self.answers: list[int] = []
        self.body = ""
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.heard.append(await request.json())
        self.secrets.append(request.headers.get("X-Telegram-Bot-Api-Secret-Token"))
        return web.Response(status=self.answers.pop(0) if self.answers else 200, text=self.body)

    async def has(self, number: int) -> list[Update]:
        async with asyncio.timeout(10):
            while len(self.heard) < number:
                await asyncio.sleep(0.01)
        return [Update.model_validate(update) for update in self.heard]


@pytest.fixture
async def hearer() -> AsyncIterator[Hearer]:
    hearer, app = Hearer(), web.Application()
    app.router.add_post("/hook", hearer.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hearer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield hearer
    await runner.cleanup()


async def holds(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await what():
            await asyncio.sleep(0.02)


async def test_updates_are_delivered_in_order_with_the_secret(telegram: LoopbackTelegram, bot: Bot, hearer: Hearer):
    """What waited before, and what comes; nothing is left to be asked for."""
    ada = telegram.person()
    await ada.type("before")
    assert await bot.set_webhook(hearer.url, secret_token="s3cret-1", allowed_updates=["message"])
    await ada.type("after")
    assert [u.message.text for u in await hearer.has(2) if u.message] == ["before", "after"]
    assert hearer.secrets == ["s3cret-1"] * 2

    async def taken() -> bool:
        return (await bot.get_webhook_info()).pending_update_count == 0

    await holds(taken)
    info = await bot.get_webhook_info()
    assert (info.url, info.allowed_updates, info.last_error_message) == (hearer.url, ["message"], None)
    with pytest.raises(TelegramConflictError, match="can't use getUpdates method while webhook is active"):
        await bot.get_updates()
    assert await bot.delete_webhook()
    assert (await bot.get_webhook_info()).url == ""
    assert await bot.get_updates() == []
    assert telegram.violations == []


async def test_a_refused_update_comes_again_and_holds_up_the_next(telegram: LoopbackTelegram, bot: Bot, hearer: Hearer):
    """Until it is answered with 2xx; getWebhookInfo says what was wrong."""
    hearer.answers = [500, 302, 204]
    await bot.set_webhook(hearer.url)
    ada = telegram.person()
    await ada.type("one")
    await ada.type("two")
    heard = await hearer.has(4)
    assert [u.message.text for u in heard if u.message] == ["one", "one", "one", "two"]
    assert len({u.update_id for u in heard}) == 2
    info = await bot.get_webhook_info()
    assert info.last_error_message == "Wrong response from the webhook: 302 Found" and info.last_error_date


async def test_nobody_listens(telegram: LoopbackTelegram, bot: Bot, hearer: Hearer):
    """The update waits, and goes to the next webhook that is set; dropped updates are dropped."""
    await bot.set_webhook("http://127.0.0.1:9/hook")
    await telegram.person().type("anybody?")

    async def said() -> bool:
        return "Connection failed" in ((await bot.get_webhook_info()).last_error_message or "")

    await holds(said)
    assert (await bot.get_webhook_info()).pending_update_count == 1
    await bot.set_webhook(hearer.url)
    assert [u.message.text for u in await hearer.has(1) if u.message] == ["anybody?"]
    await bot.set_webhook("http://127.0.0.1:9/hook")
    await telegram.person().type("again")
    await bot.delete_webhook(drop_pending_updates=True)
    assert await bot.get_updates() == []


async def test_a_poll_under_way_ends(telegram: LoopbackTelegram, bot: Bot, hearer: Hearer):
    """409, as for a second poller."""
    polling = asyncio.create_task(bot.get_updates(timeout=20))
    await asyncio.sleep(0.1)
    await bot.set_webhook(hearer.url)
    with pytest.raises(TelegramConflictError):
        await asyncio.wait_for(polling, 5)


async def test_it_is_set_again_after_a_restart(tmp_path, bot_for, hearer: Hearer):
    """With a directory the webhook, its secret and what waits are found again."""
    async with LoopbackTelegram(data=tmp_path) as telegram:
        await bot_for(telegram.url, telegram.token).set_webhook("http://127.0.0.1:9/hook", secret_token="kept")
        await telegram.person().type("still there")
    async with LoopbackTelegram(data=tmp_path) as telegram:
        bot = bot_for(telegram.url, telegram.token)
        info = await bot.get_webhook_info()
        assert (info.url, info.pending_update_count) == ("http://127.0.0.1:9/hook", 1)
        await bot.set_webhook(hearer.url, secret_token="new")
        await hearer.has(1)
    assert hearer.secrets == ["new"]


@pytest.mark.parametrize(
    ("url", "secret", "why"),
    [
        ("http://example.org/hook", "", "An HTTPS URL must be provided for webhook"),
        ("https://example.org:9000/hook", "", "Webhook can be set up only on ports 80, 88, 443 or 8443"),
        ("https://example.org:x/hook", "", "invalid webhook URL specified"),
        ("http://127.0.0.1/hook", "no spaces", "secret token contains unallowed characters"),
    ],
)
async def test_a_webhook_that_is_refused(telegram: LoopbackTelegram, bot: Bot, url: str, secret: str, why: str):
    """With Telegram's words, and nothing is set."""
    with pytest.raises(TelegramBadRequest, match=why):
        await bot.set_webhook(url, secret_token=secret)
    assert (await bot.get_webhook_info()).url == ""


async def test_an_answer_that_is_a_call(telegram: LoopbackTelegram, bot: Bot, hearer: Hearer):
    """Telegram would carry it out; here it is a violation, and never passed over in silence."""
    hearer.body = '{"method": "sendMessage", "chat_id": 1001, "text": "x"}'
    await bot.set_webhook(hearer.url)
    await telegram.person().type("hello")
    await hearer.has(1)

    async def said() -> bool:
        return telegram.violations == ["a method in the answer of a webhook is not built"]

    await holds(said)
    telegram.violations.clear()
