"""Wires builder together."""

from __future__ import annotations

from factory_chassis.service import Service
from factory_jobs.machine import Role

from .errands import Errands
from .handlers import Handlers
from .settings import Settings


class Builder(Service):
    """Does the work of a job's round, and its errands at the forge."""

    def __init__(self, settings: Settings) -> None:
        self.states = Handlers(settings)
        self.chores = Errands(self.states.forges, settings.public_url)
        super().__init__(
            "builder",
            settings,
            role=Role.BUILDER,
            handlers=self.states.by_state(),
            errands=self.chores.by_kind(),
        )

    async def connect(self) -> None:
        await super().connect()
        self.chores.records = self.records


def build_app(settings: Settings) -> Service:
    return Builder(settings)
