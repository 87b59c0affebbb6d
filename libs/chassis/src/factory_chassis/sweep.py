"""The floor under the bus: what is due and not hinted is hinted, and what time has done to jobs is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from factory_jobs import events as ev
from factory_jobs.errors import StoreError
from factory_jobs.job import Job
from factory_jobs.machine import Role

from . import metrics
from .line import Line
from .lives import Lives
from .worker import POSTGRES_AWAY, working_states

log = structlog.get_logger()

COUNT_EVERY = 10.0  # seconds between two looks at the queues


class Sweep:
    """Runs in every service for its own role.

    Leases of others are judged after `patience` seconds in which Postgres answered without a pause, so that an outage
    fences nobody, nor does a Postgres that only hung for a while: holders renew as soon as it answers. What the dead of
    this node held is judged at once.
    """

    def __init__(
        self, line: Line, role: Role | None, lives: Lives, *, actor: str, patience: float = 30, every: float = 1.0
    ) -> None:
        self.line, self.role, self.lives = line, role, lives
        self.actor, self.patience, self.every = actor, patience, every
        self._answering_since: float | None = None
        self._answered = 0.0

    async def run(self) -> None:
        """Side by side for ever: a bus that does not answer holds up the hints, never the judgement."""
        await asyncio.gather(
            self._repeat("hint", self.hint, self.every),
            self._repeat("judge", self.judge, self.every),
            self._repeat("count", self.count, COUNT_EVERY),
        )

    async def _repeat(self, what: str, step: Callable[[], Awaitable[None]], every: float) -> None:
        away = False
        while True:
            try:
                await step()
                away = False
            except POSTGRES_AWAY as e:
                if not away:
                    log.warning("sweep: Postgres does not answer", why=repr(e))
                away = True
            metrics.SWEEPS.labels(what, "postgres_away" if away else "done").inc()
            await asyncio.sleep(every)

    async def hint(self) -> None:
        """Makes the hints of this role's jobs and errands that are due and that nobody holds."""
        if self.role is None:
            return
        for job in await self.line.store.due_hints(working_states(self.role)):
            await self.line.publisher.hint(job)
        for errand in await self.line.store.due_errands(self.role):
            await self.line.publisher.errand(errand)

    async def judge(self) -> None:
        """Writes what time has done: leases run out, deadlines, nodes lost, questions without an answer."""
        try:
            await self.bury()
            found = await self.line.store.swept()
        except POSTGRES_AWAY:
            self._answering_since = None
            raise
        if not self._patient():
            return
        for job, event in found:
            await self._apply(job, event)

    async def bury(self) -> None:
        """Frees what the dead of this node held."""
        for owner in self.lives.dead():
            for job in await self.line.store.held_by(owner):
                await self._apply(job, ev.LeaseExpired())
            await self.line.store.let_go(owner)
            self.lives.buried(owner)
            log.info("a process has died", owner=owner)

    async def _apply(self, job: Job, event: ev.Event) -> None:
        try:
            after = await self.line.apply(job, event, actor=f"sweep:{self.actor}")
        except StoreError as e:
            log.info("swept by another", job_id=job.id, why=str(e))
            return
        if after.version != job.version:
            metrics.SWEPT.labels(event.kind).inc()
            log.warning("swept", job_id=job.id, found=event.kind, state=after.state)

    async def count(self) -> None:
        """Measures the queues before this role."""
        if self.role is None:
            return
        queues = await self.line.store.queues(working_states(self.role))
        for state, (jobs, oldest) in queues.items():
            metrics.QUEUE_JOBS.labels(state).set(jobs)
            metrics.QUEUE_OLDEST.labels(state).set(oldest)

    def _patient(self) -> bool:
        """Whether Postgres has answered for long enough; a pause that a lease may have run out in begins it anew."""
        now, pause = time.monotonic(), self.every + max(1.0, self.patience / 3)
        if self._answering_since is None or now - self._answered > pause:
            self._answering_since = now
        self._answered = now
        return now - self._answering_since >= self.patience
