"""Telegram's updates as what they mean to us. Parsed at the edge, no I/O."""

from __future__ import annotations

import re

import msgspec
from aiogram.types import CallbackQuery, Message, Update, User
from factory_telegram.links import message_link

COMMAND = re.compile(r"^/([a-z_]+)(?:@(\w+))?(?:\s+|$)", re.I)
# Characters that hide or turn text, or smuggle it past a reader's eyes (tags, variation selectors): shown escaped, never
# kept as they are. Not those that letters and emoji need: joiners after an emoji, an Arabic or an Indic letter.
INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
    "|(?<![\u2600-\u27bf\ufe0f\U0001f000-\U0001faff\u0600-\u06ff\u0900-\u0dff])[\u200c\u200d]"
)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a person. `command` is the word after the slash, or empty; `to` the bot that it names, if any."""

    update_id: int
    chat: int
    user: int
    name: str
    message_id: int
    text: str
    command: str = ""
    to: str = ""
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


def parse(update: Update, bot: str = "") -> Said | Pressed | None:
    """None for what is nobody's wish: edits, channel posts, bots, forwards, joins, commands to another bot than `bot`."""
    if update.message is not None:
        said = _said(update.update_id, update.message)
        return None if said and bot and said.to.lower() not in {"", bot.lower()} else said
    if update.callback_query is not None:
        return _pressed(update.update_id, update.callback_query)
    return None


def clean(text: str) -> str:
    return INVISIBLE.sub(_escaped, text.replace("\r\n", "\n")).strip()


def _escaped(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


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
        name=_name(user),
        message_id=message.message_id,
        text=text[command.end() :].strip() if command else text,
        command=command.group(1).lower() if command else "",
        to=(command.group(2) or "") if command else "",
        reply_to=message.reply_to_message.message_id if message.reply_to_message else None,
        link=message_link(message.chat.id, message.message_id, message.chat.username, message.message_thread_id),
    )


def _name(user: User) -> str:
    return clean(user.full_name)[:80] or str(user.id)


def _pressed(update_id: int, query: CallbackQuery) -> Pressed | None:
    parts = (query.data or "").split(":")
    if query.message is None or len(parts) < 3 or parts[0] != "v1":
        return None
    return Pressed(
        update_id=update_id,
        chat=query.message.chat.id,
        user=query.from_user.id,
        name=_name(query.from_user),
        query_id=query.id,
        message_id=query.message.message_id,
        job_id=parts[1],
        action=parts[2],
        args=tuple(parts[3:]),
    )
