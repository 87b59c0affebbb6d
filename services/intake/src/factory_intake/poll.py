"""Our own `getUpdates` loop: the offset moves on only after what an update asked for is written. One leader a bot."""

from __future__ import annotations

import asyncio
import html
import re

import asyncpg
import structlog
from aiogram import Bot
from aiogram.exceptions import (
    AiogramError,
    TelegramConflictError,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, ReplyParameters, Update
from factory_chassis.worker import POSTGRES_AWAY
from factory_jobs.errors import StoreError

from .desk import Answer, Desk
from .incoming import Pressed, Said, parse

log = structlog.get_logger()

WANTED = ["message", "callback_query"]


class Poll:
    """aiogram's own polling confirms an update whose handler raised; this loop does not."""

    def __init__(self, bot: Bot, desk: Desk, pool: asyncpg.Pool, *, timeout: int) -> None:
        self.bot, self.desk, self.pool, self.timeout = bot, desk, pool, timeout
        self.offset = 0

    async def run(self) -> None:
        """Waits for the lead; a second intake takes over when the first is gone."""
        while True:
            try:
                async with self.pool.acquire() as c:
                    await c.execute("SELECT pg_advisory_lock(hashtext($1))", f"poll:{self.desk.bot}", timeout=None)
                    try:
                        await self._lead()
                    finally:
                        if not c.is_closed():
                            await c.execute("SELECT pg_advisory_unlock_all()")
            except POSTGRES_AWAY as e:
                log.warning("intake: Postgres does not answer", why=repr(e))
                await asyncio.sleep(1)

    async def _lead(self) -> None:
        log.info("polling", bot=self.desk.bot)
        while True:
            updates = await self._updates()
            for update in updates:
                await self._handle(update)
                self.offset = update.update_id + 1

    async def _updates(self) -> list[Update]:
        try:
            return await self.bot.get_updates(
                offset=self.offset,
                timeout=self.timeout,
                allowed_updates=WANTED,
                request_timeout=self.timeout + 10,
            )
        except TelegramUnauthorizedError:
            raise
        except TelegramRetryAfter as e:
            await asyncio.sleep(e.retry_after)
        except TelegramConflictError:
            log.warning("another process polls this bot")
            await asyncio.sleep(3)
        except (
            AiogramError,
            TimeoutError,
            OSError,
        ) as e:  # also what is no answer of Telegram at all, a page of a proxy
            log.warning("Telegram does not answer", why=repr(e))
            await asyncio.sleep(2)
        return []

    async def _handle(self, update: Update) -> None:
        """Written first, then answered. Where Postgres is away the same update comes again."""
        meant = parse(update)
        if meant is None:
            return
        try:
            answer = await (self.desk.said(meant) if isinstance(meant, Said) else self.desk.pressed(meant))
        except StoreError as e:
            log.warning("the job has moved on", why=str(e))
            answer = Answer("That job has moved on meanwhile; /jobs shows how it stands.")
        try:
            await self._say(meant, answer)
        except (AiogramError, TimeoutError, OSError) as e:
            log.warning("answer not sent", why=repr(e), update_id=update.update_id)

    async def _say(self, meant: Said | Pressed, answer: Answer | None) -> None:
        if isinstance(meant, Pressed):
            text = answer.text if answer else ""
            await self.bot.answer_callback_query(meant.query_id, text=_plain(text)[:200] or None)
            return
        if answer is None or not answer.text:
            return
        buttons = [[InlineKeyboardButton(text=b.label, callback_data=b.data) for b in answer.buttons]]
        await self.bot.send_message(
            meant.chat,
            answer.text,
            reply_parameters=ReplyParameters(message_id=meant.message_id, allow_sending_without_reply=True),
            reply_markup=InlineKeyboardMarkup(inline_keyboard=buttons) if answer.buttons else None,
        )


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", text))
