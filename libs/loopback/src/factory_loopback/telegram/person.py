"""A person's side of a chat: type, press, edit, attach, and read what the chat shows now.

`Person` works on the server in this process, `RemotePerson` on one in another; both have the same methods.
"""

import abc
import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from factory_loopback import errors

from .chats import Chats, Posted
from .entities import formatted
from .files import Upload

Wire = dict[str, Any]
LOOK = 20.0  # seconds that one look at a chat of another process waits for news


@dataclass(frozen=True)
class ShownButton:
    """A button under a message: it sends `data`, opens `url`, or copies `copies`."""

    text: str
    data: str = ""
    url: str = ""
    copies: str = ""
    style: str = ""


@dataclass(frozen=True)
class Media:
    """A photo, video or document; `path` is its address at the server, with range requests."""

    kind: str
    file_id: str
    file_name: str
    file_size: int  # bytes
    mime_type: str
    path: str
    duration: int = 0  # seconds
    width: int = 0  # pixels
    height: int = 0
    thumbnail_path: str = ""


@dataclass(frozen=True)
class ShownMessage:
    """A message as the chat shows it now, and what it showed before."""

    message_id: int
    chat_id: int
    sender: str
    sender_id: int
    from_bot: bool
    sent_at: int  # Unix time, as all times here
    text: str  # plain; the caption where there is media
    html: str
    buttons: list[list[ShownButton]] = field(default_factory=list)
    media: Media | None = None
    media_group_id: str = ""
    reply_to: int | None = None
    thread_id: int | None = None
    reactions: list[str] = field(default_factory=list)
    edited_at: list[float] = field(default_factory=list)
    history: list[str] = field(default_factory=list)  # HTML of the texts before, oldest first
    link: str | None = None
    silent: bool = False
    keyboard: list[list[str]] = field(default_factory=list)  # keys of a reply keyboard, each of which says its text
    removes_keyboard: bool = False
    asks_reply: bool = False
    topic: str = ""  # the name that this message gives its topic
    forwarded_from: str = ""

    def button(self, name: str) -> ShownButton | None:
        """The button with this text or these data."""
        return next((b for row in self.buttons for b in row if name in (b.text, b.data)), None)


class Reader(abc.ABC):
    """Reading a chat and waiting for something in it."""

    chat_id: int

    @abc.abstractmethod
    async def look(self, after: int | None, wait: float) -> tuple[int, list[ShownMessage]]:
        """Version and messages, as soon as the version is not `after`, at the latest after `wait` seconds."""

    async def read(self) -> list[ShownMessage]:
        """What the chat shows now, oldest first."""
        return (await self.look(None, 0))[1]

    async def wait_for(self, predicate: Callable[[ShownMessage], bool], timeout: float = 10.0) -> ShownMessage:
        """The oldest message that `predicate` holds for; raises NoAnswer after `timeout` seconds."""
        end = time.monotonic() + timeout
        version: int | None = None
        while True:
            left = end - time.monotonic()
            version, messages = await self.look(version, max(min(left, LOOK), 0))
            for message in messages:
                if predicate(message):
                    return message
            if time.monotonic() >= end:
                shown = "\n".join(f"  {m.message_id} {m.sender}: {m.text}" for m in messages) or "  nothing"
                raise errors.NoAnswer(f"No message that was waited for within {timeout:g} s. The chat shows:\n{shown}")


