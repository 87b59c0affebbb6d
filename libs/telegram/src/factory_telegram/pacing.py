"""How fast the bot may write, and what of a failed call is tried again by itself.

Telegram's limits are about 1 message a second in a chat, 20 a minute in a group and 30 a second over all; edits count
too (https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this).
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

from aiogram import Bot
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import TelegramMethod

log = logging.getLogger(__name__)

NOT_MODIFIED = "message is not modified"
UNCLEAR = (
    TelegramServerError,
    TelegramNetworkError,
    ClientDecodeError,
)  # nobody knows whether the call was carried out
REPEATABLE = frozenset({"deleteWebhook", "sendChatAction", "setMessageReaction", "setMyCommands"})


@dataclass(frozen=True)
class Limits:
    """`(calls, seconds)`: so many calls in any so many seconds. A little under Telegram's, for clocks and networks."""

    chat: tuple[int, float] = (3, 3.1)
    group: tuple[int, float] = (20, 61.0)
    overall: tuple[int, float] = (30, 1.05)
    tries: int = 5  # of one call
    backoff: float = 0.5  # seconds before the second try, doubled for each further one
    patience: float = 120.0  # a `retry_after` beyond this is raised at once


class Window:
    """At most `limit` turns in any `seconds`, given in the order in which they are asked for."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._seconds = seconds
        self._turns: deque[float] = deque(maxlen=limit)
        self._held = 0.0

    def reserve(self, now: float) -> float:
        """The time of the next free turn, which is taken with this; on the caller's clock."""
        turn = max(now, self._held, self._turns[-1] if self._turns else now)
        if len(self._turns) == self._turns.maxlen:
            turn = max(turn, self._turns[0] + self._seconds)
        self._turns.append(turn)
        return turn

    def hold(self, until: float) -> None:
        """No turn before `until`; turns that were given for before are asked for again."""
        self._held = max(self._held, until)
        self._turns.clear()

    async def wait(self) -> None:
        """Returns when it is the caller's turn."""
        clock = asyncio.get_running_loop().time
        while True:
            turn = self.reserve(clock())
            while (left := turn - clock()) > 0:
                await asyncio.sleep(left)
            if turn >= self._held:
                return


class Pacing(BaseRequestMiddleware):
    """Waits for a turn before a message or an edit; repeats what Telegram asks to repeat or what cannot do harm.

    - 429: waits `retry_after`, the whole chat with it, and repeats; it is certain that nothing was done.
    - An unclear error (5xx, network, an answer that is no JSON): repeats what has the same effect twice (get…, edit…,
      reactions, commands); sendMessage and the like are raised, their caller decides.
    - An edit that changes nothing has succeeded: True.

    Anything else is raised as aiogram's own exception. One instance paces one process only.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._overall = Window(*self._limits.overall)
        self._chats: dict[int | str, Window] = {}
        self._groups: dict[int | str, Window] = {}

    async def __call__(
        self, make_request: NextRequestMiddlewareType[Any], bot: Bot, method: TelegramMethod[Any]
    ) -> Any:
        name = method.__api_method__
        tries = self._limits.tries
        for attempt in range(1, tries + 1):
            await self._turn(method)
            try:
                return await make_request(bot, method)
            except TelegramRetryAfter as error:
                if attempt == tries or error.retry_after > self._limits.patience:
                    raise
                log.warning("telegram asks to wait %s s before %s", error.retry_after, name)
                await self._hold(method, error.retry_after)
            except TelegramBadRequest as error:
                if name.startswith("edit") and NOT_MODIFIED in error.message:
                    return True
                raise
            except UNCLEAR as error:
                if attempt == tries or not repeatable(name) or isinstance(error, TelegramEntityTooLarge):
                    raise
                log.warning("telegram %s failed, try %s of %s: %s", name, attempt, tries, type(error).__name__)
                await asyncio.sleep(self._limits.backoff * 2 ** (attempt - 1))
        raise AssertionError("the last try returns or raises")

    async def _turn(self, method: TelegramMethod[Any]) -> None:
        """Chat first and overall last, so that a slow chat takes no turn away from the others while it waits."""
        chat_id = paced_chat(method)
        if chat_id is None:
            return
        for _ in range(len(getattr(method, "media", None) or ()) if method.__api_method__ == "sendMediaGroup" else 1):
            await self._chats.setdefault(chat_id, Window(*self._limits.chat)).wait()
            if isinstance(chat_id, str) or chat_id < 0:
                await self._groups.setdefault(chat_id, Window(*self._limits.group)).wait()
            await self._overall.wait()

    async def _hold(self, method: TelegramMethod[Any], seconds: float) -> None:
        chat_id = paced_chat(method)
        if chat_id is None:
            await asyncio.sleep(seconds)
        else:
            self._chats[chat_id].hold(asyncio.get_running_loop().time() + seconds)


def paced_chat(method: TelegramMethod[Any]) -> int | str | None:
    """The chat in which the call writes; None for a call that writes nowhere."""
    name = method.__api_method__
    if not name.startswith(("send", "edit", "copy", "forward")) or name == "sendChatAction":
        return None
    return getattr(method, "chat_id", None)


def repeatable(name: str) -> bool:
    """Whether the method has the same effect when it is carried out twice."""
    return name.startswith(("get", "edit")) or name in REPEATABLE
