"""What the Bot API promises: both descriptions, and what happens where an answer is not as described."""

import re

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramServerError
from factory_loopback.errors import BotApiError, BrokenPromise
from factory_loopback.telegram import LoopbackTelegram, methods, spec

needs_description = pytest.mark.skipif(
    not spec.description(), reason="no copy of the machine-readable Bot API beside the repository"
)
MESSAGE = {"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}, "text": "x"}


def test_every_built_method_exists_with_its_parameters():
    """No method and no parameter is built that the Bot API does not have."""
    for name, built in methods.METHODS.items():
        known = spec.known_methods()[name.lower()]
        assert known and known.__api_method__ == name
        assert built.parameters <= set(known.model_fields), name


@needs_description
def test_the_description_knows_every_built_method():
    """The second description agrees with aiogram's."""
    description = spec.description() or {}
    for name, built in methods.METHODS.items():
        assert built.parameters <= {field["name"] for field in description["methods"][name].get("fields", [])}, name


@needs_description
def test_reactions_are_those_of_the_description():
    """The list of allowed emoji is Telegram's own."""
    fields = (spec.description() or {})["types"]["ReactionTypeEmoji"]["fields"]
    words = next(field["description"] for field in fields if field["name"] == "emoji")

    assert set(re.findall('"([^"]+)"', words)) == methods.REACTIONS


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("sendMessage", {**MESSAGE, "date": "soon"}, "date"),
        ("sendMessage", {key: value for key, value in MESSAGE.items() if key != "chat"}, "chat"),
        ("sendMessage", {**MESSAGE, "mood": "good"}, "unknown field mood"),
        ("sendMessage", {**MESSAGE, "chat": {**MESSAGE["chat"], "colour": 1}}, "unknown field chat.colour"),
        ("getUpdates", [{"message": MESSAGE}], "update_id"),
        ("deleteMessage", {"ok": 1}, "result"),
    ],
)
def test_an_answer_that_is_not_as_described_is_a_broken_promise(method: str, answer: object, words: str):
    """A wrong type, a missing field, an unknown field, at any depth."""
    with pytest.raises(BrokenPromise, match=re.escape(words)):
        spec.check_answer(method, answer)

    spec.check_answer("sendMessage", MESSAGE)


@needs_description
@pytest.mark.parametrize(
    ("method", "args", "words"),
    [
        ("sendMessage", {"chat_id": 1.0, "text": "x"}, "chat_id"),
        ("sendMessage", {"chat_id": 1, "text": "x", "reply_parameters": {}}, "reply_parameters.message_id is missing"),
        ("setMyCommands", {"commands": [{"command": "a", "description": "b"}], "scope": {"type": "chat"}}, "scope"),
    ],
)
def test_the_description_sees_more_than_aiogram(method: str, args: dict, words: str):
    """aiogram lets some through that the Bot API does not take."""
    with pytest.raises(BotApiError, match=re.escape(words)):
        spec.check_request(method, args, {})


async def test_a_broken_promise_is_loud(telegram: LoopbackTelegram, bot: Bot, monkeypatch: pytest.MonkeyPatch):
    """A defect of the loopback server is a 500 and a violation, not a strange answer."""

    async def wrong(call: methods.Context) -> dict:
        return {"id": "none"}

    monkeypatch.setitem(methods.METHODS, "getMe", methods.Method(wrong, frozenset()))

    with pytest.raises(TelegramServerError, match="answer to getMe is not what the Bot API describes"):
        await bot.get_me()

    assert len(telegram.violations) == 1
