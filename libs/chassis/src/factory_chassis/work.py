"""What a handler is given: the job under its lease, and the means to keep what it finds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import structlog
from factory_artifacts import content_types, keys
from factory_artifacts.redact import Redactor
from factory_artifacts.store import ArtifactStore, Stored
from factory_jobs import events as ev
from factory_jobs.errors import Fenced, JobError, OutsideError
from factory_jobs.job import Job
from factory_jobs.store import Store

from . import projects
from .logs import StageLog
from .outage import PatientRecords, patiently

if TYPE_CHECKING:
    from .line import Line
    from .renewal import Renewal

SETTLE = 60.0  # seconds after which an act without a result surely did or did not happen
STORAGE_AWAY = 300.0  # seconds for which what was worked for waits for a storage that does not answer
REPORTS = ("summary", "feedback")  # of a round: what an agent, a repo's tests and its pages have said
TEXTS = frozenset({"application/json", "application/jsonl", "application/yaml", "application/xml", "image/svg+xml"})


class CleanRecords(PatientRecords):
    """The records for a handler: reports lose their secrets before they are written, for they are shown to many."""

    def __init__(self, pool: asyncpg.Pool, back: Callable[[], Awaitable[None]], redactor: Redactor) -> None:
        super().__init__(pool, back)
        self._redactor = redactor

    async def put_round(self, job: Job, **facts: Any) -> None:
        reports: dict[str, Any] = {name: self._redactor.text(facts[name]) for name in REPORTS if facts.get(name)}
        await super().put_round(job, **facts | reports)

    async def add_evidence(self, job: Job, commit: str, kind: str, ok: bool, data: Any) -> None:
        if kind != "scenarios":  # they are no report: somebody may have to run them again
            data = self._redactor.data(msgspec.to_builtins(data))
        await super().add_evidence(job, commit, kind, ok, data)


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
        self.line, self.redactor, self.public_url = line, redactor, public_url
        self.records = CleanRecords(line.store.pool, self._held_again, redactor)
        self.artifacts, self._artifacts = artifacts.patient(STORAGE_AWAY), artifacts
        self.facts: dict[str, Any] = {}
        self.stopping: str | None = None
        self.log = structlog.get_logger()
        self._renewal = renewal

    @property
    def store(self) -> Store:
        return self.line.store

    @property
    def epoch(self) -> int:
        return self.job.lease_epoch

    @property
    def project(self) -> projects.Project:
        return projects.of_snapshot(self.job.snapshot)

    def _unless_fenced(self) -> None:
        if self.stopping == "fenced":
            raise Fenced(self.job.id, epoch=self.epoch)

    async def _held_again(self) -> None:
        """Where an outage was longer than the lease: until it is renewed, or is known to be lost."""
        while self._renewal.holds(self.job.id, self.epoch) and self._renewal.good_for(self.job.id, self.epoch) <= 0:
            await asyncio.sleep(0.1)

    def may_act(self) -> None:
        """Raises Fenced where the lease is no longer surely ours: begin no outside effect."""
        self._unless_fenced()
        if self._renewal.good_for(self.job.id, self.epoch) <= 0:
            raise Fenced(self.job.id, epoch=self.epoch)

    # ── what is kept ──────────────────────────────────────────────────────────

    async def keep(
        self, kind: str, name: str, content: bytes | Path, *, commit: str | None = None, patient: bool = True
    ) -> Stored:
        """Puts it into the artifact store, then writes its row. Text loses its secrets; a file goes as it is.

        A storage that is away is waited for where the caller is `patient`.
        Raises ArtifactError; Fenced where somebody else holds the job; ValueError for text that is given as a file.
        """
        self._unless_fenced()
        type_ = "text/plain; charset=utf-8" if kind == "log" else content_types.content_type(name)
        is_text = type_.startswith("text/") or type_ in TEXTS
        key = keys.key(self.job.id, commit or self.job.work_sha or self.job.base_sha or "none", self.epoch, kind, name)
        artifacts = self.artifacts if patient else self._artifacts
        if isinstance(content, Path):
            if is_text:
                raise ValueError(f"{name}: text is given as bytes, so that its secrets can be taken out")
            stored = await artifacts.put_file(key, content, type_)
        else:
            stored = await artifacts.put_bytes(key, self.redactor.bytes_(content) if is_text else content, type_)
        await self.records.add_artifact(
            self.job,
            kind=kind,
            name=name,
            key=key,
            sha256=stored.sha256,
            size=stored.size,
            content_type=type_,
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
        kept as JSON. It looks before it writes the intent, so that a look that fails leaves none behind; after an
        unclear error it looks again before the error goes on. Where other hands began the act and never said how it
        ended, it may still be under way: it is looked for again after the act's own time.
        """
        before = next((e for e in await self.records.effects(self.job.id) if e["key"] == key), None)
        if before and before["result"] is not None:
            return before["result"]
        found = await look()
        if found is None and before and before["epoch"] != self.epoch and before["done_at"] is None:
            age = (await self.records.value("now") - before["at"]).total_seconds()
            if age < SETTLE:
                self.log.info("waiting for what other hands began", effect=key, seconds=round(SETTLE - age))
                await asyncio.sleep(SETTLE - age)
                found = await look()
        effect = await self.records.intend(self.job, key, intent)
        if effect.result is not None:
            return effect.result
        if found is None:
            found = await self._act(key, act, look)
        result = msgspec.to_builtins(found)
        await self.records.effect_result(self.job.id, key, result)
        return result

    async def _act(self, key: str, act: Callable[[], Awaitable[Any]], look: Callable[[], Awaitable[Any | None]]) -> Any:
        try:
            self.may_act()
            return await act()
        except (JobError, Fenced) as e:
            if isinstance(e, OutsideError) and (found := await look()) is not None:
                return found
            await self.records.effect_ended(self.job, key)  # and did not happen
            raise

    async def noted(self, note: str = "", **facts: Any) -> None:
        """Facts that others should see before the state ends."""
        event = ev.Noted(note=note, facts=facts)
        apply = self.line.apply
        written = patiently(lambda: apply(self.job, event, actor=self.actor, epoch=self.epoch), self._held_again)
        self.job = await written

    async def refresh(self) -> Job:
        """The row as it is now; raises Fenced where it is no longer ours."""
        job = await patiently(lambda: self.store.get(self.job.id), self._held_again)
        if job.lease_epoch != self.epoch:
            raise Fenced(job.id, epoch=self.epoch, now=job.lease_epoch)
        self.job = job
        return job
