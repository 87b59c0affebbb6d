"""The real aiogram against the loopback Bot API: what is sent is shown, what Telegram refuses is refused."""

import json

import aiohttp
import pytest
from aiogram import Bot
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.types import (
    BotCommand,
    BotCommandScopeAllGroupChats,
    BotCommandScopeChat,
    BufferedInputFile,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaPhoto,
    InputMediaVideo,
    LinkPreviewOptions,
    ReactionTypeEmoji,
    ReplyParameters,
)
from factory_loopback.telegram import LoopbackTelegram

PILOT = -1001234567890
TOPICS = -1003000000000


@pytest.fixture(autouse=True)
def nothing_wrong(telegram: LoopbackTelegram):
    """No test here may break the Bot API without saying so: one that does clears `violations`."""
    yield
    assert telegram.violations == []


def keyboard(**button: str) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="Go", **button)]])


async def refused(call) -> str:
    with pytest.raises(TelegramBadRequest) as error:
        await call
    return error.value.message.removeprefix("Bad Request: ")


async def test_a_message_is_shown_as_it_was_sent(telegram: LoopbackTelegram, bot: Bot):
    """Text, entities, reply, buttons and quietness arrive; the bot gets the message as Telegram returns it."""
    ada = telegram.person()
    asked = await ada.type("/new a thing")

    sent = await bot.send_message(
        PILOT,
        " <b>Bold</b> &amp; plain ",
        reply_parameters=ReplyParameters(message_id=asked),
        reply_markup=keyboard(callback_data="v:1:go", style="success"),
        link_preview_options=LinkPreviewOptions(is_disabled=True),
        disable_notification=True,
    )

    assert (sent.text, sent.html_text, sent.chat.type) == ("Bold & plain", "<b>Bold</b> &amp; plain", "supergroup")
    assert sent.reply_to_message and sent.reply_to_message.text == "/new a thing"
    assert sent.from_user and sent.from_user.id == bot.id
    shown = (await ada.read())[-1]
    assert (shown.text, shown.html, shown.sender, shown.silent) == (sent.text, sent.html_text, "Factory", True)
    assert (shown.reply_to, shown.link) == (asked, f"https://t.me/c/1234567890/{sent.message_id}")
    assert [(b.text, b.data, b.style) for row in shown.buttons for b in row] == [("Go", "v:1:go", "success")]


async def test_texts_that_telegram_refuses(telegram: LoopbackTelegram, bot: Bot):
    """Empty, too long, unparsable, in an unknown chat, to a missing message: 400 and nothing is shown."""
    send = bot.send_message
    reply = ReplyParameters(message_id=99)
    assert await refused(send(PILOT, "  ")) == "message text is empty"
    assert await refused(send(PILOT, "<b> </b>")) == "message text is empty"
    assert await refused(send(PILOT, "👀" * 2049)) == "message is too long"
    assert (await refused(send(PILOT, "<p>x</p>"))).startswith("can't parse entities: Unsupported start tag")
    assert await refused(send(5, "x")) == "chat not found"
    assert await refused(send("@nobody", "x")) == "chat not found"
    assert await refused(send(PILOT, "x", reply_parameters=reply)) == "message to be replied not found"
    assert await refused(send(PILOT, "x", message_thread_id=7)) == "message thread not found"
    assert await telegram.person().read() == []

    reply = ReplyParameters(message_id=99, allow_sending_without_reply=True)
    assert (await send(PILOT, f"<b>{'x' * 4096}</b>", reply_parameters=reply)).reply_to_message is None
    assert (await send("@openchat", "x")).chat.username == "openchat"


