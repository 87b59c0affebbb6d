"""The floor under the bus: what is due and not hinted is hinted, and what time has done to jobs is written."""

from __future__ import annotations

import asyncio
import time

import structlog
from factory_jobs.errors import StoreError
from factory_jobs.machine import Role

from .line import Line
from .worker import POSTGRES_AWAY, working_states

log = structlog.get_logger()


class Sweep:
    """Runs in every service for its own role; judging leases of others begins after `patience` seconds of connection,
    so that an outage fences nobody."""

    def __init__(self, line: Line, role: Role | None, *, actor: str, patience: float = 30, every: float = 1.0) -> None:
        self.line, self.role, self.actor, self.patience, self.every = line, role, actor, patience, every
        self._connected_since: float | None = None

    async def run(self) -> None:
        while True:
            try:
                await self.once()
                self._connected_since = self._connected_since or time.monotonic()
            except POSTGRES_AWAY as e:
                self._connected_since = None
                log.warning("sweep: Postgres does not answer", why=repr(e))
            await asyncio.sleep(self.every)

    async def once(self) -> None:
        if self.role is not None:
            for job in await self.line.store.due_hints(working_states(self.role)):
                await self.line.publisher.hint(job)
            for errand in await self.line.store.due_errands(self.role):
                await self.line.publisher.errand(errand)
        if self._connected_since and time.monotonic() - self._connected_since >= self.patience:
            await self._judge()

    async def _judge(self) -> None:
        for job, event in await self.line.store.swept():
            try:
                after = await self.line.apply(job, event, actor=f"sweep:{self.actor}")
            except StoreError as e:
                log.info("swept by another", job_id=job.id, why=str(e))
                continue
            if after.version != job.version:
                log.warning("swept", job_id=job.id, found=event.kind, state=after.state)
