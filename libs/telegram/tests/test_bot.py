"""The bot and its pacing, without a server: turns on a clock of the test's, and what is tried again."""

import asyncio
from typing import Any

import pytest
from aiogram import Bot
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import (
    AnswerCallbackQuery,
    EditMessageText,
    GetMe,
    GetUpdates,
    SendChatAction,
    SendMediaGroup,
    SendMessage,
    TelegramMethod,
)
from aiogram.types import InputMediaPhoto
from aiogram.utils.token import TokenValidationError
from factory_telegram.bot import make_bot
from factory_telegram.links import message_link
from factory_telegram.pacing import Limits, Pacing, Window, paced_chat, repeatable

GROUP, OTHER = -1001, -1002
QUICK = Limits(chat=(1000, 1.0), group=(1000, 1.0), overall=(1000, 1.0), backoff=0.01)
SEND = SendMessage(chat_id=GROUP, text="x")
EDIT = EditMessageText(chat_id=GROUP, message_id=1, text="x")


class Far:
    """The far side: answers with these outcomes in turn, notes what came and when."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.made = asyncio.get_running_loop().time()
        self.seen: list[tuple[float, TelegramMethod[Any]]] = []

    async def __call__(self, bot: Any, method: TelegramMethod[Any]) -> Any:
        self.seen.append((asyncio.get_running_loop().time(), method))
        outcome = self.outcomes.pop(0) if self.outcomes else "done"
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def times(self) -> list[float]:
        """Seconds since before the first call: a late wake-up makes none of them smaller."""
        return [at - self.made for at, _ in self.seen]


async def call(pacing: Pacing, far: Far, method: TelegramMethod[Any]) -> Any:
    return await pacing(far, None, method)  # type: ignore[arg-type]


async def cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def too_many(seconds: int) -> TelegramRetryAfter:
    return TelegramRetryAfter(SEND, "Too Many Requests", seconds)


def test_a_window_gives_a_burst_and_then_its_rate():
    """Three at once, then three in any three seconds; a pause fills it up again."""
    window = Window(3, 3.0)

    assert [window.reserve(10.0) for _ in range(7)] == [10, 10, 10, 13, 13, 13, 16]
    assert window.reserve(14.0) == 16  # turns are given in order
    assert [window.reserve(30.0) for _ in range(4)] == [30, 30, 30, 33]


def test_no_window_is_ever_overfull():
    """Whenever the turns are asked for, no `seconds` hold more than `limit` of them."""
    window = Window(4, 2.0)
    turns = [window.reserve(ask) for ask in (0, 0.1, 0.1, 1.9, 1.95, 2.0, 2.1, 2.1, 5, 5, 5, 5, 5, 6.9, 6.9)]

    assert turns == sorted(turns)
    assert all(later - turn >= 2.0 for turn, later in zip(turns, turns[4:], strict=False))


async def test_a_chat_is_paced_and_another_is_not_held_up():
    """Two of five at once in the busy chat, the others wait; the other chat's message goes at once."""
    pacing, far = Pacing(Limits(chat=(2, 600.0), group=(100, 1.0), overall=(3, 600.0))), Far()
    busy = [asyncio.create_task(call(pacing, far, SEND)) for _ in range(5)]

    await asyncio.wait_for(call(pacing, far, SendMessage(chat_id=OTHER, text="x")), 10)

    assert sorted(method.chat_id for _, method in far.seen) == [OTHER, GROUP, GROUP]  # type: ignore[attr-defined]
    assert [task.done() for task in busy] == [True, True, False, False, False]
    await cancelled(busy)


async def test_a_chat_goes_on_at_its_rate():
    """All five arrive, two in any 0.2 s."""
    pacing, far = Pacing(Limits(chat=(2, 0.2), group=(100, 1.0), overall=(100, 1.0))), Far()

    await asyncio.gather(*(call(pacing, far, SEND) for _ in range(5)))

    assert len(far.seen) == 5
    assert far.times()[2] >= 0.19 and far.times()[4] >= 0.39


async def test_groups_have_a_limit_of_their_own_and_edits_count():
    """A private chat is not held by it; messages and edits of a group share it."""
    pacing, far = Pacing(Limits(chat=(100, 1.0), group=(2, 600.0), overall=(100, 1.0))), Far()
    private = SendMessage(chat_id=1001, text="x")

    await asyncio.wait_for(asyncio.gather(*(call(pacing, far, m) for m in (SEND, EDIT, private, private, private))), 10)
    late = asyncio.create_task(call(pacing, far, SEND))
    await asyncio.sleep(0.1)

    assert not late.done() and len(far.seen) == 5
    await cancelled([late])


async def test_all_chats_share_the_limit_over_all():
    """The third message of three chats waits."""
    pacing, far = Pacing(Limits(chat=(100, 1.0), group=(100, 1.0), overall=(2, 0.3))), Far()

    await asyncio.gather(*(call(pacing, far, SendMessage(chat_id=n, text="x")) for n in (1, 2, 3)))

    assert far.times()[2] >= 0.29


async def test_an_album_counts_as_its_messages():
    """Two photos take two turns."""
    pacing, far = Pacing(Limits(chat=(2, 0.3), group=(100, 1.0), overall=(100, 1.0))), Far()
    photo = InputMediaPhoto(media="id")
    await call(pacing, far, SendMediaGroup(chat_id=GROUP, media=[photo, photo]))

    await call(pacing, far, SEND)

    assert far.times()[1] >= 0.29


def test_what_writes_nothing_is_not_paced():
    """Polling, answers to presses and actions go at once; everything that puts something into a chat takes a turn."""
    assert [paced_chat(m) for m in (GetUpdates(), GetMe(), AnswerCallbackQuery(callback_query_id="1"))] == [None] * 3
    assert paced_chat(SendChatAction(chat_id=GROUP, action="typing")) is None
    assert [paced_chat(SEND), paced_chat(EDIT), paced_chat(SendMessage(chat_id="@a", text="x"))] == [GROUP, GROUP, "@a"]


