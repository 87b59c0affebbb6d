"""What Telegram holds for one bot: users, chats, the messages in them as they stand, and what happened to each."""

import asyncio
import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from factory_loopback.errors import BadSetup, BotApiError
from factory_loopback.journal import Journal

from .entities import to_html
from .files import Files
from .updates import Updates
from .webhook import Webhook

Wire = dict[str, Any]  # an object in the Bot API's own shape

SUPERGROUP = -1_000_000_000_000  # ids of supergroups lie below; -id minus this is the number in t.me/c/ links


@dataclass
class Chat:
    """A chat; its kind follows from its id, as in Telegram: positive private, below -10^12 supergroup, else group."""

    id: int
    title: str
    username: str = ""
    forum: bool = False
    pinned: int | None = None
    last_id: int = 0  # message ids count up in each chat by themselves, so two chats share them

    @property
    def kind(self) -> str:
        return "private" if self.id > 0 else "supergroup" if self.id < SUPERGROUP else "group"

    @property
    def wire(self) -> Wire:
        name = {"first_name": self.title} if self.kind == "private" else {"title": self.title}
        username = {"username": self.username} if self.username else {}
        return {"id": self.id, "type": self.kind, **name, **username, **({"is_forum": True} if self.forum else {})}

    def link(self, message_id: int, thread_id: int | None = None) -> str | None:
        """The address of a message; only supergroups have such."""
        if self.kind != "supergroup":
            return None
        where = self.username or f"c/{SUPERGROUP - self.id}"
        return f"https://t.me/{where}/{f'{thread_id}/' if thread_id else ''}{message_id}"


@dataclass
class Posted:
    """A message of a chat with its past; `wire` is the Bot API's Message without `chat` and `reply_to_message`."""

    chat_id: int
    message_id: int
    wire: Wire
    reply_to: int | None = None
    silent: bool = False  # sent without a sound
    deleted: bool = False
    history: list[str] = field(default_factory=list)  # HTML of each text that it showed before the present one
    edited_at: list[float] = field(default_factory=list)  # Unix times of every change that a reader could see
    reactions: dict[str, list[str]] = field(default_factory=dict)  # user id: emoji
    keyboard: Wire | None = None  # a reply keyboard, its removal or a forced reply: no part of the Bot API's Message

    @property
    def text(self) -> str:
        return self.wire.get("text", self.wire.get("caption", ""))

    @property
    def entities(self) -> list[Wire]:
        return self.wire.get("entities", self.wire.get("caption_entities", []))

    @property
    def html(self) -> str:
        return to_html(self.text, self.entities)

    @property
    def buttons(self) -> list[list[Wire]]:
        return self.wire.get("reply_markup", {}).get("inline_keyboard", [])


