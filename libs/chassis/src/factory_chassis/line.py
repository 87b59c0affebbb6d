"""The line: what every part that moves jobs does after a move, so that the next worker hears of it at once."""

from __future__ import annotations

from typing import Any

from factory_jobs import events as ev
from factory_jobs.job import Job
from factory_jobs.machine import TERMINAL, State
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
        facts = {"project": project, "snapshot": snapshot, "repo": repo, "title": title, "request": request}
        job = await self.store.create(**facts, hint=self.publisher.connected)
        if job is not None:
            await self._hint(job)
        return job

    async def apply(self, job: Job, event: ev.Event, *, actor: str, epoch: int | None = None, **data: Any) -> Job:
        """Raises Fenced, Stale, IllegalMove; see `Store.apply`."""
        hint = self.publisher.connected
        after = await self.store.apply(job, event, actor=actor, epoch=epoch, hint=hint, **data)
        return await self._tell(job, after, errands=not isinstance(event, ev.Done | ev.Noted))  # these leave none

    async def tell(self, job_id: str, event: ev.Event, *, actor: str, request: NewRequest | None = None) -> Job | None:
        """Something from outside; None where its message was taken before."""
        before = await self.store.get(job_id)
        after = await self.store.tell(job_id, event, actor=actor, request=request)
        return after and await self._tell(before, after)

    async def answer(self, job_id: str, event: ev.Answered, *, actor: str) -> Job:
        before = await self.store.get(job_id)
        return await self._tell(before, await self.store.answer(job_id, event, actor=actor))

    async def _hint(self, job: Job) -> None:
        await self.publisher.hint(job, counted=job.hinted_at is not None)

    async def _tell(self, before: Job, after: Job, *, errands: bool = True) -> Job:
        if after.version == before.version:
            return after
        if before.lease_owner is not None and after.lease_epoch != before.lease_epoch:
            await self.publisher.control(after)
        if after.lease_owner is None:
            await self._hint(after)
        for errand in await self.store.open_errands(after.id) if errands else ():
            if errand.hinted_at is None:
                await self.publisher.errand(errand)
        if _takes_a_place(before) and not _takes_a_place(after):
            for job in await self.store.in_line():
                await self.publisher.hint(job)
        return after


def _takes_a_place(job: Job) -> bool:
    """Whether it counts against the limits of its repo and of a node; as `job_claim` counts."""
    if State(job.state) in TERMINAL or job.state == State.READY_FOR_HUMAN_REVIEW:
        return False
    return job.node is not None or (job.state == State.PLANNED and job.lease_owner is not None)
