"""Telegram's updates as what they mean to us. Parsed at the edge, no I/O."""

from __future__ import annotations

import re

import msgspec
from aiogram.types import CallbackQuery, Message, Update
from factory_telegram.links import message_link

MAX_TEXT = 20_000
COMMAND = re.compile(r"^/([a-z_]+)(?:@\w+)?(?:\s+|$)", re.I)
# characters that hide or turn text: shown escaped, never kept as they are
INVISIBLE = re.compile("[\u0000-\u0008\u000b-\u001f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a person. `command` is the word after the slash, or empty."""

    update_id: int
    chat: int
    user: int
    name: str
    message_id: int
    text: str
    command: str = ""
    reply_to: int | None = None
    link: str | None = None


class Pressed(msgspec.Struct, frozen=True, kw_only=True):
    """A button under a message of ours. `args` is what `words.button` put together, without its version."""

    update_id: int
    chat: int
    user: int
    name: str
    query_id: str
    message_id: int
    job_id: str
    action: str
    args: tuple[str, ...]


def parse(update: Update) -> Said | Pressed | None:
    """None for what is nobody's wish: edits, channel posts, bots, forwards, joins."""
    if update.message is not None:
        return _said(update.update_id, update.message)
    if update.callback_query is not None:
        return _pressed(update.update_id, update.callback_query)
    return None


def clean(text: str) -> str:
    return INVISIBLE.sub(lambda m: f"\\u{ord(m.group()):04x}", text)[:MAX_TEXT].strip()


def _said(update_id: int, message: Message) -> Said | None:
    user = message.from_user
    if user is None or user.is_bot or message.forward_origin is not None:
        return None
    text = message.text or message.caption
    if text is None:
        return None
    text = clean(text)
    command = COMMAND.match(text)
    return Said(
        update_id=update_id,
        chat=message.chat.id,
        user=user.id,
        name=clean(user.full_name)[:80] or str(user.id),
        message_id=message.message_id,
        text=text[command.end() :].strip() if command else text,
        command=command.group(1).lower() if command else "",
        reply_to=message.reply_to_message.message_id if message.reply_to_message else None,
        link=message_link(message.chat.id, message.message_id, message.chat.username, message.message_thread_id),
    )


def _pressed(update_id: int, query: CallbackQuery) -> Pressed | None:
    parts = (query.data or "").split(":")
    if query.message is None or len(parts) < 3 or parts[0] != "v1":
        return None
    return Pressed(
        update_id=update_id,
        chat=query.message.chat.id,
        user=query.from_user.id,
        name=clean(query.from_user.full_name)[:80],
        query_id=query.id,
        message_id=query.message.message_id,
        job_id=parts[1],
        action=parts[2],
        args=tuple(parts[3:]),
    )
