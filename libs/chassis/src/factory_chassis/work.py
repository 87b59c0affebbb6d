"""What a handler is given: the job under its lease, and the means to keep what it finds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from factory_artifacts import content_types, keys
from factory_artifacts.redact import Redactor
from factory_artifacts.store import ArtifactStore, Stored
from factory_jobs import events as ev
from factory_jobs.errors import Fenced, OutsideError
from factory_jobs.job import Job
from factory_jobs.records import Records
from factory_jobs.store import Store

from . import projects
from .logs import StageLog

if TYPE_CHECKING:
    from .line import Line
    from .renewal import Renewal

SETTLE = 60.0  # seconds after which an act without a result surely did or did not happen


class Work:
    """One state of one job in one pair of hands.

    `stopping` says why the handler's task was cancelled: `sigterm` (save what can be saved into `facts`, the lease is
    handed back), `deadline` (the state is tried again) or `fenced` (end everything you started; nothing of yours is
    written any more).
    """

    def __init__(
        self,
        job: Job,
        *,
        actor: str,
        line: Line,
        artifacts: ArtifactStore,
        redactor: Redactor,
        renewal: Renewal,
        public_url: str,
        stage: StageLog,
    ) -> None:
        self.job, self.actor, self.stage = job, actor, stage
        self.line, self.artifacts, self.redactor, self.public_url = line, artifacts, redactor, public_url
        self.facts: dict[str, Any] = {}
        self.stopping: str | None = None
        self.log = structlog.get_logger()
        self._renewal = renewal

    @property
    def store(self) -> Store:
        return self.line.store

    @property
    def records(self) -> Records:
        return self.line.records

    @property
    def epoch(self) -> int:
        return self.job.lease_epoch

    @property
    def project(self) -> projects.Project:
        return projects.of_snapshot(self.job.snapshot)

    def may_act(self) -> None:
        """Raises Fenced where the lease is no longer surely ours: begin no outside effect."""
        if self.stopping == "fenced" or self._renewal.good_for(self.job.id, self.epoch) <= 0:
            raise Fenced(self.job.id, epoch=self.epoch)

    # ── what is kept ──────────────────────────────────────────────────────────

    async def keep(self, kind: str, name: str, content: bytes | Path, *, commit: str | None = None) -> Stored:
        """Puts it into the artifact store, then writes its row. Text is redacted. Raises ArtifactError."""
        content_type = "text/plain; charset=utf-8" if kind == "log" else content_types.content_type(name)
        key = keys.key(self.job.id, commit or self.job.work_sha or self.job.base_sha or "none", self.epoch, kind, name)
        if isinstance(content, Path):
            stored = await self.artifacts.put_file(key, content, content_type)
        else:
            data = self.redactor.bytes_(content) if content_type.startswith("text/") else content
            stored = await self.artifacts.put_bytes(key, data, content_type)
        await self.records.add_artifact(
            self.job,
            kind=kind,
            name=name,
            key=key,
            sha256=stored.sha256,
            size=stored.size,
            content_type=content_type,
            commit=commit,
        )
        return stored

    def url(self, stored: Stored, name: str) -> str:
        return keys.url(self.public_url, self.job.id, stored.sha256, name)

    # ── outside effects ───────────────────────────────────────────────────────

    async def outside(
        self,
        key: str,
        intent: dict[str, Any],
        act: Callable[[], Awaitable[Any]],
        look: Callable[[], Awaitable[Any | None]],
    ) -> Any:
        """Intent → act → result, so that the act happens once whoever dies where.

        `look` answers "did it happen?" by the natural key and gives what `act` would have given, or None. Results are
        kept as JSON. After an unclear error it looks again before the error goes on.
        """
        effect = await self.records.intend(self.job, key, intent)
        if effect.result is not None:
            return effect.result
        if (found := await look()) is None:
            self.may_act()
            try:
                found = await act()
            except OutsideError:
                if (found := await look()) is None:
                    raise
        result = msgspec.to_builtins(found)
        await self.records.effect_result(self.job.id, key, result)
        return result

    async def noted(self, note: str = "", **facts: Any) -> None:
        """Facts that others should see before the state ends."""
        self.job = await self.line.apply(self.job, ev.Noted(note=note, facts=facts), actor=self.actor, epoch=self.epoch)

    async def refresh(self) -> Job:
        """The row as it is now; raises Fenced where it is no longer ours."""
        job = await self.store.get(self.job.id)
        if job.lease_epoch != self.epoch:
            raise Fenced(job.id, epoch=self.epoch, now=job.lease_epoch)
        self.job = job
        return job


class Stopwatch:
    """Seconds since it was made, by the monotonic clock."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


async def finish(awaitable: Awaitable[Any], seconds: float) -> Any:
    """Waits for clean-up that must not be cut short by a second cancellation, for at most `seconds`."""
    return await asyncio.shield(asyncio.wait_for(asyncio.ensure_future(awaitable), seconds))
