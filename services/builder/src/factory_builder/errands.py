"""Builder's errands: what is to be said to the forge beside a job's state. Each looks first whether it still fits."""

from __future__ import annotations

from collections.abc import Mapping

from factory_chassis.worker import ErrandHandler
from factory_forge.errors import NoSuchRef
from factory_forge.forges import Forges
from factory_jobs.job import Job
from factory_jobs.machine import State
from factory_jobs.records import Records
from factory_jobs.store import Errand

from . import statuses

NOT_NOW = "no longer asked for"


class Errands:
    """`records` is set when the service has connected."""

    records: Records

    def __init__(self, forges: Forges, public_url: str) -> None:
        self.forges, self.public_url = forges, public_url

    def by_kind(self) -> Mapping[str, ErrandHandler]:
        return {"close_pr": self.close_pr, "set_statuses": self.set_statuses}

    async def close_pr(self, errand: Errand, job: Job) -> str:
        """The job was cancelled: its pull request is closed; not one that a person has opened again since."""
        if job.state != State.CANCELLED or (job.pr is not None and job.pr.state != "open"):
            return NOT_NOW
        forge = await self.forges.connect(job.repo)
        number = int(errand.data["number"])
        pull = await forge.pull(number)
        if pull.state == "open":  # a merged one cannot be closed, and intake hears of it
            pull = await forge.close_pull(number)
        return pull.state

    async def set_statuses(self, errand: Errand, job: Job) -> str:
        """A commit of a person is about to be proved, or checks that were begun will not end."""
        if job.state in {State.MERGED, State.CANCELLED}:
            return NOT_NOW
        try:
            await statuses.show(
                await self.forges.connect(job.repo), job, errand.data["sha"], self.records, self.public_url
            )
        except NoSuchRef:
            return "the forge does not know the commit any more"
        return "done"