async def test_buttons_that_telegram_refuses(bot: Bot):
    """A link to localhost, data over 64 bytes, a button that does nothing."""
    wrong = "inline keyboard button URL 'http://localhost:3000' is invalid: Wrong HTTP URL"
    assert await refused(bot.send_message(PILOT, "x", reply_markup=keyboard(url="http://localhost:3000"))) == wrong
    assert (
        await refused(bot.send_message(PILOT, "x", reply_markup=keyboard(callback_data="é" * 33)))
        == "BUTTON_DATA_INVALID"
    )
    assert "Text buttons are unallowed" in await refused(bot.send_message(PILOT, "x", reply_markup=keyboard()))

    await bot.send_message(PILOT, "x", reply_markup=keyboard(callback_data="é" * 32))


async def test_an_edit_changes_the_message_and_keeps_its_past(telegram: LoopbackTelegram, bot: Bot):
    """An edit without a keyboard takes the keyboard away, as in Telegram."""
    ada = telegram.person()
    sent = await bot.send_message(PILOT, "<i>one</i>", reply_markup=keyboard(callback_data="a"))

    edited = await bot.edit_message_text("two", chat_id=PILOT, message_id=sent.message_id)

    assert not isinstance(edited, bool)
    assert (edited.text, edited.reply_markup) == ("two", None)
    assert edited.edit_date
    [shown] = await ada.read()
    assert (shown.text, shown.history, len(shown.edited_at), shown.buttons) == ("two", ["<i>one</i>"], 1, [])

    await bot.edit_message_reply_markup(
        chat_id=PILOT, message_id=sent.message_id, reply_markup=keyboard(callback_data="b")
    )
    [shown] = await ada.read()
    assert (shown.buttons[0][0].data, shown.history, len(shown.edited_at)) == ("b", ["<i>one</i>"], 2)


async def test_edits_that_telegram_refuses(telegram: LoopbackTelegram, bot: Bot, mp4: BufferedInputFile):
    """The same again, a message that is not there, somebody else's, one without a text."""
    sent = await bot.send_message(PILOT, "one", reply_markup=keyboard(callback_data="a"))
    theirs = await telegram.person().type("mine")
    video = await bot.send_video(PILOT, mp4)

    async def edit(message_id: int, text: str = "one") -> str:
        markup = keyboard(callback_data="a")
        return await refused(bot.edit_message_text(text, chat_id=PILOT, message_id=message_id, reply_markup=markup))

    assert (await edit(sent.message_id)).startswith("message is not modified: specified new message content")
    assert (await edit(sent.message_id, "<b>")).startswith("can't parse entities")
    assert await edit(99) == "message to edit not found"
    assert await edit(theirs) == "message can't be edited"
    assert await edit(video.message_id) == "there is no text in the message to edit"
    assert len((await telegram.person().read())[0].edited_at) == 0


async def test_a_deleted_message_is_gone(telegram: LoopbackTelegram, bot: Bot):
    """It is shown no more, cannot be edited or deleted again, and its id is not used again."""
    sent = await bot.send_message(PILOT, "x")

    assert await bot.delete_message(PILOT, sent.message_id)

    assert await telegram.person().read() == []
    assert await refused(bot.delete_message(PILOT, sent.message_id)) == "message to delete not found"
    assert (await bot.send_message(PILOT, "y")).message_id == sent.message_id + 1


async def test_a_video_comes_with_its_facts_and_can_be_fetched(telegram: LoopbackTelegram, bot: Bot, mp4, jpeg):
    """Size, duration and thumbnail; the same bytes by getFile, and by range on the person's side."""
    sent = await bot.send_video(
        PILOT,
        mp4,
        caption="<b>Seen</b>",
        width=1280,
        height=720,
        duration=9,
        thumbnail=jpeg(320, 180),
        supports_streaming=True,
    )

    assert sent.video and (sent.video.width, sent.video.height, sent.video.duration) == (1280, 720, 9)
    assert sent.video.thumbnail and (sent.video.thumbnail.width, sent.video.thumbnail.height) == (320, 180)
    downloaded = await bot.download(sent.video)
    assert downloaded and downloaded.read() == mp4.data
    shown = (await telegram.person().read())[-1]
    assert (shown.html, shown.media and shown.media.kind) == ("<b>Seen</b>", "video")
    assert shown.media and (shown.media.file_size, shown.media.duration) == (len(mp4.data), 9)
    async with aiohttp.ClientSession() as session:
        part = await session.get(telegram.url + shown.media.path, headers={"Range": "bytes=4-7"})
        assert (part.status, await part.read(), part.content_type) == (206, b"ftyp", "video/mp4")