class Person(Reader):
    """A user in a chat of the server in this process."""

    def __init__(self, chats: Chats, chat_id: int, user_id: int) -> None:
        self._chats, self._chat = chats, chats.chat(chat_id)
        self.chat_id, self.user_id = chat_id, user_id
        if user_id not in chats.users or (chat_id > 0 and chat_id != user_id):
            raise errors.BadSetup(
                f"User {user_id} is not in chat {chat_id} (users: {', '.join(map(str, chats.users))})."
            )

    async def type(self, text: str, reply_to: int | None = None, thread_id: int | None = None) -> int:
        """Sends a text; in a forum, a new `thread_id` opens that topic. Returns the message's id."""
        plain, entities = formatted(text, None)
        return self._say({"text": plain, **({"entities": entities} if entities else {})}, reply_to, thread_id)

    async def attach(self, data: bytes, name: str, caption: str = "", reply_to: int | None = None) -> int:
        """Sends a file: as a photo where it is an image, else as a document."""
        kept = self._chats.files.keep("documents", Upload(data, name))
        size = {"file_id": kept.file_id, "file_unique_id": kept.file_unique_id, "file_size": kept.file_size}
        if kept.width:
            media: Wire = {"photo": [{**size, "width": kept.width, "height": kept.height}]}
        else:
            media = {"document": {**size, "file_name": name, "mime_type": kept.mime_type}}
        return self._say({**media, **({"caption": caption} if caption else {})}, reply_to, None)

    async def edit(self, message_id: int, text: str) -> None:
        """Changes an own message."""
        posted = self._posted(message_id)
        if posted.wire["from"]["id"] != self.user_id:
            raise errors.NoSuchMessage(f"Message {message_id} is not one of user {self.user_id}.")
        plain, entities = formatted(text, None)
        key = "text" if "text" in posted.wire else "caption"
        if self._chats.change(posted, {key: plain, "entities" if key == "text" else "caption_entities": entities}):
            self._chats.updates.put("edited_message", self._chats.present(posted))

    async def press(self, message_id: int, button: str, timeout: float = 10.0) -> str:
        """Presses the button with this text or these data; the text of the bot's answer, which may be empty.

        A button with a link or a text to copy answers with that, a key of a reply keyboard says its text and answers
        nothing. Raises NoSuchButton, and NoAnswer after `timeout` s.
        """
        posted = self._posted(message_id)
        shown = shown_message(self._chats, posted)
        if any(button in row for row in shown.keyboard):
            await self.type(button, thread_id=shown.thread_id)
            return ""
        found = shown.button(button)
        if not found:
            has = ", ".join(repr(b.text) for row in shown.buttons for b in row) or "none"
            raise errors.NoSuchButton(f"Message {message_id} has no button {button!r} (it has: {has}).")
        if not found.data:
            return found.url or found.copies
        number = str(time.time_ns())
        answer = self._chats.presses[number] = asyncio.get_running_loop().create_future()
        query = {
            "id": number,
            "from": self._chats.users[self.user_id],
            "message": self._chats.present(posted),
            "chat_instance": self._chats.instance(self.chat_id),
            "data": found.data,
        }
        self._chats.updates.put("callback_query", query)
        try:
            return (await asyncio.wait_for(answer, timeout)).get("text") or ""
        except TimeoutError as error:
            raise errors.NoAnswer(f"The bot did not answer the button {found.text!r} within {timeout:g} s.") from error
        finally:
            self._chats.presses.pop(number, None)

    async def commands(self) -> list[tuple[str, str]]:
        """The bot's commands that this chat offers: those of the narrowest scope that has any."""
        wide = "all_private_chats" if self.chat_id > 0 else "all_group_chats"
        for scope in ({"chat_id": self.chat_id, "type": "chat"}, {"type": wide}, {"type": "default"}):
            if found := self._chats.scoped_commands(scope):
                return [(command["command"], command["description"]) for command in found]
        return []

    async def look(self, after: int | None, wait: float) -> tuple[int, list[ShownMessage]]:
        if after is not None:
            await self._chats.changed(after, wait)
        shown = [shown_message(self._chats, posted) for posted in self._chats.shown(self.chat_id)]
        return self._chats.version, shown

    def _say(self, content: Wire, reply_to: int | None, thread_id: int | None) -> int:
        if thread_id and not self._chat.forum:
            raise errors.BadSetup(f"Chat {self.chat_id} is no forum, so it has no thread {thread_id}.")
        if reply_to is not None:
            self._posted(reply_to)
        thread = {"message_thread_id": thread_id, "is_topic_message": True} if thread_id else {}
        posted = self._chats.post(self._chat, self._chats.users[self.user_id], {**thread, **content}, reply_to)
        self._chats.updates.put("message", self._chats.present(posted))
        return posted.message_id

    def _posted(self, message_id: int) -> Posted:
        posted = self._chats.message(self.chat_id, message_id)
        if not posted:
            shown = ", ".join(str(p.message_id) for p in self._chats.shown(self.chat_id)) or "nothing"
            raise errors.NoSuchMessage(f"Message {message_id} is not shown in chat {self.chat_id} (it shows: {shown}).")
        return posted


