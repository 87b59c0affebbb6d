"""What the chats show. Telegram cannot be asked what a chat shows: only a loopback server, which tells people, can."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta

import aiohttp
from factory_chassis.settings import Settings
from factory_jobs.books import Books
from factory_jobs.records import Message
from factory_loopback.errors import LoopbackError
from factory_loopback.telegram.person import RemotePerson, ShownMessage

from .finding import Finding, finding

LATE = timedelta(seconds=180)  # a chat that had too many messages is left alone for a minute
NOBODY = 0  # a reader who never writes


async def findings(settings: Settings, books: Books) -> list[Finding]:
    found = list(_behind(books))
    for chat in sorted({m.chat for m in books.messages}) if settings.telegram_api else []:
        try:
            async with RemotePerson(str(settings.telegram_api), int(chat), NOBODY) as reader:
                shown = await reader.read()
        except (aiohttp.ClientError, TimeoutError, LoopbackError, ValueError, KeyError):
            continue  # no loopback server, or not its chat: nothing can be told
        rows = [m for m in books.messages if m.chat == chat and books.jobs[m.job_id].replay_of is None]
        found += [*_gone(rows, shown), *_double(rows, shown)]
    return found


def _behind(books: Books) -> Iterator[Finding]:
    for row in books.messages:
        job = books.jobs[row.job_id]
        events = books.events.get(job.id, [])
        if row.kind == "status" and events and job.replay_of is None and row.shown_seq < job.seq:
            first = next((e for e in events if e["seq"] > row.shown_seq), events[-1])
            if books.now - first["at"] > LATE:
                yield finding("chat", job.id, f"chat {row.chat} shows event {row.shown_seq}, the job is at {job.seq}")


def _gone(rows: list[Message], shown: list[ShownMessage]) -> Iterator[Finding]:
    there = {m.message_id for m in shown}
    for row in rows:
        if row.message_id and row.message_id not in there:
            yield finding("effect", row.job_id, f"message {row.message_id} ({row.kind}) is not in chat {row.chat}")


def _double(rows: list[Message], shown: list[ShownMessage]) -> Iterator[Finding]:
    """Status messages are told by their second line, which is the job's id."""
    for job_id, known in {row.job_id: row.message_id for row in rows if row.kind == "status"}.items():
        for message in shown:
            if message.from_bot and message.message_id != known and _is_status(message, job_id):
                says = f"message {message.message_id} is a second status message of this job (it has {known})"
                yield finding("double", job_id, says)


def _is_status(message: ShownMessage, job_id: str) -> bool:
    texts = [html.unescape(re.sub(r"<[^>]+>", "", old)) for old in message.history]
    return any(text.partition("\n")[2].startswith(job_id) for text in (*texts, message.text))