async def test_files_that_telegram_treats_otherwise(bot: Bot, png, jpeg):
    """No MP4: a document. A thumbnail over 320 pixels: ignored. A photo too tall or no image: refused."""
    webm = BufferedInputFile(b"\x1aE\xdf\xa3" + bytes(100), "demo.webm")
    sent = await bot.send_video(PILOT, webm, width=10, height=10)
    assert sent.video is None and sent.document and sent.document.file_name == "demo.webm"
    sent = await bot.send_document(PILOT, BufferedInputFile(b"log", "job.log"), thumbnail=jpeg(321, 10))
    assert sent.document and sent.document.thumbnail is None
    assert sent.document.mime_type and sent.document.file_size == 3

    assert await refused(bot.send_photo(PILOT, png(600, 9401))) == "PHOTO_INVALID_DIMENSIONS"
    assert await refused(bot.send_photo(PILOT, png(10, 201))) == "PHOTO_INVALID_DIMENSIONS"
    assert await refused(bot.send_photo(PILOT, webm)) == "IMAGE_PROCESS_FAILED"
    assert await refused(bot.send_document(PILOT, BufferedInputFile(b"", "empty.txt"))) == "file must be non-empty"
    assert await refused(bot.send_photo(PILOT, png(9, 9), caption="x" * 1025)) == "message caption is too long"
    sent = await bot.send_photo(PILOT, jpeg(640, 480), caption="x" * 1024)
    assert sent.photo and (sent.photo[-1].width, sent.photo[-1].height) == (640, 480)
    again = await bot.send_photo(PILOT, sent.photo[-1].file_id)
    assert again.photo and again.photo[-1].file_unique_id == sent.photo[-1].file_unique_id


async def test_a_body_over_50_mb_is_too_large(telegram: LoopbackTelegram, bot: Bot):
    """413, which aiogram knows as TelegramEntityTooLarge; just below it is taken, but getFile ends at 20 MB."""
    with pytest.raises(TelegramEntityTooLarge):
        await bot.send_document(PILOT, BufferedInputFile(bytes(50 * 1024 * 1024 + 1), "big.bin"))

    sent = await bot.send_document(PILOT, BufferedInputFile(bytes(21 * 1024 * 1024), "big.bin"))

    assert sent.document and await refused(bot.get_file(sent.document.file_id)) == "file is too big"
    assert len(await telegram.person().read()) == 1


async def test_an_album_is_several_messages_of_one_group(telegram: LoopbackTelegram, bot: Bot, mp4, png):
    """Photos and videos together, 2 to 10; a bad one among them and none is shown."""
    album = [InputMediaPhoto(media=png(4, 3), caption="<i>a</i>"), InputMediaVideo(media=mp4, duration=3)]

    sent = await bot.send_media_group(PILOT, album)  # type: ignore[arg-type]

    assert len({message.media_group_id for message in sent}) == 1 and sent[0].media_group_id
    assert [m.media and m.media.kind for m in await telegram.person().read()] == ["photo", "video"]
    bad = [InputMediaPhoto(media=png(4, 3)), InputMediaPhoto(media=png(4, 900))]
    assert await refused(bot.send_media_group(PILOT, bad)) == "PHOTO_INVALID_DIMENSIONS"  # type: ignore[arg-type]
    assert "2 to 10" in await refused(bot.send_media_group(PILOT, album[:1]))  # type: ignore[arg-type]
    assert len(await telegram.person().read()) == 2


