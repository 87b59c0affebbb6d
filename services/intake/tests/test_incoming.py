"""What an update of Telegram means: messages, commands, buttons, and what is nobody's wish."""

import time
from typing import Any

import pytest
from aiogram.types import Update
from factory_intake.incoming import Pressed, Said, clean, parse

PILOT = {"id": -1001234567890, "type": "supergroup", "title": "Pilot"}
ADA = {"id": 1001, "is_bot": False, "first_name": "Ada", "last_name": "L."}


def message(**more: Any) -> dict[str, Any]:
    return {"message_id": 7, "date": 1_700_000_000, "chat": PILOT, "from": ADA, **more}


def update(kind: str = "message", body: dict[str, Any] | None = None, **more: Any) -> Update:
    return Update.model_validate({"update_id": 5, kind: body if body is not None else message(**more)})


def said(**more: Any) -> Said:
    found = parse(update(**more), "factory_bot")
    assert isinstance(found, Said)
    return found


def test_a_text_is_what_was_said():
    """Who, where, what, and the address that others can open."""
    assert said(text="  Make it red \n") == Said(
        update_id=5,
        chat=-1001234567890,
        user=1001,
        name="Ada L.",
        message_id=7,
        text="Make it red",
        link="https://t.me/c/1234567890/7",
    )


