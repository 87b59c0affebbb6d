"""On `browser_validation_running`: the agent's scenarios in Chromium on the running app, filmed, kept by commit."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from factory_browser import child
from factory_browser.errors import ScenarioErrors
from factory_browser.errors_seen import KnownErrors
from factory_browser.plan import Plan as Recording
from factory_browser.scenarios import Scenario, load, missing, uploads
from factory_browser.socks import SocksListener
from factory_chassis.plan import Plan
from factory_chassis.work import Work
from factory_jobs import events as ev
from factory_jobs.errors import FactoryError
from factory_jobs.job import Job
from factory_jobs.machine import State
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.contract import Contract
from factory_sandbox.errors import SandboxError, SandboxLost
from factory_sandbox.handle import Handle

from . import feedback
from .settings import Settings

SCENARIOS = ".software-factory/scenarios.yaml"
SECONDS = 600.0
# Codes of `factory status` that no change to the repo brings about.
OURS = frozenset(
    "foreign_listener supervisor_gone supervisor_silent supervisor_failed rebooted moved timeout no_json".split()
)


class Handlers:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def by_state(self) -> dict[State, Any]:
        return {State.BROWSER_VALIDATION_RUNNING: self.browser_validation_running}

    async def browser_validation_running(self, work: Work) -> ev.Event:
        """Scenarios read and judged first; then the app is proved to be this job's; then it is filmed."""
        job, records = work.job, work.records
        assert job.sandbox is not None and job.work_sha is not None
        sandbox = Sandbox(Handle.from_dict(job.sandbox.handle), node_key(self.settings.node_dir), work.epoch)
        plan = Plan.model_validate(await records.plan(job.id, job.request_no))
        text, fault = await self._scenarios(work, sandbox, plan)
        if fault is not None:
            return await self._back(work, fault)
        if (down := await self._down(work, sandbox)) is not None:
            return await self._back(work, down)
        with tempfile.TemporaryDirectory(prefix="recording-") as d:
            recording = await self._record(work, sandbox, plan, text, Path(d))
            await self._keep(work, recording)
        await records.add_evidence(job, job.work_sha, "browser", recording["ok"], recording)
        work.log.info(
            "recorded",
            ok=recording["ok"],
            scenarios={r["name"]: r["ok"] for r in recording["results"]},
            new_errors=sum(len(recording[kind]) for kind in ("console_new", "requests_new", "page_errors")),
        )
        if not recording["ok"]:
            return await self._back(work, feedback.of_recording(work.redactor.data(recording)))
        return ev.Done()

    async def _back(self, work: Work, said: str) -> ev.Event:
        await work.records.put_round(work.job, feedback=said)
        return ev.FellBack(feedback=said)

    async def _scenarios(self, work: Work, sandbox: Sandbox, plan: Plan) -> tuple[str, str | None]:
        """The text, and what is wrong with it. On a person's push the scenarios of the last proof are used again."""
        job = work.job
        assert job.work_sha is not None
        ids = [c.id for c in plan.criteria]
        try:
            text = (await sandbox.read(SCENARIOS, max_bytes=65_537)).decode()
        except SandboxLost:
            raise
        except (SandboxError, UnicodeDecodeError) as e:
            kept = await self._kept_scenarios(work)
            if kept is None:
                return "", f"{SCENARIOS} cannot be read ({e}). " + feedback.of_missing(
                    ids, {c.id: c.text for c in plan.criteria}
                )
            text = kept
        try:
            found = load(text, SCENARIOS)
        except ScenarioErrors as e:
            return "", f"The scenarios cannot be used:\n{e}"
        if lacking := missing(found, ids):
            return "", feedback.of_missing(lacking, {c.id: c.text for c in plan.criteria})
        await work.records.add_evidence(job, job.work_sha, "scenarios", True, {"text": text})
        return text, None

    async def _kept_scenarios(self, work: Work) -> str | None:
        found = [e for e in await work.records.all_evidence(work.job.id) if e.kind == "scenarios"]
        return found[-1].data["text"] if found else None

    async def _down(self, work: Work, sandbox: Sandbox) -> str | None:
        """`factory status` proves that each port is answered by a process of this environment.

        An app that the change has brought down is the agent's to mend. Raises FactoryError for what is ours.
        """
        status = await Contract(sandbox).run("status", timeout=60)
        if status.ok:
            return None
        if status.error_code in OURS:
            raise FactoryError(
                f"The app is not ready to be filmed: {status.error}", code="app_not_ready", log_tail=status.tail
            )
        clean = work.redactor.text  # before it is cut: of half a secret nobody knows that it is one
        return feedback.of_app(clean(status.error), clean(status.tail))

    async def _record(self, work: Work, sandbox: Sandbox, plan: Plan, text: str, out: Path) -> dict[str, Any]:
        job = work.job
        assert job.sandbox is not None and job.base_sha is not None
        base = (await work.records.base(job.repo, job.base_sha) or {}).get("validate") or {}
        urls = {u["service"]: u["url"] for u in job.sandbox.urls}
        primary = next((u["service"] for u in job.sandbox.urls if u.get("primary")), next(iter(urls), ""))
        async with SocksListener(sandbox.connect, names=_names(job)) as way_in:
            scenarios = load(text, SCENARIOS)
            recording = Recording(
                urls=urls,
                primary=primary,
                scenarios=scenarios,
                out=out / "recording",
                files=await self._files(sandbox, scenarios, out / "files"),
                proxy=way_in.url,
                known=KnownErrors.from_dict(base.get("known") or {}),
                chapter_titles={c.id: c.text for c in plan.criteria},
            )
            try:
                async with asyncio.timeout(SECONDS):
                    return await child.record(recording)
            except TimeoutError:
                raise FactoryError(f"The browser took longer than {SECONDS:.0f} s.", code="browser_timeout") from None

    async def _files(self, sandbox: Sandbox, scenarios: list[Scenario], directory: Path) -> Path:
        """What the scenarios upload, out of the checkout; a file that is not there fails its step and says so."""
        directory.mkdir()
        for name in uploads(scenarios):
            try:
                data = await sandbox.read(name)
            except SandboxLost:
                raise
            except SandboxError:
                continue
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(data)
        return directory

    async def _keep(self, work: Work, recording: dict[str, Any]) -> None:
        """Video, screenshots and trace go to the artifact store; the recording then names them by what they hold."""
        commit = work.job.work_sha
        video = recording.get("video")
        if video:
            name = Path(video["path"]).name
            stored = await work.keep("video", name, Path(video["path"]), commit=commit)
            video |= {"name": name, "sha256": stored.sha256}
        shots = []
        for path in recording.get("screenshots", []):
            name = Path(path).name
            stored = await work.keep("screenshot", name, Path(path), commit=commit)
            shots.append({"name": name, "sha256": stored.sha256})
        recording["screenshots"] = shots
        if trace := recording.get("trace"):
            await work.keep("trace", Path(trace).name, Path(trace), commit=commit)


def _names(job: Job) -> list[str]:
    """Host names that mean this sandbox, beside localhost itself."""
    return [f"{u['service']}.{job.id}.localhost" for u in (job.sandbox.urls if job.sandbox else [])]