class Chats:
    """The bot's side of Telegram's memory. Everything that changes is journalled and wakes who watches."""

    def __init__(self, bot: Wire, directory: Path, journal: Journal) -> None:
        self.bot = bot
        self.journal = journal
        self.files = Files(directory / "files", journal)
        self.updates = Updates(journal)
        self.webhook = Webhook(self.updates, journal)
        self.users: dict[int, Wire] = {int(k): v for k, v in journal.under("user:").items()}
        self.chats: dict[int, Chat] = {int(k): Chat(**v) for k, v in journal.under("chat:").items()}
        self._commands: dict[str, list[Wire]] = journal.under("commands:")  # by scope
        self.actions: dict[int, tuple[str, float]] = {}  # chat: what the bot is doing, until when (monotonic)
        self.presses: dict[str, asyncio.Future[Wire]] = {}  # callback queries that wait for their answer
        self._messages: dict[int, dict[int, Posted]] = {chat_id: {} for chat_id in self.chats}
        for record in journal.under("message:").values():
            posted = Posted(**record)
            self._messages[posted.chat_id][posted.message_id] = posted
        self.version = 0
        self._change = asyncio.Event()

    # Who and where

    def add_user(self, user_id: int, name: str, username: str = "") -> None:
        """A person, with a private chat with the bot; a member of every group here."""
        if user_id <= 0:
            raise BadSetup(f"User {user_id}: ids of users are positive (as in --user 1001=Ada).")
        username_part = {"username": username} if username else {}
        self.users[user_id] = {"id": user_id, "is_bot": False, "first_name": name, **username_part}
        self.journal.put(f"user:{user_id}", self.users[user_id])
        self.add_chat(user_id, name, username)

    def add_chat(self, chat_id: int, title: str, username: str = "", *, forum: bool = False) -> Chat:
        """A chat; one that is there already keeps its messages."""
        if chat_id > 0 and chat_id not in self.users:
            raise BadSetup(f"Chat {chat_id}: a positive id is a private chat, add its user instead (--user).")
        known = self.chats.get(chat_id, Chat(chat_id, title))
        known.title, known.username, known.forum = title, username, forum
        self.chats[chat_id] = known
        self._messages.setdefault(chat_id, {})
        self._save_chat(known)
        return known

    def chat(self, reference: int | str) -> Chat:
        """By id or @username; raises BotApiError (400)."""
        for chat in self.chats.values():
            if reference == chat.id or (chat.username and reference == f"@{chat.username}"):
                return chat
        raise BotApiError(400, "Bad Request: chat not found")

    def groups(self) -> list[Chat]:
        return [chat for chat in self.chats.values() if chat.kind != "private"]

    # Messages

    def shown(self, chat_id: int) -> list[Posted]:
        """What the chat shows now, oldest first."""
        return [posted for _, posted in sorted(self._messages[chat_id].items()) if not posted.deleted]

    def message(self, chat_id: int, message_id: int) -> Posted | None:
        posted = self._messages[chat_id].get(message_id)
        return posted if posted and not posted.deleted else None

    def post(
        self,
        chat: Chat,
        sender: Wire,
        content: Wire,
        reply_to: int | None = None,
        *,
        silent: bool = False,
        keyboard: Wire | None = None,
    ) -> Posted:
        """A new message at the end of the chat."""
        chat.last_id += 1
        wire = {"message_id": chat.last_id, "date": int(time.time()), "from": sender, **content}
        posted = Posted(chat.id, chat.last_id, wire, reply_to, silent, keyboard=keyboard)
        self._messages[chat.id][posted.message_id] = posted
        self.actions.pop(chat.id, None)
        self._save_chat(chat)
        self.save(posted)
        return posted

    def change(self, posted: Posted, content: Wire) -> bool:
        """Lays `content` over the message (None takes a part away); False when it says the same as before."""
        before = posted.wire
        html = posted.html
        after = {key: value for key, value in {**before, **content}.items() if value is not None and value != []}
        if after == before:
            return False
        posted.wire = {**after, "edit_date": int(time.time())}
        if posted.html != html:
            posted.history.append(html)
        posted.edited_at.append(time.time())
        self.save(posted)
        return True

    def delete(self, posted: Posted) -> None:
        posted.deleted = True
        self.save(posted)

    def present(self, posted: Posted, *, nested: bool = False) -> Wire:
        """The message as the Bot API shows it; a message that is replied to is shown one level deep."""
        chat = self.chats[posted.chat_id]
        wire = {**posted.wire, "chat": chat.wire}
        replied = self.message(chat.id, posted.reply_to) if posted.reply_to else None
        if replied and not nested:
            wire["reply_to_message"] = self.present(replied, nested=True)
        return wire

    # What readers see besides

    def pin(self, chat: Chat, message_id: int | None) -> None:
        chat.pinned = message_id
        self._save_chat(chat)
        self._wake()

    def set_commands(self, scope: Wire, commands: list[Wire]) -> None:
        key = json.dumps(scope, sort_keys=True)
        self._commands[key] = commands
        self.journal.put(f"commands:{key}", commands)

    def scoped_commands(self, scope: Wire) -> list[Wire]:
        """What was set for exactly this scope (https://core.telegram.org/bots/api#botcommandscope)."""
        return self._commands.get(json.dumps(scope, sort_keys=True), [])

    def save(self, posted: Posted) -> None:
        """To be called after every change of a message."""
        self.journal.put(f"message:{posted.chat_id}/{posted.message_id}", asdict(posted))
        self._wake()

    def act(self, chat: Chat, action: str) -> None:
        """The bot is typing, uploading …: shown for 5 s or until it posts."""
        self.actions[chat.id] = (action, time.monotonic() + 5)
        self._wake()

    def action(self, chat_id: int) -> str:
        action, until = self.actions.get(chat_id, ("", 0.0))
        return action if time.monotonic() < until else ""

    async def changed(self, since: int, timeout: float) -> int:
        """The version as soon as it is not `since` any more, or after `timeout` seconds."""
        if self.version == since:
            try:
                await asyncio.wait_for(self._change.wait(), timeout)
            except TimeoutError:
                pass  # nothing changed: the caller sees the same version
        return self.version

    def instance(self, chat_id: int) -> str:
        """The opaque `chat_instance` of callback queries."""
        return str(int(hashlib.sha256(str(chat_id).encode()).hexdigest()[:15], 16))

    def close(self) -> None:
        self.updates.stop_polls()
        self._wake()
        self.journal.close()

    def _save_chat(self, chat: Chat) -> None:
        self.journal.put(f"chat:{chat.id}", asdict(chat))

    def _wake(self) -> None:
        self.version += 1
        change, self._change = self._change, asyncio.Event()
        change.set()


def parse_named(text: str) -> tuple[int, str, str]:
    """`-1001234=Pilot team@pilot` → id, title, username; raises BadSetup."""
    match = re.fullmatch(r"(-?\d+)(?:=([^@]*))?(?:@(\w+))?", text)
    if not match:
        raise BadSetup(f"{text!r} is not ID=TITLE or ID=TITLE@USERNAME (as in -1001234567890=Pilot).")
    number = int(match[1])
    return number, match[2] or f"Chat {number}", match[3] or ""
