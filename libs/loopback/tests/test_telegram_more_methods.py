"""The real aiogram: what a chat bot does beside sending: edits of files, pins, deletions, keyboards, passing on."""

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramServerError
from aiogram.types import (
    BotCommand,
    BotCommandScopeChat,
    BufferedInputFile,
    ForceReply,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaDocument,
    InputMediaPhoto,
    InputMediaVideo,
    KeyboardButton,
    MessageOriginUser,
    ReplyKeyboardMarkup,
    ReplyKeyboardRemove,
)
from factory_loopback.telegram import LoopbackTelegram

PILOT, OPEN = -1001234567890, -1002000000000


@pytest.fixture(autouse=True)
def nothing_wrong(telegram: LoopbackTelegram):
    """No test here may break the Bot API without saying so: one that does clears `violations`."""
    yield
    assert telegram.violations == []


async def refused(call) -> str:
    with pytest.raises(TelegramBadRequest) as error:
        await call
    return error.value.message.removeprefix("Bad Request: ")


def under(text: str) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text=text, callback_data="go")]])


# Files


async def test_an_animation_plays_and_anything_else_is_a_document(telegram: LoopbackTelegram, bot: Bot, mp4):
    """As Telegram does: GIF and MP4 are animations, which older bots find as documents too."""
    gif = BufferedInputFile(b"GIF89a\x0a\0\x14\0" + bytes(40), "spin.gif")
    sent = await bot.send_animation(PILOT, gif, width=20, height=10, caption="<i>round</i>")
    assert sent.animation and (sent.animation.width, sent.animation.height) == (20, 10)
    assert sent.document and sent.document.file_id == sent.animation.file_id
    assert (await bot.send_animation(PILOT, mp4)).animation
    other = await bot.send_animation(PILOT, BufferedInputFile(b"%PDF", "a.pdf"))
    assert other.animation is None and other.document

    shown = await telegram.person().read()
    assert [m.media.kind for m in shown if m.media] == ["animation", "animation", "document"]
    assert (shown[0].text, shown[0].html) == ("round", "<i>round</i>")


async def test_a_caption_is_edited(telegram: LoopbackTelegram, bot: Bot, png):
    """New words, new buttons, or none; a text has no caption, and the same again is no change."""
    photo = await bot.send_photo(PILOT, png(30, 40), caption="first", reply_markup=under("Go"))
    edited = await bot.edit_message_caption(chat_id=PILOT, message_id=photo.message_id, caption="<b>second</b>")
    assert not isinstance(edited, bool) and edited.html_text == "<b>second</b>" and edited.photo
    shown = await telegram.person().wait_for(lambda m: m.text == "second")
    assert (shown.history, shown.buttons) == (["first"], [])

    same = bot.edit_message_caption(chat_id=PILOT, message_id=photo.message_id, caption="<b>second</b>")
    assert (await refused(same)).startswith("message is not modified")
    await bot.edit_message_caption(chat_id=PILOT, message_id=photo.message_id)
    assert (await telegram.person().read())[0].text == ""
    text = await bot.send_message(PILOT, "words")
    call = bot.edit_message_caption(chat_id=PILOT, message_id=text.message_id, caption="x")
    assert await refused(call) == "there is no caption in the message to edit"
    call = bot.edit_message_caption(chat_id=PILOT, message_id=photo.message_id, caption="x" * 1025)
    assert await refused(call) == "message caption is too long"


async def test_a_file_takes_the_place_of_another(telegram: LoopbackTelegram, bot: Bot, png, mp4):
    """A photo becomes a video with a caption of its own; a text has no file, an album keeps its kind."""
    photo = await bot.send_photo(PILOT, png(30, 40), caption="still")
    media = InputMediaVideo(media=mp4, caption="moving", width=640, height=360)
    edited = await bot.edit_message_media(media, chat_id=PILOT, message_id=photo.message_id, reply_markup=under("Go"))
    assert not isinstance(edited, bool) and edited.video and edited.photo is None
    shown = (await telegram.person().read())[0]
    assert (shown.text, shown.media and shown.media.kind, shown.button("Go") is not None) == ("moving", "video", True)

    again = InputMediaPhoto(media=photo.photo[-1].file_id)  # type: ignore[index]
    edited = await bot.edit_message_media(again, chat_id=PILOT, message_id=photo.message_id)
    assert not isinstance(edited, bool) and edited.photo and edited.caption is None
    text = await bot.send_message(PILOT, "words")
    call = bot.edit_message_media(again, chat_id=PILOT, message_id=text.message_id)
    assert await refused(call) == "there is no media in the message to edit"

    album = await bot.send_media_group(PILOT, [InputMediaPhoto(media=png(30, 40)), InputMediaPhoto(media=png(50, 40))])
    await bot.edit_message_media(InputMediaVideo(media=mp4), chat_id=PILOT, message_id=album[1].message_id)
    file = InputMediaDocument(media=BufferedInputFile(b"x", "a.txt"))
    with pytest.raises(TelegramServerError, match="of an album to another kind"):
        await bot.edit_message_media(file, chat_id=PILOT, message_id=album[0].message_id)
    assert "editMessageMedia of an album to another kind" in telegram.violations.pop()


# Around messages


async def test_several_messages_are_deleted(telegram: LoopbackTelegram, bot: Bot):
    """What is gone already is passed over."""
    sent = [await bot.send_message(PILOT, f"{n}") for n in range(3)]
    assert await bot.delete_messages(PILOT, [sent[0].message_id, sent[2].message_id, 99])
    assert [m.text for m in await telegram.person().read()] == ["1"]
    assert await bot.delete_messages(PILOT, [sent[0].message_id])
    assert await refused(bot.delete_messages(PILOT, [])) == "too many message identifiers specified"


