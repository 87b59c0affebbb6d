"""Watches the apps of this node's jobs while nobody works in them, and what the ledger holds of jobs that are gone."""

from __future__ import annotations

import asyncio

import asyncpg
import msgspec
import structlog
from factory_chassis.line import Line
from factory_jobs import db
from factory_jobs import events as ev
from factory_jobs.errors import FactoryError, StoreError
from factory_jobs.job import Job
from factory_jobs.machine import State
from factory_sandbox.errors import SandboxError

from .place import Places

log = structlog.get_logger()

WATCHED = (State.PR_OPENED, State.REVIEW_RUNNING, State.READY_FOR_HUMAN_REVIEW)
EVERY = 5.0  # seconds
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Watch:
    """One watcher a node, chosen by an advisory lock."""

    def __init__(self, line: Line, places: Places, pool: asyncpg.Pool, actor: str) -> None:
        self.line, self.places, self.pool, self.actor = line, places, pool, actor

    async def run(self) -> None:
        while True:
            try:
                async with self.pool.acquire() as c:
                    watches = f"{self.line.store.seen_as('watch')}:{self.places.node}"
                    while not await db.lead(c, watches):
                        await asyncio.sleep(EVERY)
                    await self._lead(c)
            except AWAY as e:
                log.warning("watch: Postgres does not answer", why=repr(e))
                await asyncio.sleep(1)

    async def _lead(self, holder: asyncpg.pool.PoolConnectionProxy) -> None:
        """As long as the connection that holds the lock lives."""
        await self.clean_strays()
        while True:
            for job in await self.line.store.jobs(live=True, limit=200):
                if job.node == self.places.node and job.state in WATCHED and job.sandbox:
                    await self._look(job)
            await asyncio.sleep(EVERY)
            await holder.execute("SELECT 1")

    async def clean_strays(self) -> None:
        """After a crash: what the ledger names and no job needs any more."""
        owned = await self.line.records.owned_on(self.places.node)
        strays = {(o.job_id, o.placement) for o in owned if o.stray and o.replay == self.line.store.replay}
        for job_id, placement in sorted(strays):
            job = await self.line.store.get(job_id)
            if any(
                e.kind == "cleanup" and e.data.get("placement") == placement
                for e in await self.line.store.open_errands(job_id)
            ):
                continue  # its errand does it
            try:
                await self.places.remove(job_id, placement)
                log.info("stray removed", job_id=job_id, placement=placement)
                if job.cleanup in {"unreachable", "problem"}:
                    await self.line.apply(job, ev.Noted(facts={"cleanup": "done"}), actor=self.actor)
            except (FactoryError, StoreError) as e:
                log.warning("stray not removed", job_id=job_id, why=str(e))

    async def _look(self, job: Job) -> None:
        assert job.sandbox is not None
        if not await self.places.alive(job.sandbox):
            await self._apply(job, ev.SandboxLost(reason="its sandbox is gone"))
            return
        state = "up" if await self._answers(job) else "down"
        if state != job.sandbox.preview:
            sandbox = msgspec.structs.replace(job.sandbox, preview=state)
            await self._apply(job, ev.Noted(note=f"preview {state}", facts={"sandbox": msgspec.to_builtins(sandbox)}))

    async def _apply(self, job: Job, event: ev.Event) -> None:
        try:
            await self.line.apply(job, event, actor=self.actor)
        except StoreError as e:
            log.info("not noted", job_id=job.id, why=str(e))

    async def _answers(self, job: Job) -> bool:
        """Whether the app's own port takes connections, asked through the sandbox."""
        assert job.sandbox is not None
        port = next((u.get("port") for u in job.sandbox.urls if u.get("primary")), None)
        if port is None:
            return True
        try:
            async with asyncio.timeout(3):
                _, writer = await self.places.open(job.sandbox, None).connect(int(port))
        except (SandboxError, OSError, TimeoutError):
            return False
        writer.close()
        return True