def test_a_caption_is_a_text():
    """A picture with words is a wish; one without words is not."""
    photo = [{"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}]
    assert said(photo=photo, caption="/new like this").command == "new"
    assert said(photo=photo, caption="/new like this").text == "like this"
    assert parse(update(photo=photo)) is None


@pytest.mark.parametrize(
    ("text", "command", "rest"),
    [
        ("/new make it red", "new", "make it red"),
        ("/NEW make it red", "new", "make it red"),
        ("/new@factory_bot make it red", "new", "make it red"),
        ("/new@Factory_Bot\nmake it red", "new", "make it red"),
        ("/status", "status", ""),
        ("/status@factory_bot", "status", ""),
        ("  /jobs", "jobs", ""),
        ("/ new", "", "/ new"),
        ("see /new", "", "see /new"),
        ("/new-page breaks", "", "/new-page breaks"),
        ("/home/ada is full", "", "/home/ada is full"),
    ],
)
def test_a_command_is_the_word_after_the_slash(text: str, command: str, rest: str):
    """Also with our name behind it; a path is no command."""
    found = said(text=text)
    assert (found.command, found.text) == (command, rest)


def test_a_command_to_another_bot_is_not_ours():
    """In a group with several bots each gets its own; before we know our name we take all."""
    assert parse(update(text="/new@other_bot make it red"), "factory_bot") is None
    assert isinstance(parse(update(text="/new@other_bot make it red"), ""), Said)


def test_a_reply_names_what_it_replies_to():
    """By the message's number; who wrote that does not matter here."""
    before = {"message_id": 3, "date": 1, "chat": PILOT, "text": "Ready"}
    assert said(text="make it blue", reply_to_message=before).reply_to == 3
    assert said(text="make it blue").reply_to is None


def test_links_follow_the_chat():
    """A public group has its name in them, a topic its number, a private chat none."""
    assert said(text="x", chat=PILOT | {"username": "pilot"}).link == "https://t.me/pilot/7"
    assert said(text="x", message_thread_id=9).link == "https://t.me/c/1234567890/9/7"
    assert said(text="x", chat={"id": 1001, "type": "private", "first_name": "Ada"}).link is None


FORWARD = {"type": "user", "date": 1, "sender_user": ADA}


@pytest.mark.parametrize(
    "given",
    [
        update("edited_message", message(text="make it red")),
        update("channel_post", message(text="make it red")),
        update("edited_channel_post", message(text="make it red")),
        update(text="make it red", **{"from": ADA | {"is_bot": True}}),
        update(text="make it red", **{"from": None}),
        update(text="make it red", forward_origin=FORWARD),
        update(new_chat_members=[ADA]),
        update(sticker={"file_id": "f", "file_unique_id": "u", "type": "regular", "width": 1, "height": 1,
                        "is_animated": False, "is_video": False}),
        update("callback_query", {"id": "1", "from": ADA, "chat_instance": "1", "data": "v1:j:cancel"}),
        Update(update_id=5),
    ],
    ids=["edit", "channel", "channel edit", "bot", "nobody", "forward", "join", "sticker", "button of nowhere", "empty"],
)  # fmt: skip
def test_what_is_nobodys_wish_is_passed_over(given: Update):
    """Edits, channels, bots, forwards, joins, stickers."""
    assert parse(given) is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("delete\u202edrow", "delete\\u202edrow"),  # turns what follows around
        ("a\u200bb\ufeffc\u2060d\u00ade", "a\\u200bb\\ufeffc\\u2060d\\u00ade"),
        ("x\u2066y\u2069", "x\\u2066y\\u2069"),
        ("nul\0 bell\x07 esc\x1b[31m", "nul\\u0000 bell\\u0007 esc\\u001b[31m"),
        ("hi\U000e0068\U000e0069", "hi\\U000e0068\\U000e0069"),  # tags: a text that no eye sees
        ("a\U000e0100", "a\\U000e0100"),
        ("lone \ud83d", "lone \\ud83d"),
        ("a\u200db", "a\\u200db"),
        ("line\r\nline\n\ttab", "line\nline\n\ttab"),
        ("👨\u200d💻 ❤\ufe0f 1\ufe0f\u20e3", "👨\u200d💻 ❤\ufe0f 1\ufe0f\u20e3"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
    ids=ascii,
)
def test_what_hides_or_turns_text_is_shown(text: str, kept: str):
    """Escaped, so that people and agents read the same; emoji and scripts that need joiners keep them."""
    assert clean(text) == kept
    kept.encode()


def test_names_are_cleaned_and_never_empty():
    """A name cannot fake another by what is not seen; one of nothing but such is the number."""
    assert said(text="x", **{"from": ADA | {"first_name": "Bob\u202e", "last_name": None}}).name == "Bob\\u202e"
    assert said(text="x", **{"from": ADA | {"first_name": " ", "last_name": None}}).name == "1001"
    assert len(said(text="x", **{"from": ADA | {"first_name": "B" * 300}}).name) == 80


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "\u202e" * 1_000_000, "/" * 1_000_000, "\n" * 999_999 + "x"], ids=lambda t: ascii(t[0])
)
def test_a_megabyte_is_read_in_no_time_and_not_cut(text: str):
    """Half of a wish is another wish: the desk refuses what is too long."""
    began = time.process_time()
    found = said(text=text)

    assert time.process_time() - began < 5
    assert len(found.text) >= len(text.strip())


def press(data: str | None, **more: Any) -> Update:
    body = {"id": "9", "from": ADA, "chat_instance": "1", "data": data, "message": message(text="Ready"), **more}
    return update("callback_query", body)


def test_a_button_is_what_was_pressed():
    """Job, action and arguments, by the presser."""
    assert parse(press("v1:jabcdefghij:undo:2")) == Pressed(
        update_id=5,
        chat=-1001234567890,
        user=1001,
        name="Ada L.",
        query_id="9",
        message_id=7,
        job_id="jabcdefghij",
        action="undo",
        args=("2",),
    )


@pytest.mark.parametrize("data", [None, "", "v1", "v1:j", "v2:jabcdefghij:cancel", "cancel", "::::"])
def test_a_button_of_another_make_is_passed_over(data: str | None):
    """Also one of a version that we do not know."""
    assert parse(press(data)) is None


def test_a_button_under_a_message_that_is_too_old_still_counts():
    """Telegram then shows the message without its content."""
    old = {"message_id": 7, "chat": PILOT, "date": 0}
    found = parse(press("v1:jabcdefghij:cancel", message=old))

    assert isinstance(found, Pressed) and found.message_id == 7