async def test_pins(telegram: LoopbackTelegram, bot: Bot):
    """Pinned, seen in getChat, unpinned by name or as it is; what is not pinned cannot be unpinned."""
    first = await bot.send_message(PILOT, "first")
    await bot.pin_chat_message(PILOT, first.message_id)
    pinned = (await bot.get_chat(PILOT)).pinned_message
    assert pinned and pinned.message_id == first.message_id
    assert await refused(bot.unpin_chat_message(PILOT, message_id=99)) == "message to unpin not found"
    assert await bot.unpin_chat_message(PILOT, message_id=first.message_id)
    assert (await bot.get_chat(PILOT)).pinned_message is None
    assert await refused(bot.unpin_chat_message(PILOT)) == "message to unpin not found"
    await bot.pin_chat_message(PILOT, first.message_id)
    assert await bot.unpin_all_chat_messages(PILOT)
    assert (await bot.get_chat(PILOT)).pinned_message is None


async def test_commands_are_read_and_deleted(telegram: LoopbackTelegram, bot: Bot):
    """By their scope alone, as they were set."""
    scope = BotCommandScopeChat(chat_id=PILOT)
    await bot.set_my_commands([BotCommand(command="new", description="A wish")], scope=scope)
    assert [(c.command, c.description) for c in await bot.get_my_commands(scope=scope)] == [("new", "A wish")]
    assert await bot.get_my_commands() == []
    await bot.delete_my_commands(scope=scope)
    assert await bot.get_my_commands(scope=scope) == []
    assert await telegram.person().commands() == []


# Keyboards of the chat


async def test_a_reply_keyboard_says_what_is_pressed(telegram: LoopbackTelegram, bot: Bot):
    """Its keys are shown to people and are no part of the message; a key says its text in the name of who presses it."""
    markup = ReplyKeyboardMarkup(
        keyboard=[[KeyboardButton(text="Yes"), KeyboardButton(text="No")]], resize_keyboard=True
    )
    sent = await bot.send_message(PILOT, "Shall I?", reply_markup=markup)
    assert sent.reply_markup is None
    ada = telegram.person()
    assert (await ada.read())[-1].keyboard == [["Yes", "No"]]
    assert await ada.press(sent.message_id, "Yes") == ""
    [update] = await bot.get_updates()
    assert update.message and update.message.text == "Yes" and update.message.from_user
    assert update.message.from_user.first_name == "Ada"

    await bot.send_message(PILOT, "Thanks", reply_markup=ReplyKeyboardRemove())
    assert (await ada.read())[-1].removes_keyboard
    await bot.send_message(PILOT, "Why?", reply_markup=ForceReply(input_field_placeholder="Because"))
    assert (await ada.read())[-1].asks_reply


async def test_keyboards_that_are_refused(telegram: LoopbackTelegram, bot: Bot):
    """None at all and an empty key, as Telegram does; keys that ask for more than words are not built."""
    empty = ReplyKeyboardMarkup(keyboard=[[]])
    assert await refused(bot.send_message(PILOT, "x", reply_markup=empty)) == "object expected as reply markup"
    blank = ReplyKeyboardMarkup(keyboard=[[KeyboardButton(text=" ")]])
    assert await refused(bot.send_message(PILOT, "x", reply_markup=blank)) == "keyboard button text must be non-empty"
    asks = ReplyKeyboardMarkup(keyboard=[[KeyboardButton(text="Here", request_location=True)]])
    with pytest.raises(TelegramServerError, match="a key with request_location"):
        await bot.send_message(PILOT, "x", reply_markup=asks)
    assert "a key with request_location" in telegram.violations.pop()
    assert await telegram.person().read() == []


# Passing on


async def test_forwarded_and_copied(telegram: LoopbackTelegram, bot: Bot, png):
    """A forward says where it comes from, a copy does not; neither takes the keyboard or the thread along."""
    ada = telegram.person()
    wish = await ada.type("make it red")
    forwarded = await bot.forward_message(OPEN, PILOT, wish)
    origin = forwarded.forward_origin
    assert isinstance(origin, MessageOriginUser) and origin.sender_user.first_name == "Ada"
    shown = (await telegram.person(OPEN).read())[-1]
    assert (shown.text, shown.sender, shown.forwarded_from) == ("make it red", "Factory", "Ada")

    photo = await bot.send_photo(PILOT, png(30, 40), caption="<b>old</b>", reply_markup=under("Go"))
    copied = await bot.copy_message(OPEN, PILOT, photo.message_id)
    with_words = await bot.copy_message(OPEN, PILOT, photo.message_id, caption="new", reply_markup=under("Stop"))
    kept, changed = (await telegram.person(OPEN).read())[-2:]
    assert (kept.message_id, changed.message_id) == (copied.message_id, with_words.message_id)
    assert (kept.html, kept.forwarded_from, kept.buttons, kept.media and kept.media.kind) == (
        "<b>old</b>",
        "",
        [],
        "photo",
    )
    assert (changed.text, changed.button("Stop") is not None) == ("new", True)


async def test_what_is_not_passed_on(telegram: LoopbackTelegram, bot: Bot):
    """What is not there, and what is protected."""
    assert await refused(bot.forward_message(OPEN, PILOT, 7)) == "message to forward not found"
    assert await refused(bot.copy_message(OPEN, PILOT, 7)) == "message to copy not found"
    secret = await bot.send_message(PILOT, "ours", protect_content=True)
    assert await refused(bot.forward_message(OPEN, PILOT, secret.message_id)) == "message can't be forwarded"
    assert await refused(bot.copy_message(OPEN, PILOT, secret.message_id)) == "message can't be copied"
    assert await refused(bot.forward_message(-5, PILOT, secret.message_id)) == "chat not found"
