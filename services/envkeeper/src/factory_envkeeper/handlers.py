"""On each of envkeeper's states: the place, the sandbox, setup, start. A living place is only looked at."""

from __future__ import annotations

from typing import Any

import msgspec
from factory_chassis import asking
from factory_chassis.work import Work
from factory_forge.branches import branch_name
from factory_forge.forges import Forges
from factory_forge.inside import GitInside
from factory_jobs import events as ev
from factory_jobs.errors import RepoError
from factory_jobs.job import Sandbox as Facts
from factory_jobs.machine import State
from factory_sandbox.contract import Answer, Contract

from . import base, ports
from .place import Places, sandbox_facts
from .settings import Settings


class Handlers:
    """`places` is set when the service has connected."""

    places: Places

    def __init__(self, settings: Settings) -> None:
        self.settings, self.forges = settings, Forges.of(settings)

    def by_state(self) -> dict[State, Any]:
        return {
            State.PLANNED: self.planned,
            State.WORKTREE_CREATED: self.worktree_created,
            State.SANDBOX_CREATED: self.sandbox_created,
            State.DEV_ENVIRONMENT_STARTING: self.dev_environment_starting,
        }

    async def planned(self, work: Work) -> ev.Event:
        """The plan gate; then a place on this node, unless the job has a living one."""
        job, records = work.job, work.records
        if (gate := await asking.plan_gate(work)) is not None:
            return gate
        if await self.places.alive(job.sandbox):
            return ev.Done()
        if job.placement is not None:
            await self.places.remove(job.id, job.placement)
        mirror = await self.forges.mirror(self.settings.node_dir, job.repo)
        await mirror.fetch()
        base_sha = job.base_sha or await mirror.resolve(work.project.base or await mirror.default_branch())
        branch = job.branch or branch_name(job.id, work.redactor.text(job.title))
        placement = await records.next_placement(job.id)
        node = self.places.node
        block = await self._ports(work, placement)
        await self.places.clone(mirror, job.id, placement, base_sha, branch)
        work.log.info("checkout ready", placement=placement, ports=f"{block[0]}-{block[1]}", base=base_sha[:12])
        return ev.Done(
            facts={"node": node, "placement": placement, "branch": branch, "base_sha": base_sha, "sandbox": None}
        )

    async def worktree_created(self, work: Work) -> ev.Event:
        """The sandbox around the checkout."""
        job = work.job
        if await self.places.alive(job.sandbox):
            return ev.Done()
        assert job.placement is not None
        block = await self._ports(work, job.placement)
        handle = await self.places.create(job, block)
        return ev.Done(facts={"sandbox": sandbox_facts(handle, block)})

    async def sandbox_created(self, work: Work) -> ev.Event:
        """`factory setup`, unless the app runs already."""
        contract = self._contract(work)
        if (await contract.run("status", timeout=30)).ok:
            return ev.Done()
        _hold(await contract.run("setup", timeout=1500), "The repo could not be set up")
        return ev.Done()

    async def dev_environment_starting(self, work: Work) -> ev.Event:
        """`factory start`, its URLs, and once per base commit what the base itself says."""
        job, contract = work.job, self._contract(work)
        assert job.sandbox is not None and job.base_sha is not None and job.branch is not None
        if not (await contract.run("status", timeout=30)).ok:
            await self._start(work, contract, job.sandbox)
        urls = _hold(await contract.run("urls", timeout=30), "The app's URLs are unknown").data.get("urls", [])
        sandbox = with_urls(job.sandbox, urls)
        await work.noted("the app runs", sandbox=msgspec.to_builtins(sandbox))
        git = GitInside(contract.sandbox, job.branch)
        if await work.records.base(job.repo, job.base_sha) is None and await git.head() == job.base_sha:
            await work.records.put_base(job.repo, job.base_sha, await base.examine(work, contract, git))
        return ev.Done()

    async def _start(self, work: Work, contract: Contract, sandbox: Facts) -> None:
        low, high = sandbox.ports
        _hold(await contract.start((low, high), work.job.id), "The app did not start")

    async def _ports(self, work: Work, placement: int) -> tuple[int, int]:
        node, settings = self.places.node, self.settings
        where = (work.records, self.places.node_dir, node, work.job.id, placement)
        return await ports.lease(*where, settings.ports, settings.job_ports)

    def _contract(self, work: Work) -> Contract:
        assert work.job.sandbox is not None
        return Contract(self.places.open(work.job.sandbox, work.epoch), work.stage.write)


def with_urls(sandbox: Facts, urls: list[dict[str, Any]]) -> Facts:
    """In `local` the app's own listener is the preview."""
    primary = next((u["url"] for u in urls if u.get("primary")), urls[0]["url"] if urls else "")
    return msgspec.structs.replace(sandbox, urls=urls, preview_url=primary, preview="up" if primary else "")


def _hold(answer: Answer, what: str) -> Answer:
    """Raises RepoError with the log's tail where the verb failed."""
    if answer.ok:
        return answer
    raise RepoError(f"{what}: {answer.error}", code=answer.error_code, log_tail=answer.tail, hint=answer.hint)