async def test_retry_after_is_waited_for_by_the_whole_chat():
    """A 429 of one message holds the next ones of this chat, and no other chat; all arrive, in order."""
    pacing, far = Pacing(QUICK), Far(too_many(1))
    first = asyncio.create_task(call(pacing, far, SEND))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(call(pacing, far, EDIT))

    await call(pacing, far, SendMessage(chat_id=OTHER, text="x"))
    assert len(far.seen) == 2

    assert await asyncio.gather(first, second) == ["done", "done"]
    assert all(at >= 0.99 for at in far.times()[2:])
    assert {type(method) for _, method in far.seen[2:]} == {SendMessage, EditMessageText}


async def test_those_who_waited_for_a_turn_wait_out_the_hold_too():
    """Who had a turn before the 429 came asks again; the rate holds after it as well."""
    pacing = Pacing(Limits(chat=(1, 0.3), group=(100, 1.0), overall=(100, 1.0)))
    far = Far(too_many(1))

    await asyncio.gather(*(call(pacing, far, SEND) for _ in range(3)))

    assert len(far.seen) == 4
    assert all(at >= least for at, least in zip(far.times(), (0, 0.99, 1.29, 1.59), strict=True))


async def test_patience_and_tries_have_an_end():
    """A longer `retry_after` is raised at once; one that never ends is raised after the last try."""
    far = Far(too_many(121))
    with pytest.raises(TelegramRetryAfter):
        await call(Pacing(QUICK), far, SEND)
    assert len(far.seen) == 1

    far = Far(*[too_many(0)] * 9)
    with pytest.raises(TelegramRetryAfter):
        await call(Pacing(QUICK), far, SEND)
    assert len(far.seen) == 5


UNCLEAR = [
    TelegramServerError(SEND, "Bad Gateway"),
    TelegramNetworkError(SEND, "ServerDisconnectedError"),
    ClientDecodeError("Failed to decode object", ValueError("no JSON"), "<html>"),
]


@pytest.mark.parametrize("error", UNCLEAR, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", [GetUpdates(), GetMe(), EDIT], ids=lambda method: method.__api_method__)
async def test_what_does_no_harm_twice_is_tried_again(error: Exception, method: TelegramMethod[Any]):
    """Polls, questions and edits go through after two unclear errors, and are raised after five."""
    far = Far(error, error)
    assert await call(Pacing(QUICK), far, method) == "done"
    assert len(far.seen) == 3

    far = Far(*[error] * 9)
    with pytest.raises(type(error)):
        await call(Pacing(QUICK), far, method)
    assert len(far.seen) == 5


@pytest.mark.parametrize("error", UNCLEAR, ids=lambda error: type(error).__name__)
async def test_a_message_is_never_sent_again_by_itself(error: Exception):
    """Nobody knows whether it arrived: the caller decides."""
    far = Far(error)

    with pytest.raises(type(error)):
        await call(Pacing(QUICK), far, SEND)

    assert len(far.seen) == 1
    assert not any(map(repeatable, ("sendMessage", "sendVideo", "sendMediaGroup", "deleteMessage", "pinChatMessage")))


async def test_an_edit_that_changes_nothing_has_succeeded():
    """True for an edit; the same words for anything else, and other refusals, are raised."""
    same = TelegramBadRequest(EDIT, "Bad Request: message is not modified: specified new message content …")
    assert await call(Pacing(QUICK), Far(same), EDIT) is True

    for error, method in ((same, SEND), (TelegramBadRequest(EDIT, "Bad Request: message to edit not found"), EDIT)):
        far = Far(error)
        with pytest.raises(TelegramBadRequest):
            await call(Pacing(QUICK), far, method)
        assert len(far.seen) == 1


async def test_a_file_that_is_too_large_is_not_tried_again():
    """aiogram counts it to the network errors, but it will not get smaller."""
    far = Far(TelegramEntityTooLarge(EDIT, "Request Entity Too Large"))

    with pytest.raises(TelegramEntityTooLarge):
        await call(Pacing(QUICK), far, EDIT)

    assert len(far.seen) == 1


@pytest.mark.parametrize(
    ("api", "url"),
    [
        (None, "https://api.telegram.org/bot42:abc/getMe"),
        ("http://127.0.0.1:8081/", "http://127.0.0.1:8081/bot42:abc/getMe"),
    ],
)
async def test_the_bot_speaks_html_to_the_api_that_it_is_given(api: str | None, url: str):
    """Telegram's own servers where none is named."""
    bot: Bot = make_bot("42:abc", api)

    assert bot.session.api.api_url("42:abc", "getMe") == url
    assert bot.default.parse_mode == "HTML"
    assert [type(middleware) for middleware in bot.session.middleware] == [Pacing]
    with pytest.raises(TokenValidationError):
        make_bot("no token")


@pytest.mark.parametrize(
    ("arguments", "link"),
    [
        ((-1001234567890, 7), "https://t.me/c/1234567890/7"),
        ((-1001234567890, 7, None, 3), "https://t.me/c/1234567890/3/7"),
        ((-1001234567890, 7, "pilot"), "https://t.me/pilot/7"),
        ((-1001234567890, 7, "@pilot", 3), "https://t.me/pilot/3/7"),
        ((-77, 7), None),
        ((1001, 7, "ada"), None),
    ],
)
def test_links_of_messages(arguments: tuple[Any, ...], link: str | None):
    """Supergroups have them, public ones by name; basic groups and private chats have none."""
    assert message_link(*arguments) == link
