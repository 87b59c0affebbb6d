"""The line: what every part that moves jobs does after a move, so that the next worker hears of it at once."""

from __future__ import annotations

from typing import Any

from factory_jobs import events as ev
from factory_jobs.job import Job
from factory_jobs.records import Records
from factory_jobs.store import NewRequest, Store

from .broker import Publisher


class Line:
    """Store, records and bus together: moves are written by the store, then hinted. For services, console and ctl."""

    def __init__(self, store: Store, records: Records, publisher: Publisher) -> None:
        self.store, self.records, self.publisher = store, records, publisher

    async def create(
        self, *, project: str, snapshot: dict[str, Any], repo: str, title: str, request: NewRequest
    ) -> Job | None:
        """None where the request was taken before."""
        job = await self.store.create(project=project, snapshot=snapshot, repo=repo, title=title, request=request)
        if job is not None:
            await self.publisher.hint(job)
        return job

    async def apply(self, job: Job, event: ev.Event, *, actor: str, epoch: int | None = None, **data: Any) -> Job:
        """Raises Fenced, Stale, IllegalMove; see `Store.apply`."""
        return await self._tell(job, await self.store.apply(job, event, actor=actor, epoch=epoch, **data))

    async def tell(self, job_id: str, event: ev.Event, *, actor: str, request: NewRequest | None = None) -> Job | None:
        """Something from outside; None where its message was taken before."""
        before = await self.store.get(job_id)
        after = await self.store.tell(job_id, event, actor=actor, request=request)
        return after and await self._tell(before, after)

    async def answer(self, job_id: str, event: ev.Answered, *, actor: str) -> Job:
        before = await self.store.get(job_id)
        return await self._tell(before, await self.store.answer(job_id, event, actor=actor))

    async def _tell(self, before: Job, after: Job) -> Job:
        if after.version == before.version:
            return after
        if before.lease_owner is not None and after.lease_epoch != before.lease_epoch:
            await self.publisher.control(after)
        if after.lease_owner is None:
            await self.publisher.hint(after)
        for errand in await self.store.open_errands(after.id):
            if errand.hinted_at is None:
                await self.publisher.errand(errand)
        return after
