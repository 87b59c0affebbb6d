"""A chat as a page that looks like a chat app: bubbles, buttons, photos, a video player; it follows what changes."""

import html
import re
import time
from datetime import datetime
from functools import cache
from pathlib import Path
from string import Template

from .chats import Chat, Chats, Posted
from .entities import to_html
from .files import MEGABYTE
from .person import Media, ShownButton, ShownMessage, shown_message

BOT_COLOUR = "#408acf"
COLOURS = ("#d45246", "#f68136", "#6c61df", "#46ba43", "#5caffa", "#d95574")  # Telegram's, by sender
KINDS = {"private": "private chat", "group": "group", "supergroup": "supergroup"}


@cache
def _template(name: str) -> Template:
    return Template((Path(__file__).parent / name).read_text(encoding="utf-8"))


def index(chats: Chats) -> str:
    """The list of chats."""
    rows = "".join(_row(chats, chat) for chat in chats.chats.values())
    return _template("index.html").substitute(bot=html.escape(chats.bot["first_name"]), rows=rows)


def chat(chats: Chats, chat: Chat) -> str:
    """The whole page of one chat."""
    people = [(i, u["first_name"]) for i, u in chats.users.items() if chat.kind != "private" or i == chat.id]
    options = "".join(f'<option value="{user_id}">{html.escape(name)}</option>' for user_id, name in people)
    shown = bubbles(chats, chat)
    return _template("chat.html").substitute(
        title=html.escape(chat.title),
        about=f"{len(people) + 1} members" if chat.kind != "private" else "bot chat",
        kind=KINDS[chat.kind],
        avatar=_avatar(chat.title, _colour(chat.id)),
        chat_id=chat.id,
        people=options,
        bubbles=shown["bubbles"],
        pinned=shown["pinned"],
        action=shown["action"],
        version=chats.version,
    )


def bubbles(chats: Chats, chat: Chat) -> dict[str, str]:
    """The parts of the page that change: `bubbles`, `pinned`, `action`, each as HTML."""
    posted = chats.shown(chat.id)
    shown = [shown_message(chats, message) for message in posted]
    parts: list[str] = []
    day = ""
    for number, (message, kept) in enumerate(zip(shown, posted, strict=True)):
        today = datetime.fromtimestamp(message.sent_at).strftime("%B %-d")
        if today != day:
            day = today
            parts.append(f'<div class="day" id="day-{message.message_id}"><span>{today}</span></div>')
        before = shown[number - 1] if number else None
        after = shown[number + 1] if number + 1 < len(shown) else None
        first = not before or before.sender_id != message.sender_id
        last = not after or after.sender_id != message.sender_id
        parts.append(_bubble(chats, chat, message, kept, first, last))
    action = chats.action(chat.id).replace("_", " ")
    return {
        "bubbles": "".join(parts) or '<div class="day" id="day-0"><span>No messages here yet</span></div>',
        "pinned": _pinned(chats, chat),
        "action": f"{html.escape(chats.bot['first_name'])} is {action.replace('upload', 'uploading a')} …"
        if action
        else "",
    }


def _bubble(chats: Chats, chat: Chat, message: ShownMessage, kept: Posted, first: bool, last: bool) -> str:
    """One message; `first` and `last` of a run of the same sender carry the name, the tail and the picture."""
    side = "in" if message.from_bot else "out"
    colour = BOT_COLOUR if message.from_bot else _colour(message.sender_id)
    name = f'<div class="name" style="color:{colour}">{html.escape(message.sender)}</div>' if first else ""
    picture = _avatar(message.sender, colour) if last else '<div class="avatar"></div>'
    text = to_html(kept.text, kept.entities, links=True)
    words = f'<div class="text">{_tidied(text)}</div>' if text else ""
    if message.topic:
        words = f'<div class="text"><i>Topic: {html.escape(message.topic)}</i></div>'
    if message.forwarded_from:
        name += f'<div class="name">Forwarded from {html.escape(message.forwarded_from)}</div>'
    changed = "edited " if message.history else ""
    clock = datetime.fromtimestamp(message.sent_at).strftime("%H:%M")
    reactions = "".join(f'<span class="reaction">{html.escape(emoji)}</span>' for emoji in message.reactions)
    meta = f'<div class="meta">{changed}{clock}</div>'
    foot = f'<div class="foot"><div class="reactions">{reactions}</div>{meta}</div>'
    pictured = " pictured" if message.media and message.media.kind != "document" else ""
    return (
        f'<div class="row {side}{" last" if last else ""}" id="m{message.message_id}">{picture}<div class="column">'
        f'<div class="bubble{pictured}">{name}{_quote(chats, chat, message)}{_media(message.media)}{words}{foot}</div>'
        f"{_keyboard(message)}</div></div>"
    )


