"""The bot's queue of updates: long poll, confirmation by offset, one poller at a time."""

import asyncio
import time

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramConflictError
from aiogram.types import ReactionTypeEmoji
from factory_loopback.telegram import LoopbackTelegram


async def texts(bot: Bot, **how) -> list[str]:
    return [update.message.text or "" for update in await bot.get_updates(**how) if update.message]


async def test_an_update_stays_until_an_offset_confirms_it(telegram: LoopbackTelegram, bot: Bot):
    """Polled twice it comes twice; the next offset forgets it, and all before it."""
    ada = telegram.person()
    for text in ("one", "two", "three"):
        await ada.type(text)

    assert await texts(bot) == await texts(bot) == ["one", "two", "three"]
    [first, second] = await bot.get_updates(limit=2)
    assert second.update_id == first.update_id + 1
    assert await texts(bot, offset=second.update_id + 1) == ["three"]
    assert await texts(bot) == ["three"]
    assert await texts(bot, offset=-1) == ["three"]


async def test_a_negative_offset_keeps_the_last_ones_only(telegram: LoopbackTelegram, bot: Bot):
    """-2 of three: the first is forgotten."""
    for text in ("one", "two", "three"):
        await telegram.person().type(text)

    assert await texts(bot, offset=-2) == ["two", "three"]
    assert await texts(bot) == ["two", "three"]


async def test_a_long_poll_ends_with_the_first_update(telegram: LoopbackTelegram, bot: Bot):
    """It waits without an answer, and answers as soon as somebody types."""
    poll = asyncio.create_task(texts(bot, timeout=30))
    await asyncio.sleep(0.2)
    assert not poll.done()

    await telegram.person().type("hello")

    assert await asyncio.wait_for(poll, 5) == ["hello"]


async def test_a_long_poll_with_nothing_to_say_ends_in_time(bot: Bot):
    """An empty answer after `timeout` seconds, not before."""
    started = time.monotonic()

    assert await bot.get_updates(timeout=1) == []

    assert 0.9 < time.monotonic() - started < 5


async def test_of_two_pollers_the_older_is_in_conflict(telegram: LoopbackTelegram, bot: Bot):
    """409 for the poll that waits, as Telegram does; the newer gets the update."""
    older = asyncio.create_task(texts(bot, timeout=30))
    while not telegram.calls("getUpdates"):
        await asyncio.sleep(0.01)
    newer = asyncio.create_task(texts(bot, timeout=30))

    with pytest.raises(TelegramConflictError, match="terminated by other getUpdates request"):
        await asyncio.wait_for(older, 5)
    await telegram.person().type("hello")

    assert await asyncio.wait_for(newer, 5) == ["hello"]
    assert [call.status for call in telegram.calls("getUpdates")] == [409, 200]


async def test_allowed_updates_are_remembered(telegram: LoopbackTelegram, bot: Bot):
    """What is not asked for is never queued; a poll that names nothing keeps the last choice."""
    ada = telegram.person()
    await bot.get_updates(allowed_updates=["edited_message"])
    message_id = await ada.type("one")
    await ada.edit(message_id, "two")

    updates = await bot.get_updates()

    assert [(u.event_type, u.edited_message and u.edited_message.text) for u in updates] == [("edited_message", "two")]


async def test_drop_pending_updates(telegram: LoopbackTelegram, bot: Bot):
    """deleteWebhook forgets what waits only where it is told to."""
    await telegram.person().type("one")
    await bot.delete_webhook()
    assert await texts(bot) == ["one"]

    await bot.delete_webhook(drop_pending_updates=True)

    assert await texts(bot) == []


async def test_own_messages_and_reactions_of_the_bot_are_no_updates(telegram: LoopbackTelegram, bot: Bot):
    """A bot does not hear itself."""
    message_id = await telegram.person().type("one")
    await bot.send_message(telegram.person().chat_id, "two")
    await bot.set_message_reaction(telegram.person().chat_id, message_id, [ReactionTypeEmoji(emoji="👀")])

    assert await texts(bot) == ["one"]


async def test_a_poll_that_waits_does_not_hold_the_server_up():
    """Stopping ends the poll; the suite does not wait for its time-out."""
    from factory_loopback.telegram import RemotePerson

    telegram = LoopbackTelegram()
    await telegram.start()
    async with RemotePerson(telegram.url, -1001234567890, 1001) as ada:
        look = asyncio.create_task(ada.wait_for(lambda message: False, 30))
        await asyncio.sleep(0.2)
        started = time.monotonic()
        await telegram.stop()
        assert time.monotonic() - started < 5
        look.cancel()
        with pytest.raises((asyncio.CancelledError, OSError)):
            await look
