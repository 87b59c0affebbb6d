"""Sends, edits, films: what the bot does in a chat to make one message stand as it is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import (
    FSInputFile,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    LinkPreviewOptions,
    ReplyParameters,
)
from factory_telegram.words import Wanted

NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


class Chat:
    """One bot's hand in all chats."""

    def __init__(self, bot: Bot) -> None:
        self.bot = bot

    async def show(self, chat: int, message_id: int | None, wanted: Wanted, *, reply_to: int | None) -> int:
        """Sends the message, or edits the one that stands; a message that somebody deleted is sent again."""
        keyboard = _keyboard(wanted)
        if message_id is not None:
            try:
                await self.bot.edit_message_text(
                    wanted.text,
                    chat_id=chat,
                    message_id=message_id,
                    reply_markup=keyboard,
                    link_preview_options=NO_PREVIEW,
                )
                return message_id
            except TelegramBadRequest as e:
                if "not found" not in e.message and "can't be edited" not in e.message:
                    raise
        sent = await self.bot.send_message(
            chat,
            wanted.text,
            reply_markup=keyboard,
            link_preview_options=NO_PREVIEW,
            disable_notification=not wanted.notify,
            reply_parameters=_reply(reply_to),
        )
        return sent.message_id

    async def film(self, chat: int, wanted: Wanted, file: Path, facts: dict[str, Any], *, reply_to: int | None) -> int:
        """A video that plays in the chat. `facts`: seconds, width, height."""
        sent = await self.bot.send_video(
            chat,
            FSInputFile(file, filename=file.name),
            caption=wanted.text,
            duration=round(facts.get("seconds") or 0) or None,
            width=facts.get("width"),
            height=facts.get("height"),
            supports_streaming=True,
            reply_parameters=_reply(reply_to),
            request_timeout=120,
        )
        return sent.message_id


def _reply(message_id: int | None) -> ReplyParameters | None:
    return ReplyParameters(message_id=message_id, allow_sending_without_reply=True) if message_id else None


def _keyboard(wanted: Wanted) -> InlineKeyboardMarkup | None:
    if not wanted.buttons:
        return None
    buttons = [
        InlineKeyboardButton(text=b.label, url=b.url)
        if b.url
        else InlineKeyboardButton(text=b.label, callback_data=b.data)
        for b in wanted.buttons
    ]
    return InlineKeyboardMarkup(inline_keyboard=[buttons[i : i + 3] for i in range(0, len(buttons), 3)])