class RemotePerson(Reader):
    """The same person at a server in another process: `async with RemotePerson(url, chat_id, user_id) as ada:`."""

    def __init__(self, url: str, chat_id: int, user_id: int) -> None:
        self.chat_id, self.user_id = chat_id, user_id
        self._side = f"{url.rstrip('/')}/person/{chat_id}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def type(self, text: str, reply_to: int | None = None, thread_id: int | None = None) -> int:
        body = {"text": text, "reply_to": reply_to, "thread_id": thread_id}
        return (await self._do("type", json=body))["message_id"]

    async def attach(self, data: bytes, name: str, caption: str = "", reply_to: int | None = None) -> int:
        query = f"name={quote(name)}&caption={quote(caption)}" + (f"&reply_to={reply_to}" if reply_to else "")
        headers = {"Content-Type": "application/octet-stream"}
        return (await self._do(f"attach?{query}", data=data, headers=headers))["message_id"]

    async def edit(self, message_id: int, text: str) -> None:
        await self._do("edit", json={"message_id": message_id, "text": text})

    async def press(self, message_id: int, button: str, timeout: float = 10.0) -> str:
        body = {"message_id": message_id, "button": button, "timeout": timeout}
        return (await self._do("press", json=body))["answer"]

    async def commands(self) -> list[tuple[str, str]]:
        return [(name, description) for name, description in (await self._do("commands", json={}))["commands"]]

    async def look(self, after: int | None, wait: float) -> tuple[int, list[ShownMessage]]:
        query = "" if after is None else f"?after={after}&wait={wait}"
        async with self._open().get(f"{self._side}/messages{query}") as response:
            answer = await _read(response)
        return answer["version"], [_from_json(message) for message in answer["messages"]]

    async def _do(self, what: str, **body: Any) -> Wire:
        async with self._open().post(f"{self._side}/{self.user_id}/{what}", **body) as response:
            return await _read(response)

    def _open(self) -> aiohttp.ClientSession:
        if not self._session:
            raise errors.BadSetup("A RemotePerson is used with `async with`.")
        return self._session


def shown_message(chats: Chats, posted: Posted) -> ShownMessage:
    """The message as a reader sees it."""
    wire, sender = posted.wire, posted.wire["from"]
    keyboard = posted.keyboard or {}
    emoji = [e for user_id in sorted(posted.reactions) for e in posted.reactions[user_id]]
    return ShownMessage(
        message_id=posted.message_id,
        chat_id=posted.chat_id,
        sender=sender["first_name"],
        sender_id=sender["id"],
        from_bot=sender["is_bot"],
        sent_at=wire["date"],
        text=posted.text,
        html=posted.html,
        buttons=[[_shown_button(button) for button in row] for row in posted.buttons],
        media=_shown_media(chats, posted),
        media_group_id=wire.get("media_group_id", ""),
        reply_to=posted.reply_to,
        thread_id=wire.get("message_thread_id"),
        reactions=emoji,
        edited_at=list(posted.edited_at),
        history=list(posted.history),
        link=chats.chats[posted.chat_id].link(posted.message_id, wire.get("message_thread_id")),
        silent=posted.silent,
        keyboard=[[key["text"] for key in row] for row in keyboard.get("keyboard", [])],
        removes_keyboard="remove_keyboard" in keyboard,
        asks_reply="force_reply" in keyboard,
        topic=(wire.get("forum_topic_created") or wire.get("forum_topic_edited") or {}).get("name", ""),
        forwarded_from=wire.get("forward_origin", {}).get("sender_user", {}).get("first_name", ""),
    )


def _shown_button(button: Wire) -> ShownButton:
    copies = button.get("copy_text", {}).get("text", "")
    return ShownButton(
        button["text"], button.get("callback_data", ""), button.get("url", ""), copies, button.get("style", "")
    )


def _shown_media(chats: Chats, posted: Posted) -> Media | None:
    kind = next((kind for kind in ("photo", "video", "animation", "document") if kind in posted.wire), None)
    if not kind:
        return None
    wire = posted.wire[kind][-1] if kind == "photo" else posted.wire[kind]
    kept = chats.files.by_id(wire["file_id"])
    thumbnail = wire.get("thumbnail", {}).get("file_id")
    return Media(
        kind=kind,
        file_id=kept.file_id,
        file_name=kept.name,
        file_size=kept.file_size,
        mime_type=kept.mime_type,
        path=f"/person/{posted.chat_id}/files/{kept.file_id}",
        duration=wire.get("duration", 0),
        width=wire.get("width", 0),
        height=wire.get("height", 0),
        thumbnail_path=f"/person/{posted.chat_id}/files/{thumbnail}" if thumbnail else "",
    )


def _from_json(message: Wire) -> ShownMessage:
    buttons = [[ShownButton(**button) for button in row] for row in message["buttons"]]
    media = Media(**message["media"]) if message["media"] else None
    return ShownMessage(**{**message, "buttons": buttons, "media": media})


async def _read(response: aiohttp.ClientResponse) -> Wire:
    """The answer of the person's side; its errors become the classes that they were."""
    answer = await response.json()
    if response.status == 200:
        return answer
    known = (errors.NoSuchMessage, errors.NoSuchButton, errors.NoAnswer, errors.BadSetup)
    raise next((kind for kind in known if kind.code == answer["code"]), errors.LoopbackError)(answer["message"])
