"""A person's side, in this process and over HTTP: both have the same hands and eyes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiogram import Bot
from aiogram.types import CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup
from factory_loopback import errors
from factory_loopback.telegram import LoopbackTelegram, Person, RemotePerson

PILOT = -1001234567890


@pytest.fixture(params=["in this process", "over HTTP"])
async def ada(telegram: LoopbackTelegram, request: pytest.FixtureRequest) -> AsyncIterator[Person | RemotePerson]:
    if request.param == "in this process":
        yield telegram.person()
        return
    async with RemotePerson(telegram.url, PILOT, 1001) as person:
        yield person


BUTTONS = InlineKeyboardMarkup(
    inline_keyboard=[
        [
            InlineKeyboardButton(text="Go", callback_data="go:1"),
            InlineKeyboardButton(text="Open", url="http://127.0.0.1:80/pr/1"),
            InlineKeyboardButton(text="Copy", copy_text=CopyTextButton(text="make demo")),
        ]
    ]
)


async def test_what_is_typed_reaches_the_bot(ada: Person | RemotePerson, bot: Bot):
    """With the writer, the chat, the command marked, and the message that it replies to."""
    first = await ada.type("/new@factory_bot make it red")
    second = await ada.type("and blue", reply_to=first)

    [one, two] = [update.message for update in await bot.get_updates()]

    assert one and two and one.from_user and one.entities
    assert (one.message_id, one.chat.id, one.from_user.id) == (first, PILOT, 1001)
    assert (one.entities[0].type, one.entities[0].extract_from(one.text or "")) == ("bot_command", "/new@factory_bot")
    assert (two.message_id, two.reply_to_message and two.reply_to_message.message_id) == (second, first)


async def test_an_edit_of_the_person_reaches_the_bot(ada: Person | RemotePerson, bot: Bot):
    """As edited_message; the chat shows the new text and knows the old one."""
    message_id = await ada.type("one")

    await ada.edit(message_id, "two")

    assert [update.event_type for update in await bot.get_updates()] == ["message", "edited_message"]
    [shown] = await ada.read()
    assert (shown.text, shown.history, shown.from_bot) == ("two", ["one"], False)
    sent = await bot.send_message(PILOT, "mine")
    with pytest.raises(errors.NoSuchMessage):
        await ada.edit(sent.message_id, "yours")


async def test_a_file_of_the_person_can_be_fetched_by_the_bot(ada: Person | RemotePerson, bot: Bot, png):
    """An image is a photo, anything else a document; both come by getFile."""
    await ada.attach(png(640, 480).data, "shot.png", "the broken page, ä & ö")
    await ada.attach(b"trace", "trace.log")

    [one, two] = [update.message for update in await bot.get_updates()]

    assert one and one.photo and (one.photo[-1].width, one.caption) == (640, "the broken page, ä & ö")
    assert two and two.document and two.document.file_name == "trace.log"
    downloaded = await bot.download(two.document)
    assert downloaded and downloaded.read() == b"trace"


@pytest.mark.parametrize("button", ["Go", "go:1"])
async def test_a_press_returns_what_the_bot_answers(ada: Person | RemotePerson, bot: Bot, button: str):
    """By the button's text or its data; a second answer to the same press is too late."""
    sent = await bot.send_message(PILOT, "Pick", reply_markup=BUTTONS)
    press = asyncio.create_task(ada.press(sent.message_id, button))

    [update] = await bot.get_updates(timeout=5)
    query = update.callback_query
    assert query and query.message
    assert (query.data, query.from_user.id, query.message.message_id) == ("go:1", 1001, sent.message_id)
    await bot.answer_callback_query(query.id, text="Gone", show_alert=True)

    assert await press == "Gone"
    with pytest.raises(Exception, match="query is too old"):
        await bot.answer_callback_query(query.id)


