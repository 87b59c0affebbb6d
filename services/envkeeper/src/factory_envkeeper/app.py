"""Wires envkeeper together."""

from __future__ import annotations

import asyncio

from factory_chassis.service import Service
from factory_jobs.machine import Role

from .caches import shared_caches
from .errands import Errands
from .handlers import Handlers
from .place import Places
from .previews import Previews
from .settings import Settings
from .watch import Watch


class Envkeeper(Service):
    """Claims only where a builder and a recorder live on the same node: a job stays where its sandbox is."""

    def __init__(self, settings: Settings) -> None:
        self.states = Handlers(settings)
        self.chores = Errands(self.states.forges)
        self.ports, self.previews = settings.ports, settings.previews
        super().__init__(
            "envkeeper",
            settings,
            role=Role.ENVKEEPER,
            handlers=self.states.by_state(),
            errands={"cleanup": self.chores.cleanup, "reset_sandbox": self.chores.reset_sandbox},
            tasks=[self._watch] if settings.previews is None or settings.replay else [self._watch, self._previews],
            may_claim=None if settings.replay else self._company,
            node_limit=settings.node_jobs,
        )

    async def connect(self) -> None:
        await super().connect()
        node_dir = self.settings.node_dir
        places = Places(self.node, node_dir, self.records, shared_caches(node_dir))
        self.states.places = self.chores.places = places
        self.chores.line, self.chores.artifacts = self.line, self.artifacts

    async def _company(self) -> bool:
        """Waits for them a while: where all start at once they come a moment later, and the hint would be spent."""
        for _ in range(20):  # seconds, less than a hint waits for its ack
            if {"builder", "recorder"} <= await self.store.live_roles(self.node):
                return True
            if self.ending.is_set():
                break
            await asyncio.sleep(1)
        return False

    async def _watch(self, _: Service) -> None:
        await Watch(self.line, self.states.places, self.pool, self.owner).run()

    async def _previews(self, _: Service) -> None:
        assert self.previews is not None
        await Previews(self.records, self.states.places, leased=self.ports, twins=self.previews).run()


def build_app(settings: Settings) -> Service:
    return Envkeeper(settings)
