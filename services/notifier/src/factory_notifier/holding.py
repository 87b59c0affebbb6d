"""The lease on a job's status message in a chat: who holds it tells this chat about this job, and nobody else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from factory_chassis.outage import POSTGRES_AWAY, patiently
from factory_jobs.records import Message, Records

log = structlog.get_logger()

RENEW = 10.0  # seconds; a lease lasts 30, an upload or a crowded chat may take longer


class Lost(Exception):
    """Another notifier tells this chat about this job."""


class Held:
    """The lease, and the rows of what the chat shows of the job."""

    def __init__(self, records: Records, job_id: str, chat: str, owner: str) -> None:
        self.records, self.job_id, self.chat, self.owner = records, job_id, chat, owner
        self.rows: dict[str, Message] = {}
        self.lost = False

    async def take(self, kind: str) -> Message:
        """The row of this kind, made where it is missing. Raises Lost."""
        row = await self.records.lease_message(self.job_id, self.chat, kind, self.owner)
        if row is None:
            raise Lost
        self.rows[kind] = row
        return row

    async def shows(self, kind: str, message_id: int | None, seq: int, text: str) -> None:
        """Writes what the message shows now; it was sent, so this waits for Postgres, or it would be sent again.
        Raises Lost."""
        await patiently(lambda: self.records.shown(self.job_id, self.chat, kind, message_id, seq, text))
        if kind == "status":  # writing hands the lease back; there is more to tell
            await self.take(kind)

    def stands(self, kind: str) -> bool:
        """A message of this kind is in the chat; whatever is to be done about it is an edit."""
        return kind in self.rows and self.rows[kind].message_id is not None

    def check(self) -> None:
        """To be called before each message. Raises Lost."""
        if self.lost:
            raise Lost

    async def renew(self) -> None:
        while not self.lost:
            await asyncio.sleep(RENEW)
            try:
                await self.take("status")
            except Lost:
                self.lost = True
            except POSTGRES_AWAY as e:
                log.warning("a message's lease was not renewed", job_id=self.job_id, why=repr(e))


@asynccontextmanager
async def holding(records: Records, job_id: str, chat: str, owner: str) -> AsyncIterator[Held]:
    """Raises Lost where another notifier holds it. What the chat shows is written on the way; the lease ends here."""
    held = Held(records, job_id, chat, owner)
    await held.take("status")
    held.rows |= {m.kind: m for m in await records.messages(job_id) if m.chat == chat}
    renewing = asyncio.create_task(held.renew())
    try:
        yield held
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        if not held.lost:
            row = held.rows["status"]
            await records.shown(job_id, chat, "status", None, row.shown_seq, row.text)
