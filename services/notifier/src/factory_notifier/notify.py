"""Makes every chat show what its jobs are: whatever shows less than the job's newest event is brought up to it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import msgspec
import structlog
from aiogram.exceptions import (
    AiogramError,
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)
from factory_artifacts.errors import ArtifactError, NoSuchArtifact
from factory_artifacts.redact import Redactor
from factory_artifacts.store import ArtifactStore
from factory_chassis import failpoints
from factory_chassis.line import Line
from factory_chassis.settings import BadSettings
from factory_chassis.worker import POSTGRES_AWAY
from factory_jobs import current
from factory_jobs.job import Job
from factory_jobs.machine import TERMINAL, WORKING, State
from factory_telegram import words
from factory_telegram.words import Facts, Wanted

from .chat import Chat
from .holding import Held, Lost, holding
from .patience import Patience
from .recording import RecordingChat

log = structlog.get_logger()

LOOK = 1.0  # seconds between two looks where no hint comes
REMEMBERED = 600.0  # seconds for which it is known which job had its turn when
SEVERAL = 1.5  # times `edit_every` where a chat has several jobs: a group takes 20 messages and edits a minute in all


class Notifier:
    """Messages are at least once: one double at most for each kill between sending and writing down that it was sent.

    Chats do not wait for one another. In a chat one job is told at a time, and its text is made just before it is sent:
    what a crowded chat skips is never shown late.
    """

    def __init__(
        self,
        line: Line,
        artifacts: ArtifactStore,
        chat: Chat | RecordingChat,
        redactor: Redactor,
        *,
        owner: str,
        public_url: str,
        edit_every: float,
    ) -> None:
        self.line, self.artifacts, self.chat, self.redactor = line, artifacts, chat, redactor
        self.owner, self.public_url, self.edit_every = owner, public_url, edit_every
        self.wake = asyncio.Event()
        self._edited: dict[str, float] = {}  # chat: when a status message was edited there, monotonic
        self._told: dict[tuple[str, str], float] = {}  # job and chat: when it had its turn
        self._patience = Patience()

    async def run(self) -> None:
        """Raises BadSettings where Telegram refuses the bot."""
        telling: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self.wake.clear()
                for chat, jobs in (await self._behind()).items():
                    if chat not in telling:
                        telling[chat] = asyncio.create_task(self._tell(chat, jobs))
                try:
                    await asyncio.wait_for(self.wake.wait(), LOOK)
                except TimeoutError:
                    pass  # hints only make it quicker
                for chat in [chat for chat, task in telling.items() if task.done()]:
                    telling.pop(chat).result()
        finally:
            for task in telling.values():
                task.cancel()
            await asyncio.gather(*telling.values(), return_exceptions=True)

    async def _behind(self) -> dict[str, list[str]]:
        """By chat, the jobs of which it shows less than there is."""
        long_ago = time.monotonic() - REMEMBERED
        self._told = {who: at for who, at in self._told.items() if at > long_ago}
        found: dict[str, list[str]] = {}
        try:
            for job_id, _, chat in await self.line.records.behind(replay=self.line.store.replay):
                found.setdefault(chat, []).append(job_id)
        except POSTGRES_AWAY as e:
            log.warning("notifier: Postgres does not answer", why=repr(e))
        return found

    # ── one chat ──────────────────────────────────────────────────────────────

    async def _tell(self, chat: str, jobs: list[str]) -> None:
        """Whoever waited longest comes first. Raises BadSettings."""
        gap = self.edit_every * (SEVERAL if len(jobs) > 1 else 1)
        for job_id in sorted(jobs, key=lambda job_id: self._told.get((job_id, chat), 0.0)):
            if not self._patience.due(chat):
                return
            if self._patience.due((job_id, chat)):
                await self._try(job_id, chat, gap)

    async def _try(self, job_id: str, chat: str, gap: float) -> None:
        """A chat that cannot be told is tried again later, and so is a job that breaks us; no other waits for it."""
        current.job_id.set(job_id)
        try:
            await self._catch_up(job_id, chat, gap)
            self._patience.worked(chat)
            self._patience.worked((job_id, chat))
        except (TelegramUnauthorizedError, TelegramNotFound) as e:
            raise BadSettings([f"FACTORY_TELEGRAM_TOKEN: Telegram refuses it ({e.message})"]) from None
        except TelegramRetryAfter as e:
            log.warning("the chat has had too many messages", chat=chat, retry_after=e.retry_after)
            self._patience.failed(chat, e.retry_after)
        except Lost:
            pass  # it is being told
        except ArtifactError as e:
            log.warning("chat not told yet", job_id=job_id, chat=chat, why=repr(e))
            self._patience.failed((job_id, chat))
        except (AiogramError, *POSTGRES_AWAY) as e:
            log.warning("chat not told yet", job_id=job_id, chat=chat, why=repr(e))
            self._patience.failed(chat)
        except Exception as e:
            log.exception("a message broke", job_id=job_id, chat=chat, why=repr(e))
            self._patience.failed((job_id, chat))

    async def _catch_up(self, job_id: str, chat: str, gap: float) -> None:
        records = self.line.records
        early = time.monotonic() - self._edited.get(chat, -gap) < gap
        if early and not await self._urgent(job_id, chat):
            return
        async with holding(records, job_id, chat, self.owner) as held:
            job = await self.line.store.get(job_id)
            wanted = [self._redacted(one) for one in await self._wanted(job)]
            if early and all(held.stands(one.kind) for one in wanted):
                return
            self._told[(job_id, chat)] = time.monotonic()
            try:
                for one in wanted:
                    await self._stand(held, job, one)
                await self._close_questions(held, job)
            except TelegramForbiddenError as e:
                log.error("the bot may not write to this chat", chat=chat, why=e.message)  # nobody there to tell
            await held.shows("status", None, job.seq, held.rows["status"].text)

    async def _urgent(self, job_id: str, chat: str) -> bool:
        """There may be more to it than an edit: a job that is new to the chat, that asks, or that has come to rest."""
        job = await self.line.store.get(job_id)
        if job.waiting is not None or State(job.state) not in WORKING:
            return True
        rows = await self.line.records.messages(job_id)
        return not any(m.chat == chat and m.kind == "status" and m.message_id for m in rows)

    async def _wanted(self, job: Job) -> list[Wanted]:
        records = self.line.records
        commit = job.proved_sha if job.state == State.READY_FOR_HUMAN_REVIEW else job.work_sha
        stays = await self.line.store.history(job.id) if State(job.state) in TERMINAL else []
        return words.wanted(
            Facts(
                job=job,
                plan=await records.plan(job.id, job.request_no) or {},
                requests=await records.requests(job.id),
                rounds=await records.rounds(job.id),
                evidence=await records.evidence(job.id, commit) if commit else {},
                artifacts=await records.artifacts(job.id),
                queue=await self.line.store.queue_place(job.id),
                before=stays[-2]["state"] if len(stays) > 1 else "",
                since=stays[-1]["seq"] if stays else 0,
                news=await records.forge_news(job.id) if job.pr else None,
                public_url=self.public_url.rstrip("/"),
            )
        )

    def _redacted(self, one: Wanted) -> Wanted:
        return msgspec.structs.replace(one, text=self.redactor.text(one.text))

    # ── one message ───────────────────────────────────────────────────────────

    async def _stand(self, held: Held, job: Job, one: Wanted) -> None:
        """Sent once, edited when its text has changed. A text that Telegram refuses comes without its dress."""
        row = held.rows.get(one.kind)
        if row and (row.text == one.text or (one.video and row.message_id)):
            return
        row = await held.take(one.kind)
        held.check()
        reply_to = await self._newest_request(job, held.chat)
        try:
            message_id = await self._put(held, job, one, row.message_id, reply_to)
        except TelegramBadRequest as e:
            log.error("Telegram refuses the message", kind=one.kind, why=e.message, text=one.text)
            bare = Wanted(kind=one.kind, text=words.esc(words.plain(one.text)), notify=one.notify)
            message_id = await self._put_bare(held, bare, row.message_id, reply_to)
        await failpoints.reached(f"notifier.{one.kind.partition(':')[0]}.sent")
        self._edited[held.chat] = time.monotonic()
        await held.shows(one.kind, message_id, 0 if one.kind == "status" else job.seq, one.text)

    async def _put(self, held: Held, job: Job, one: Wanted, message_id: int | None, reply_to: int | None) -> int:
        if one.video is None:
            return await self.chat.show(int(held.chat), message_id, one, reply_to=reply_to)
        evidence = await self.line.records.evidence(job.id, one.video.commit or "")
        facts = (evidence["browser"].data.get("video") or {}) if "browser" in evidence else {}
        with tempfile.TemporaryDirectory() as d:
            file = Path(d) / one.video.name
            try:
                await self.artifacts.get_file(one.video.key, file)
            except NoSuchArtifact:
                gone = Wanted(kind=one.kind, text=f"{one.text}\n{words.NO_FILM}")
                return await self.chat.show(int(held.chat), message_id, gone, reply_to=reply_to)
            held.check()
            return await self.chat.film(int(held.chat), one, file, facts, reply_to=reply_to)

    async def _put_bare(self, held: Held, one: Wanted, message_id: int | None, reply_to: int | None) -> int | None:
        """None where that is refused too: the job's next event tries again."""
        try:
            return await self.chat.show(int(held.chat), message_id, one, reply_to=reply_to)
        except TelegramBadRequest as e:
            log.error("Telegram refuses the bare message too", kind=one.kind, chat=held.chat, why=e.message)
            return message_id

    async def _close_questions(self, held: Held, job: Job) -> None:
        """What was answered says so, and has no buttons any more."""
        decisions = await self.line.records.decisions(job.id)
        for kind, row in list(held.rows.items()):
            text = words.closed(job, kind, row.text, decisions) if row.message_id else None
            if text is not None:
                await self._stand(held, job, Wanted(kind=kind, text=self.redactor.text(text), notify=False))

    async def _newest_request(self, job: Job, chat: str) -> int | None:
        """What the answer belongs to."""
        asked = [r for r in await self.line.records.requests(job.id) if r.chat == chat and r.message_id]
        return asked[-1].message_id if asked else None
