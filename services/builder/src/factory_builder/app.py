"""Wires builder together."""

from factory_chassis.service import Service
from factory_jobs.job import Job
from factory_jobs.machine import Role
from factory_jobs.store import Errand

from .handlers import Handlers, close_pull
from .settings import Settings


def build_app(settings: Settings) -> Service:
    handlers = Handlers(settings)

    async def close(errand: Errand, job: Job) -> str:
        """The job was cancelled: its pull request is closed."""
        return await close_pull(handlers.forges, errand.data, job.repo)

    return Service("builder", settings, role=Role.BUILDER, handlers=handlers.by_state(), errands={"close_pr": close})
