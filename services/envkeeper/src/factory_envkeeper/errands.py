"""Envkeeper's errands: a placement is cleaned up, a living sandbox is put back to the proved commit."""

from __future__ import annotations

from factory_artifacts.store import ArtifactStore
from factory_chassis.line import Line
from factory_forge.errors import CheckoutBroken
from factory_forge.forge import Deployment, preview_of
from factory_forge.forges import Forges
from factory_forge.inside import GitInside
from factory_jobs import events as ev
from factory_jobs.errors import FactoryError, RepoError
from factory_jobs.job import Job
from factory_jobs.machine import TERMINAL, State
from factory_jobs.store import Errand
from factory_sandbox.contract import Contract

from .place import Places


class Errands:
    """What is needed is set when the service has connected."""

    places: Places
    line: Line
    artifacts: ArtifactStore

    def __init__(self, forges: Forges) -> None:
        self.forges = forges

    async def cleanup(self, errand: Errand, job: Job) -> str:
        """Everything of the placement goes; the job's row says how it went."""
        placement = int(errand.data["placement"])
        try:
            await self.places.remove(job.id, placement)
        except FactoryError:
            await self._say(job, "problem")
            raise
        await self._say(job, "done")
        return await self._hide_preview(job, placement)

    async def _hide_preview(self, job: Job, placement: int) -> str:
        """The forge shows no link any more to what is gone. Where it does not allow that, cleanup is done all the same."""
        job = await self.line.store.get(job.id)
        if job.pr is None or job.placement not in {None, placement}:
            return "done"
        gone = Deployment(sha=job.pr.head, environment=preview_of(job.id), state="inactive")
        try:
            await (await self.forges.connect(job.repo)).deploy(gone)
        except RepoError as e:
            return f"done; the forge may still show the preview: {e.message}"
        return "done"

    async def _say(self, job: Job, cleanup: str) -> None:
        job = await self.line.store.get(job.id)
        if State(job.state) in TERMINAL and job.cleanup != cleanup:
            facts = {"cleanup": cleanup} | ({"sandbox": None} if cleanup == "done" else {})
            await self.line.apply(job, ev.Noted(note=f"cleanup {cleanup}", facts=facts), actor="envkeeper")

    async def reset_sandbox(self, errand: Errand, job: Job) -> str:
        """Later work was dropped: the preview shows the proved commit again."""
        sha = errand.data["sha"]
        if job.state != State.READY_FOR_HUMAN_REVIEW or job.sandbox is None or job.proved_sha != sha or not job.branch:
            return "no longer asked for"
        sandbox = self.places.open(job.sandbox, job.lease_epoch)
        try:
            await GitInside(sandbox, job.branch, job.base_sha or "").reset(sha)
        except CheckoutBroken as e:  # by the work that was dropped: there is nothing to put back
            await self.line.apply(job, ev.SandboxLost(reason=str(e)), actor="envkeeper")
            return "the place is given up"
        contract = Contract(sandbox)
        answer = await contract.run("setup", timeout=900)
        if answer.ok:
            low, high = job.sandbox.ports
            answer = await contract.restart((low, high), job.id)
        return "done" if answer.ok else f"{answer.verb}: {answer.error}"
