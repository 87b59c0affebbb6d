"""The place of a job on this node: its directory, its private clone, its sandbox. All of it in the ledger first."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from factory_forge.git import Mirror
from factory_jobs.errors import FactoryError
from factory_jobs.job import Job
from factory_jobs.job import Sandbox as Facts
from factory_jobs.records import Records
from factory_sandbox import provider
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.errors import SandboxError
from factory_sandbox.handle import Handle
from factory_sandbox.layout import Layout
from factory_sandbox.providers import Spec

SHIMS = {"factory": [sys.executable, "-I", "-m", "factory_contract"]}


class Places:
    """Makes, finds and removes places. Idempotent: envkeeper may die anywhere and do it again."""

    def __init__(self, node: str, node_dir: Path, records: Records, caches: dict[str, str]) -> None:
        self.node, self.node_dir, self.records, self.caches = node, node_dir.resolve(), records, caches
        self.key = node_key(self.node_dir)
        self.provider = provider("local")

    def directory(self, job_id: str, placement: int) -> Path:
        return self.node_dir / "places" / f"{job_id}-{placement}"

    def checkout(self, job_id: str, placement: int) -> Path:
        return self.directory(job_id, placement) / "checkout"

    async def clone(self, mirror: Mirror, job_id: str, placement: int, sha: str, branch: str) -> None:
        """A private clone whose objects come read-only from the mirror. What a dead predecessor left half-made goes."""
        directory = self.directory(job_id, placement)
        await self.records.own(job_id, placement, self.node, "clone", str(directory))
        self.provider.reserve(self.node, self.node_dir, job_id, placement)  # the node's own ledger, too
        checkout = self.checkout(job_id, placement)
        if (directory / "cloned").exists():
            return
        shutil.rmtree(checkout, ignore_errors=True)
        directory.mkdir(parents=True, exist_ok=True)
        await mirror.clone_for_job(checkout, sha, branch)
        (directory / "cloned").touch()

    async def create(self, job: Job, ports: tuple[int, int]) -> Handle:
        assert job.placement is not None
        await self.records.own(job.id, job.placement, self.node, "sandbox", f"local:{job.id}-{job.placement}")
        spec = Spec(
            node=self.node,
            node_dir=self.node_dir,
            job_id=job.id,
            placement=job.placement,
            checkout=self.checkout(job.id, job.placement),
            shims=SHIMS,
            env=self.caches,
            ports=ports,
        )
        return await self.provider.create(spec, job.lease_epoch)

    def handle(self, job_id: str, placement: int) -> Handle:
        """Of a placement that is known by its numbers alone."""
        return Handle("local", self.node, job_id, placement, str(Layout(self.node_dir, job_id, placement).socket))

    def open(self, facts: Facts, epoch: int | None) -> Sandbox:
        return Sandbox(Handle.from_dict(facts.handle), self.key, epoch)

    async def alive(self, facts: Facts | None) -> bool:
        return facts is not None and await self.provider.alive(Handle.from_dict(facts.handle))

    async def remove(self, job_id: str, placement: int) -> None:
        """Everything of a placement. Raises FactoryError naming what is left."""
        try:
            await self.provider.destroy(self.handle(job_id, placement))
        except (SandboxError, OSError) as e:
            raise FactoryError(f"Not everything could be removed: {e}", code="cleanup_incomplete") from e
        await self.records.free(job_id, placement)


def sandbox_facts(handle: Handle, ports: tuple[int, int]) -> dict[str, Any]:
    """The column `jobs.sandbox` when the sandbox has just been made."""
    return {"provider": handle.provider, "handle": handle.as_dict(), "ports": list(ports)}