async def test_presses_that_need_no_bot_and_presses_that_fail(ada: Person | RemotePerson, bot: Bot):
    """A link is opened, a text copied; an unknown button, a missing message and a silent bot are errors with words."""
    sent = await bot.send_message(PILOT, "Pick", reply_markup=BUTTONS)

    assert await ada.press(sent.message_id, "Open") == "http://127.0.0.1:80/pr/1"
    assert await ada.press(sent.message_id, "Copy") == "make demo"
    with pytest.raises(errors.NoSuchButton, match=r"has no button 'Stop' \(it has: 'Go', 'Open', 'Copy'\)"):
        await ada.press(sent.message_id, "Stop")
    with pytest.raises(errors.NoSuchMessage, match=r"Message 77 is not shown in chat .* \(it shows: 1\)"):
        await ada.press(77, "Go")
    with pytest.raises(errors.NoAnswer, match=r"did not answer the button 'Go' within 0\.2 s"):
        await ada.press(sent.message_id, "Go", timeout=0.2)


async def test_waiting_ends_when_the_chat_shows_it(ada: Person | RemotePerson, bot: Bot):
    """An edit counts as well as a new message; a vain wait names what the chat shows."""
    sent = await bot.send_message(PILOT, "working")
    wait = asyncio.create_task(ada.wait_for(lambda message: "done" in message.text, 20))
    await asyncio.sleep(0.2)
    assert not wait.done()

    await bot.edit_message_text("done", chat_id=PILOT, message_id=sent.message_id)

    assert (await asyncio.wait_for(wait, 5)).message_id == sent.message_id
    with pytest.raises(errors.NoAnswer, match=r"within 0.3 s(.|\n)*1 Factory: done"):
        await ada.wait_for(lambda message: message.text == "never", 0.3)


async def test_both_ways_show_the_same(telegram: LoopbackTelegram, bot: Bot, mp4, jpeg):
    """Every field of every message, over HTTP as in the process."""
    here = telegram.person()
    asked = await here.type("a <b> & c")
    sent = await bot.send_video(
        PILOT,
        mp4,
        caption="<b>v</b>",
        reply_markup=BUTTONS,
        duration=3,
        thumbnail=jpeg(32, 18),
        reply_to_message_id=None,
    )
    await bot.edit_message_reply_markup(chat_id=PILOT, message_id=sent.message_id)
    await here.type("thanks", reply_to=sent.message_id)

    async with RemotePerson(telegram.url, PILOT, 1001) as there:
        assert await there.read() == await here.read()
        assert await there.commands() == await here.commands()
    assert (await here.read())[0].message_id == asked


async def test_chats_and_people_are_apart(telegram: LoopbackTelegram, bot: Bot):
    """Message ids count in each chat by themselves; nobody writes in another's private chat."""
    await telegram.person(PILOT, 1002).type("in the group")
    await telegram.person(1001).type("in private")
    await telegram.person(-77).type("in the old group")

    received = [update.message for update in await bot.get_updates()]

    assert [(m.chat.type, m.message_id) for m in received if m] == [("supergroup", 1), ("private", 1), ("group", 1)]
    links = [(await telegram.person(c).read())[0].link for c in (PILOT, 1001, -77)]
    assert links == ["https://t.me/c/1234567890/1", None, None]
    with pytest.raises(errors.BadSetup, match="User 1002 is not in chat 1001"):
        telegram.person(1001, 1002)
    with pytest.raises(errors.BadSetup, match="is no forum"):
        await telegram.person().type("x", thread_id=3)


async def test_the_persons_side_takes_json_only(telegram: LoopbackTelegram):
    """A form of a foreign page cannot type into the chat: it cannot send JSON without being asked first."""
    import aiohttp

    side = f"{telegram.url}/person/{PILOT}/1001/type"
    async with aiohttp.ClientSession() as session:
        for body in ({"data": {"text": "x"}}, {"data": '{"text": "x"}', "headers": {"Content-Type": "text/plain"}}):
            async with session.post(side, **body) as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, "bad_setup")
        async with session.post(side, json={"words": "x"}) as answer:
            assert (answer.status, (await answer.json())["message"]) == (400, "A parameter is missing or wrong: 'text'")
        async with session.get(f"{telegram.url}/person/5/messages") as answer:
            assert (answer.status, (await answer.json())["message"]) == (404, "Bad Request: chat not found")
    assert await telegram.person().read() == []
