"""Makes every chat show what its jobs are: whatever shows less than the job's newest event is brought up to it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import msgspec
import structlog
from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramForbiddenError
from factory_artifacts.errors import ArtifactError
from factory_artifacts.redact import Redactor
from factory_artifacts.store import ArtifactStore
from factory_chassis.line import Line
from factory_chassis.worker import POSTGRES_AWAY
from factory_jobs.job import Job
from factory_telegram.words import Facts, Wanted, wanted

from .chat import Chat

log = structlog.get_logger()


class Notifier:
    """Messages are at least once: one double at most for each kill between sending and writing down that it was sent."""

    def __init__(
        self,
        line: Line,
        artifacts: ArtifactStore,
        chat: Chat,
        redactor: Redactor,
        *,
        owner: str,
        public_url: str,
        edit_every: float,
    ) -> None:
        self.line, self.artifacts, self.chat, self.redactor = line, artifacts, chat, redactor
        self.owner, self.public_url, self.edit_every = owner, public_url, edit_every
        self.wake = asyncio.Event()
        self._edited: dict[tuple[str, str], float] = {}
        self._not_before: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            try:
                for job_id, _, chat in await self.line.records.behind():
                    await self._catch_up(job_id, chat)
            except POSTGRES_AWAY as e:
                log.warning("notifier: Postgres does not answer", why=repr(e))
            self.wake.clear()
            try:
                await asyncio.wait_for(self.wake.wait(), 1.0)
            except TimeoutError:
                pass  # hints only make it quicker

    async def _catch_up(self, job_id: str, chat: str) -> None:
        now = time.monotonic()
        if now < self._not_before.get(chat, 0) or now - self._edited.get((job_id, chat), -1e9) < self.edit_every:
            return
        lease = await self.line.records.lease_message(job_id, chat, "status", self.owner)
        if lease is None:
            return
        job = await self.line.store.get(job_id)
        shown, text = lease.shown_seq, lease.text
        try:
            for one in await self._wanted(job):
                if one.kind == "status":
                    lease = await self._status(job, chat, one, lease.message_id, text) or lease
                    text = self.redactor.text(one.text)
                else:
                    await self._stand(job, chat, one)
            shown = job.seq
        except TelegramForbiddenError as e:
            log.error("the bot may not write to this chat", chat=chat, why=e.message)
            shown = job.seq  # nobody there to tell
        except (AiogramError, ArtifactError, OSError, TimeoutError) as e:
            log.warning("chat not told yet", job_id=job_id, chat=chat, why=repr(e))
            self._not_before[chat] = time.monotonic() + 5
        finally:
            self._edited[(job_id, chat)] = time.monotonic()
            await self.line.records.shown(job_id, chat, "status", None, shown, text)

    async def _wanted(self, job: Job) -> list[Wanted]:
        records = self.line.records
        commit = job.proved_sha if job.state == "ready_for_human_review" else job.work_sha
        return wanted(
            Facts(
                job=job,
                plan=await records.plan(job.id, job.request_no) or {},
                requests=await records.requests(job.id),
                rounds=await records.rounds(job.id),
                evidence=await records.evidence(job.id, commit) if commit else {},
                artifacts=await records.artifacts(job.id),
                queue=await self.line.store.queue_place(job.id),
                public_url=self.public_url.rstrip("/"),
            )
        )

    async def _status(self, job: Job, chat: str, one: Wanted, message_id: int | None, text: str) -> None:
        one = self._redacted(one)
        if message_id is not None and one.text == text:
            return
        sent = await self.chat.show(int(chat), message_id, one, reply_to=await self._first_message(job, chat))
        if sent != message_id:
            await self.line.records.shown(job.id, chat, "status", sent, 0, one.text)

    async def _stand(self, job: Job, chat: str, one: Wanted) -> None:
        """A message of its own; sent once, edited when its text has changed."""
        one = self._redacted(one)
        row = await self.line.records.lease_message(job.id, chat, one.kind, self.owner)
        if row is None:
            return
        message_id, text = row.message_id, row.text
        try:
            if message_id is None or text != one.text:
                reply_to = await self._first_message(job, chat)
                if one.video is None:
                    message_id = await self.chat.show(int(chat), message_id, one, reply_to=reply_to)
                elif message_id is None:
                    message_id = await self._film(job, chat, one, reply_to)
                text = one.text
        except TelegramBadRequest as e:
            log.error("Telegram refuses the message", kind=one.kind, why=e.message)
            text = one.text
        finally:
            await self.line.records.shown(job.id, chat, one.kind, message_id, job.seq, text)

    async def _film(self, job: Job, chat: str, one: Wanted, reply_to: int | None) -> int:
        assert one.video is not None
        evidence = await self.line.records.evidence(job.id, one.video.commit or "")
        facts = (evidence["browser"].data.get("video") or {}) if "browser" in evidence else {}
        with tempfile.TemporaryDirectory() as d:
            file = Path(d) / one.video.name
            await self.artifacts.get_file(one.video.key, file)
            return await self.chat.film(int(chat), one, file, facts, reply_to=reply_to)

    async def _first_message(self, job: Job, chat: str) -> int | None:
        """The newest request's message: what the answer belongs to."""
        asked = [r for r in await self.line.records.requests(job.id) if r.chat == chat and r.message_id]
        return asked[-1].message_id if asked else None

    def _redacted(self, one: Wanted) -> Wanted:
        return msgspec.structs.replace(one, text=self.redactor.text(one.text))
