"""Our own `getUpdates` loop: the offset moves on only after what an update asked for is written. One leader a bot."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog
from aiogram import Bot
from aiogram.exceptions import (
    AiogramError,
    TelegramConflictError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, ReplyParameters, Update
from factory_chassis import failpoints
from factory_chassis.settings import BadSettings
from factory_chassis.worker import POSTGRES_AWAY
from factory_jobs import db
from factory_jobs.errors import StoreError
from factory_telegram import words

from .desk import Answer, Desk
from .incoming import Pressed, Said, parse

log = structlog.get_logger()

WANTED = ["message", "callback_query"]
TOAST = 200  # characters of the answer to a press (https://core.telegram.org/bots/api#answercallbackquery)
OUT_OF_REACH = (AiogramError, TimeoutError, OSError)  # also what is no answer of Telegram at all, a page of a proxy


class Poll:
    """aiogram's own polling confirms an update whose handler raised; this loop does not."""

    def __init__(self, bot: Bot, desk: Desk, pool: asyncpg.Pool, *, timeout: int) -> None:
        self.bot, self.desk, self.pool, self.timeout = bot, desk, pool, timeout
        self.name = ""  # the bot's username
        self.offset = 0

    async def run(self) -> None:
        """Asks for the lead every second; a second intake takes over when the first is gone. Raises BadSettings."""
        while True:
            try:
                async with self.pool.acquire() as c:
                    if await db.lead(c, f"poll:{self.desk.bot}"):
                        await self._lead(c)
            except POSTGRES_AWAY as e:
                log.warning("intake: Postgres does not answer", why=repr(e))
            await asyncio.sleep(1)

    async def _lead(self, holder: asyncpg.pool.PoolConnectionProxy) -> None:
        """As long as the connection that holds the lead lives; giving it back ends the lead."""
        log.info("polling", bot=self.desk.bot)
        while True:
            for update in await self._updates():
                await self._handle(update)
                self.offset = update.update_id + 1
            await holder.execute("SELECT 1")

    async def _updates(self) -> list[Update]:
        try:
            self.name = self.name or (await self.bot.me()).username or ""
            return await self.bot.get_updates(
                offset=self.offset,
                timeout=self.timeout,
                allowed_updates=WANTED,
                request_timeout=self.timeout + 10,
            )
        except (TelegramUnauthorizedError, TelegramNotFound) as e:
            raise BadSettings([f"FACTORY_TELEGRAM_TOKEN: Telegram refuses it ({e.message})"]) from None
        except TelegramRetryAfter as e:
            await asyncio.sleep(e.retry_after)
        except TelegramConflictError:
            log.warning("another process polls this bot")
            await asyncio.sleep(3)
        except OUT_OF_REACH as e:
            log.warning("Telegram does not answer", why=repr(e))
            await asyncio.sleep(2)
        return []

    async def _handle(self, update: Update) -> None:
        """Written first, then answered. Where Postgres is away the same update comes again."""
        meant = parse(update, self.name)
        if meant is None:
            return
        answer = await self._answer(meant)
        await failpoints.reached("intake.written")
        try:
            await self._say(meant, answer)
        except OUT_OF_REACH as e:
            log.warning("answer not sent", why=repr(e), update_id=update.update_id)

    async def _answer(self, meant: Said | Pressed) -> Answer | None:
        """One message that breaks us holds up no other: it is answered, and not tried again.

        Raises POSTGRES_AWAY; what the client cannot encode is one of these too, but no better the next time.
        """
        try:
            return await (self.desk.said(meant) if isinstance(meant, Said) else self.desk.pressed(meant))
        except asyncpg.UniqueViolationError:
            log.info("another intake took it at the same time", update_id=meant.update_id)
            return None
        except StoreError as e:
            log.warning("the job has moved on", why=str(e))
            return Answer(words.MOVED_ON)
        except Exception as e:
            if isinstance(e, POSTGRES_AWAY) and not isinstance(e, ValueError):
                raise
            log.exception("update broke", why=repr(e), update_id=meant.update_id)
            return Answer(words.BROKE)

    async def _say(self, meant: Said | Pressed, answer: Answer | None) -> None:
        if isinstance(meant, Pressed):
            text = words.cut(words.plain(answer.text), TOAST) if answer else ""
            await self.bot.answer_callback_query(meant.query_id, text=text or None)
            return
        if answer is None or not answer.text:
            return
        buttons = [[InlineKeyboardButton(text=b.label, callback_data=b.data) for b in answer.buttons]]
        sent = await self.bot.send_message(
            meant.chat,
            answer.text,
            reply_parameters=ReplyParameters(message_id=meant.message_id, allow_sending_without_reply=True),
            reply_markup=InlineKeyboardMarkup(inline_keyboard=buttons) if answer.buttons else None,
        )
        if answer.job_id:
            kind = f"answer:{meant.update_id}"
            await self.desk.line.records.put_answer(answer.job_id, str(meant.chat), kind, sent.message_id)