async def test_reactions_are_those_that_telegram_has(telegram: LoopbackTelegram, bot: Bot):
    """👀 is one, ✅ is none; an empty list takes the reaction back."""
    asked = await telegram.person().type("x")

    async def react(*emoji: str) -> bool:
        return await bot.set_message_reaction(PILOT, asked, [ReactionTypeEmoji(emoji=e) for e in emoji])

    assert await react("👀")
    assert (await telegram.person().read())[0].reactions == ["👀"]
    assert await refused(react("✅")) == "REACTION_INVALID"
    assert await refused(react("👀", "👍")) == "REACTIONS_TOO_MANY"
    assert await react()
    assert (await telegram.person().read())[0].reactions == []
    assert await refused(bot.set_message_reaction(PILOT, 99, [])) == "message to react not found"


async def test_commands_are_offered_by_the_narrowest_scope(telegram: LoopbackTelegram, bot: Bot):
    """A chat's own commands go before those of all groups; a bad name is refused."""
    await bot.set_my_commands([BotCommand(command="help", description="Help")])
    await bot.set_my_commands([BotCommand(command="jobs", description="Jobs")], scope=BotCommandScopeAllGroupChats())
    await bot.set_my_commands([BotCommand(command="new", description="New")], scope=BotCommandScopeChat(chat_id=PILOT))

    assert await telegram.person(PILOT).commands() == [("new", "New")]
    assert await telegram.person(-77).commands() == [("jobs", "Jobs")]
    assert await telegram.person(1001).commands() == [("help", "Help")]
    wrong = [BotCommand(command="New", description="x")]
    assert await refused(bot.set_my_commands(wrong)) == "BOT_COMMAND_INVALID"


async def test_who_and_where(telegram: LoopbackTelegram, bot: Bot):
    """getMe, getChat and getChatMember describe bot, chats and people."""
    me = await bot.get_me()
    assert (me.id, me.is_bot, me.username) == (4242, True, "factory_bot")
    sent = await bot.send_message(PILOT, "pin me")
    assert await bot.pin_chat_message(PILOT, sent.message_id)
    chat = await bot.get_chat(PILOT)
    assert (chat.title, chat.type, chat.pinned_message and chat.pinned_message.text) == (
        "Pilot",
        "supergroup",
        "pin me",
    )
    assert [(await bot.get_chat(c)).type for c in (-77, 1001)] == ["group", "private"]
    assert (await bot.get_chat(TOPICS)).is_forum
    assert [(await bot.get_chat_member(PILOT, u)).status for u in (1001, 1002, 4242)] == [
        "creator",
        "member",
        "administrator",
    ]
    assert await refused(bot.get_chat_member(PILOT, 9)) == "member not found"
    assert await refused(bot.pin_chat_message(PILOT, 99)) == "message to pin not found"
    assert await bot.send_chat_action(PILOT, "upload_video")
    assert telegram.chats.action(PILOT) == "upload_video"


async def test_a_topic_is_answered_in_its_thread(telegram: LoopbackTelegram, bot: Bot):
    """A thread that somebody opened in a forum takes messages; its links name it."""
    await telegram.person(TOPICS).type("hello", thread_id=12)

    sent = await bot.send_message(TOPICS, "hi", message_thread_id=12)

    assert (sent.message_thread_id, sent.is_topic_message) == (12, True)
    assert (await telegram.person(TOPICS).read())[-1].link == f"https://t.me/c/3000000000/12/{sent.message_id}"