def _tidied(text: str) -> str:
    """Line breaks around block elements are theirs already."""
    text = re.sub(r"\n?(</?(?:pre|blockquote)\b[^>]*>)", r"\1", text)
    return re.sub(r"(</(?:pre|blockquote)>)\n", r"\1", text)


def _quote(chats: Chats, chat: Chat, message: ShownMessage) -> str:
    if message.reply_to is None:
        return ""
    replied = chats.message(chat.id, message.reply_to)
    if not replied:
        return '<div class="quote"><div class="what">Deleted message</div></div>'
    shown = shown_message(chats, replied)
    what = shown.text or (shown.media.kind.capitalize() if shown.media else "")
    colour = BOT_COLOUR if shown.from_bot else _colour(shown.sender_id)
    return (
        f'<a class="quote" href="#m{shown.message_id}" style="--accent:{colour}">'
        f'<div class="who">{html.escape(shown.sender)}</div><div class="what">{html.escape(_short(what))}</div></a>'
    )


def _media(media: Media | None) -> str:
    if not media:
        return ""
    address = html.escape(media.path)
    size = f' width="{media.width}" height="{media.height}"' if media.width else ""
    if media.kind == "photo":
        return f'<a href="{address}"><img class="media" src="{address}"{size} alt="photo"></a>'
    if media.kind == "animation" and media.mime_type == "image/gif":
        return f'<img class="media" src="{address}"{size} alt="animation">'
    if media.kind == "animation":
        return f'<video class="media" src="{address}"{size} autoplay loop muted playsinline></video>'
    if media.kind == "video":
        poster = f' poster="{html.escape(media.thumbnail_path)}"' if media.thumbnail_path else ""
        length = (
            f'<span class="length">{media.duration // 60}:{media.duration % 60:02}</span>' if media.duration else ""
        )
        shown = f'<video class="media" src="{address}"{size}{poster} controls preload="metadata" playsinline></video>'
        return f'<div class="film">{shown}{length}</div>'
    suffix = Path(media.file_name).suffix.removeprefix(".")[:4] or "file"
    return (
        f'<a class="document" href="{address}" download="{html.escape(media.file_name)}">'
        f'<span class="sheet">{html.escape(suffix)}</span>'
        f"<span><b>{html.escape(media.file_name)}</b><br><small>{_bytes(media.file_size)}</small></span></a>"
    )


def _keyboard(message: ShownMessage) -> str:
    said = [[ShownButton(text) for text in row] for row in message.keyboard]
    rows = "".join(
        f'<div class="keys">{"".join(_key(message, b) for b in row)}</div>' for row in [*message.buttons, *said]
    )
    return f'<div class="keyboard">{rows}</div>' if rows else ""


def _key(message: ShownMessage, button: ShownButton) -> str:
    label, style = html.escape(button.text), html.escape(button.style)
    if button.url:
        return (
            f'<a class="key {style} link" href="{html.escape(button.url)}" target="_blank" rel="noopener">{label}</a>'
        )
    act = f'data-message="{message.message_id}" data-press="{html.escape(button.data or button.text)}"'
    return f'<button class="key {style}" {act}>{label}</button>'


def _pinned(chats: Chats, chat: Chat) -> str:
    posted = chats.message(chat.id, chat.pinned) if chat.pinned else None
    if not posted:
        return ""
    what = html.escape(_short(posted.text or "Media"))
    return f'<a class="pinned" href="#m{posted.message_id}"><b>Pinned message</b><span>{what}</span></a>'


def _row(chats: Chats, chat: Chat) -> str:
    shown = chats.shown(chat.id)
    last = shown_message(chats, shown[-1]) if shown else None
    words = f"{last.sender}: {_short(last.text or 'Media')}" if last else "No messages yet"
    clock = time.strftime("%H:%M", time.localtime(last.sent_at)) if last else ""
    return (
        f'<a class="chat" href="/chat/{chat.id}">{_avatar(chat.title, _colour(chat.id))}'
        f'<span class="middle"><b>{html.escape(chat.title)}</b>'
        f"<span>{html.escape(words)}</span></span><time>{clock}</time></a>"
    )


def _avatar(name: str, colour: str) -> str:
    initials = "".join(word[0] for word in name.split()[:2]).upper()
    return f'<div class="avatar" style="background:{colour}">{html.escape(initials)}</div>'


def _colour(number: int) -> str:
    return COLOURS[abs(number) % len(COLOURS)]


def _short(text: str, limit: int = 90) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _bytes(size: int) -> str:
    return f"{size / MEGABYTE:.1f} MB" if size >= MEGABYTE else f"{size / 1024:.1f} KB"
