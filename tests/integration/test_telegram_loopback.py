"""The factory's bot against the loopback Telegram: paced, patient, and careful with what it repeats."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator

import pytest
from aiogram import Bot
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramServerError,
)
from aiogram.types import BufferedInputFile, ReactionTypeEmoji
from factory_loopback.telegram import LoopbackTelegram
from factory_telegram.bot import make_bot
from factory_telegram.links import message_link
from factory_telegram.pacing import Limits

PILOT = -1001234567890
QUICK = Limits(chat=(1000, 1.0), group=(1000, 1.0), overall=(1000, 1.0), backoff=0.05)


@pytest.fixture
async def telegram() -> AsyncIterator[LoopbackTelegram]:
    """Fails the test whose bot did not keep to the Bot API."""
    async with LoopbackTelegram() as server:
        yield server
    assert server.violations == []


@pytest.fixture
async def bot(telegram: LoopbackTelegram) -> AsyncIterator[Bot]:
    async with make_bot(telegram.token, telegram.url, limits=QUICK) as bot:
        yield bot


async def test_five_messages_at_once_leave_at_a_chats_pace(telegram: LoopbackTelegram):
    """With the limits of production: three at once, the others three seconds later."""
    started = time.time()
    async with make_bot(telegram.token, telegram.url) as bot:
        await asyncio.gather(*(bot.send_message(PILOT, str(n)) for n in range(5)))

    calls = telegram.calls("sendMessage")
    assert sorted(call.args["text"] for call in calls) == ["0", "1", "2", "3", "4"]
    assert all(call.at - started >= 3.0 for call in calls[3:])


async def test_retry_after_is_honoured(telegram: LoopbackTelegram, bot: Bot):
    """Two 429s and the message arrives once, no sooner than Telegram asked; callers see nothing of it."""
    telegram.fault("sendMessage", 429, retry_after=1, times=2)

    await bot.send_message(PILOT, "patience")

    calls = telegram.calls("sendMessage")
    assert [call.status for call in calls] == [429, 429, 200]
    assert all(later.at - earlier.at >= 0.95 for earlier, later in itertools.pairwise(calls))
    assert [message.text for message in await telegram.person().read()] == ["patience"]


@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 502, "html": True}, {"drop": True}])
async def test_edits_and_polls_get_over_a_bad_gateway(telegram: LoopbackTelegram, bot: Bot, fault: dict):
    """Even where the edit was carried out before the answer got lost: the repeat finds it not modified."""
    sent = await bot.send_message(PILOT, "working")
    telegram.fault("editMessageText", acts=True, **fault)
    telegram.fault("getUpdates", times=2, **fault)

    assert await bot.edit_message_text("done", chat_id=PILOT, message_id=sent.message_id)
    await telegram.person().type("thanks")
    [update] = await bot.get_updates()

    assert update.message and update.message.text == "thanks"
    assert [message.text for message in await telegram.person().read()] == ["done", "thanks"]
    assert len((await telegram.person().read())[0].edited_at) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 502}, TelegramServerError),
        ({"status": 502, "html": True}, ClientDecodeError),
        ({"drop": True}, TelegramNetworkError),
    ],
)
async def test_an_unclear_send_is_raised_and_not_repeated(telegram: LoopbackTelegram, bot: Bot, fault: dict, error):
    """The message may be in the chat: one call, one error, no double."""
    telegram.fault(acts=True, **fault, times=2)
    video = BufferedInputFile(b"\0\0\0\x18ftypisom" + bytes(100), "v.mp4")

    with pytest.raises(error):
        await bot.send_message(PILOT, "once")
    with pytest.raises(error):
        await bot.send_video(PILOT, video, caption="once")

    assert [message.text for message in await telegram.person().read()] == ["once", "once"]
    assert len(telegram.calls()) == 2


async def test_refusals_are_aiograms_own(telegram: LoopbackTelegram, bot: Bot):
    """Blocked, unparsable, not found: raised at once, with Telegram's words."""
    telegram.fault("sendMessage", 403)
    with pytest.raises(TelegramForbiddenError, match="bot was blocked by the user"):
        await bot.send_message(PILOT, "x")
    with pytest.raises(TelegramBadRequest, match="can't parse entities"):
        await bot.send_message(PILOT, "a < b")
    with pytest.raises(TelegramBadRequest, match="message to edit not found"):
        await bot.edit_message_text("x", chat_id=PILOT, message_id=9)

    assert len(telegram.calls()) == 3


async def test_an_edit_that_changes_nothing_is_no_error(telegram: LoopbackTelegram, bot: Bot):
    """The bot may say the same again; the chat shows no edit."""
    sent = await bot.send_message(PILOT, "<b>same</b>")

    assert await bot.edit_message_text("<b>same</b>", chat_id=PILOT, message_id=sent.message_id) is True

    assert (await telegram.person().read())[0].edited_at == []


async def test_a_link_is_where_the_chat_shows_the_message(telegram: LoopbackTelegram, bot: Bot):
    """Both sides agree about https://t.me/c/…, in supergroups and in private."""
    asked = await telegram.person().type("/new")
    [update] = await bot.get_updates()
    assert update.message
    await bot.set_message_reaction(PILOT, asked, [ReactionTypeEmoji(emoji="👀")])

    [shown] = await telegram.person().read()

    assert shown.link and shown.link == message_link(update.message.chat.id, update.message.message_id)
    assert shown.reactions == ["👀"]
    private = telegram.person(1001)
    await private.type("hi")
    assert (await private.read())[0].link is message_link(1001, 1) is None