async def test_every_body_format_is_read(telegram: LoopbackTelegram):
    """JSON, a form, multipart, the query; a file under the parameter's own name."""
    base = f"{telegram.url}/bot{telegram.token}"
    markup = {"inline_keyboard": [[{"text": "Go", "callback_data": "go"}]]}
    async with aiohttp.ClientSession() as session:

        async def call(method: str, **body) -> dict:
            async with session.post(f"{base}/{method}", **body) as response:
                return await response.json()

        as_json = await call(
            "sendMessage", json={"chat_id": PILOT, "text": "1", "reply_markup": markup, "entities": None}
        )
        as_form = await call(
            "SENDMESSAGE", data={"chat_id": str(PILOT), "text": "2", "reply_markup": json.dumps(markup)}
        )
        by_query = await call(f"sendMessage?chat_id={PILOT}&text=3")
        form = aiohttp.FormData({"chat_id": str(PILOT), "caption": "4"})
        form.add_field("document", b"abc", filename="a.txt")
        as_multipart = await call("sendDocument", data=form)
        broken = await call("sendMessage", data={"chat_id": str(PILOT), "text": "x", "reply_markup": "{"})

    assert all(answer["ok"] for answer in (as_json, as_form, by_query, as_multipart))
    assert as_json["result"]["reply_markup"] == as_form["result"]["reply_markup"] == markup
    assert broken == {
        "ok": False,
        "error_code": 400,
        "description": "Bad Request: can't parse reply_markup JSON object",
    }
    assert [m.text for m in await telegram.person().read()] == ["1", "2", "3", "4"]


async def test_an_unknown_token_is_unauthorized(telegram: LoopbackTelegram, bot_for):
    """401 for calls and for files."""
    with pytest.raises(TelegramUnauthorizedError):
        await bot_for(telegram.url, "1:wrong").get_me()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{telegram.url}/file/bot1:wrong/photos/file_1.png") as answer,
    ):
        assert answer.status == 401


async def test_what_is_not_built_is_said_and_remembered(telegram: LoopbackTelegram, bot: Bot):
    """A method, a parameter, a part of a keyboard, Markdown: 501 and a violation each, never a silent 200."""
    with pytest.raises(TelegramServerError, match="Not built in the loopback server: sendPoll"):
        await bot.send_poll(PILOT, "Why?", ["a", "b"])
    with pytest.raises(TelegramServerError, match="sendMessage with message_effect_id"):
        await bot.send_message(PILOT, "x", message_effect_id="1")
    with pytest.raises(TelegramServerError, match="a button with switch_inline_query"):
        await bot.send_message(PILOT, "x", reply_markup=keyboard(switch_inline_query="y"))
    with pytest.raises(TelegramServerError, match="parse mode MarkdownV2"):
        await bot.send_message(PILOT, "x", parse_mode="MarkdownV2")

    assert await telegram.person().read() == []
    assert len(telegram.violations) == 4
    assert [call.status for call in telegram.calls()] == [501] * 4
    telegram.violations.clear()


async def test_a_method_that_does_not_exist_is_not_found(telegram: LoopbackTelegram):
    """404, and a violation, since it can only be a mistake."""
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{telegram.url}/bot{telegram.token}/sendMesage") as answer:
            assert (answer.status, (await answer.json())["description"]) == (404, "Not Found: method not found")

    assert telegram.violations == ["sendMesage does not exist in the Bot API"]
    telegram.violations.clear()


async def test_a_request_must_be_as_described(telegram: LoopbackTelegram):
    """A missing, a misspelt and a mistyped parameter: 400 that names it, and a violation."""
    async with aiohttp.ClientSession() as session:

        async def words(**body) -> str:
            async with session.post(f"{telegram.url}/bot{telegram.token}/sendMessage", json=body) as answer:
                assert answer.status == 400
                return (await answer.json())["description"]

        assert "text: Field required" in await words(chat_id=PILOT)
        assert "no parameter txt" in await words(chat_id=PILOT, text="x", txt="y")
        assert "reply_markup.inline_keyboard" in await words(
            chat_id=PILOT, text="x", reply_markup={"inline_keyboard": 1}
        )

    assert await telegram.person().read() == []
    telegram.violations.clear()
