"""The real aiogram in a forum: topics begin, are renamed, closed, opened and deleted; messages find theirs."""

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from factory_loopback.telegram import LoopbackTelegram

PILOT, TOPICS = -1001234567890, -1003000000000


async def refused(call) -> str:
    with pytest.raises(TelegramBadRequest) as error:
        await call
    return error.value.message.removeprefix("Bad Request: ")


async def test_a_topic_from_its_begin_to_its_end(telegram: LoopbackTelegram, bot: Bot):
    """Its thread is the id of the message that it begins with; what was said in it goes with it."""
    topic = await bot.create_forum_topic(TOPICS, "Red buttons", icon_color=16766590)
    assert (topic.name, topic.icon_color) == ("Red buttons", 16766590)
    ada = telegram.person(TOPICS)
    begun = (await ada.read())[-1]
    assert (begun.message_id, begun.thread_id, begun.topic) == (topic.message_thread_id,) * 2 + ("Red buttons",)

    sent = await bot.send_message(TOPICS, "Working on it", message_thread_id=topic.message_thread_id)
    assert sent.is_topic_message and sent.message_thread_id == topic.message_thread_id
    await ada.type("Thanks", thread_id=topic.message_thread_id)
    assert await bot.edit_forum_topic(TOPICS, topic.message_thread_id, name="Blue buttons")
    assert (await ada.read())[-1].topic == "Blue buttons"
    assert await bot.close_forum_topic(TOPICS, topic.message_thread_id)
    assert await bot.reopen_forum_topic(TOPICS, topic.message_thread_id)
    other = await bot.create_forum_topic(TOPICS, "Another")

    assert await bot.delete_forum_topic(TOPICS, topic.message_thread_id)
    assert {m.thread_id for m in await ada.read()} == {other.message_thread_id}
    gone = bot.send_message(TOPICS, "x", message_thread_id=topic.message_thread_id)
    assert await refused(gone) == "message thread not found"
    assert telegram.violations == []


async def test_what_telegram_refuses(telegram: LoopbackTelegram, bot: Bot):
    """A chat that is no forum, a topic that is none, no change, a name that is too long, a colour of one's own."""
    topic = await bot.create_forum_topic(TOPICS, "Red")
    thread = topic.message_thread_id
    assert await refused(bot.create_forum_topic(PILOT, "Red")) == "the chat is not a forum"
    assert await refused(bot.create_forum_topic(TOPICS, "x" * 129)) == "topic name must be 1-128 characters long"
    assert (
        await refused(bot.create_forum_topic(TOPICS, "x", icon_color=1)) == "invalid forum topic icon color specified"
    )
    assert await refused(bot.edit_forum_topic(TOPICS, thread, name="Red")) == "TOPIC_NOT_MODIFIED"
    assert await refused(bot.reopen_forum_topic(TOPICS, thread)) == "TOPIC_NOT_MODIFIED"
    await bot.close_forum_topic(TOPICS, thread)
    assert await refused(bot.close_forum_topic(TOPICS, thread)) == "TOPIC_NOT_MODIFIED"
    assert await refused(bot.close_forum_topic(TOPICS, 99)) == "message thread not found"
    assert telegram.violations == []
