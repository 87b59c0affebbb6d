"""On `received`: what people said and what the repo holds become a plan."""

from __future__ import annotations

from typing import Any

from factory_chassis.plan import Plan
from factory_chassis.work import Work
from factory_forge.forges import Forges
from factory_jobs import events as ev
from factory_jobs.errors import RequestError
from factory_jobs.machine import State

from . import repo
from .planning import Planner, RulesPlanner
from .settings import Settings


class Handlers:
    def __init__(self, settings: Settings, planner: Planner | None = None) -> None:
        self.settings, self.forges = settings, Forges.of(settings)
        self.planner = planner or RulesPlanner()

    def by_state(self) -> dict[State, Any]:
        return {State.RECEIVED: self.received}

    async def received(self, work: Work) -> ev.Event:
        """Takes up every unread message; a plan that stands already is kept."""
        job, records = work.job, work.records
        mirror = await self.forges.mirror(self.settings.node_dir, job.repo)
        await mirror.fetch()
        base_sha = job.base_sha or await mirror.resolve(work.project.base or await mirror.default_branch())
        unread = await records.unread(job.id)
        texts = [r.text for r in unread] or [r.text for r in await records.requests(job.id)][-1:]
        if not any(t.strip() for t in texts):
            raise RequestError("The message holds no wish.", code="empty_request")
        forge = await self.forges.connect(job.repo)
        await self.forges.connect(
            job.repo, reviewer=True
        )  # a reviewer that is missing is missed now, not after the work
        earlier = await records.plan(job.id, job.request_no - 1) if job.request_no > 1 else None
        plan = await self.planner.plan(
            work.redactor.data(texts),  # a plan is shown, and cut: of half a secret nobody knows that it is one
            await repo.texts(mirror, base_sha),
            request_no=job.request_no,
            earlier=Plan.model_validate(earlier) if earlier else None,
            issues=[issue.title for issue in await forge.issues()],
        )
        await records.add_plan(job.id, job.request_no, plan.model_dump())
        await records.mark_read(job.id, f"plan:{job.request_no}", unread)
        work.log.info("planned", criteria=len(plan.criteria), files=len(plan.files), by=plan.by)
        return ev.Done(facts={"base_sha": base_sha, "title": plan.title})
