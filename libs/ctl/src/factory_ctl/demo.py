"""The demo: a person types a wish into a chat, and the whole line runs on this machine, nothing of it on the internet."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from factory_artifacts.store import ArtifactStore
from factory_forge import forges
from factory_jobs import db
from factory_jobs.job import Job
from factory_jobs.machine import PHASES, State
from factory_jobs.records import Records
from factory_jobs.store import Store
from factory_loopback.telegram.person import RemotePerson, ShownMessage

from .processes import die_with_parent
from .up import Factory, UpError

HERE = Path(__file__).parent
CHAT, ADA = -1001000000001, 1001
TOKEN = "5000000001:loopback-token-of-the-demo"
WITHIN = 600.0  # seconds for the job
ENDS = frozenset({State.READY_FOR_HUMAN_REVIEW, State.FAILED, State.CANCELLED, State.MERGED})


@dataclass(frozen=True)
class Script:
    """What the demo plays: the repo that is changed, the wish, and what the scripted agent does about it."""

    repo: Path
    request: str
    agent: Path

    @classmethod
    def default(cls, root: Path) -> Script:
        pilot = root / "examples" / "pilot"
        if not pilot.is_dir():
            raise UpError(f"the demo's app is not at {pilot}: run `factoryctl demo` in a checkout of the factory")
        return cls(
            pilot, (HERE / "demo_script" / "request.txt").read_text().strip(), HERE / "demo_script" / "agent.yaml"
        )


class Demo:
    """One run, with everything it makes under `directory`."""

    def __init__(self, directory: Path, script: Script, say: Callable[[str], None]) -> None:
        if not script.repo.is_dir() or not script.agent.is_file():
            missing = script.agent if script.repo.is_dir() else script.repo
            raise UpError(f"there is nothing to play with at {missing}")
        self.directory, self.script, self.say = directory.absolute(), script, say
        self.telegram_url = ""
        self._telegram: asyncio.subprocess.Process | None = None
        self.factory: Factory | None = None

    async def run(self, *, keep: bool = False) -> dict[str, Any]:
        """The result, as it is written to `result.json`. Raises UpError, ServerFailed, TimeoutError."""
        self._fresh()
        try:
            await self._start_telegram()
            return await self._run(keep)
        finally:
            await self._stop_telegram()

    async def _run(self, keep: bool) -> dict[str, Any]:
        environ = {
            "FACTORY_TELEGRAM_TOKEN": TOKEN,
            "FACTORY_TELEGRAM_API": self.telegram_url,
            "FACTORY_POLL_TIMEOUT": "5",
        }
        environ |= {
            k: os.environ[k] for k in ("FACTORY_CHROMIUM", "FACTORY_FAILPOINT", "FACTORY_PORT_RANGE") if k in os.environ
        }
        data = self.directory / "factory"
        self.factory = Factory(data, projects=self._projects(self._repository()), environ=environ, say=self.say)
        ended = asyncio.Event()
        watching: asyncio.Task[None] | None = None
        try:
            await self.factory.start()
            watching = asyncio.create_task(self.factory.watch(ended))
            result = await self._play(watching)
            if keep:
                self._say_where()
                await self._until_interrupted(watching)
            return result
        finally:
            ended.set()
            if watching:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await self.factory.stop()

    def _fresh(self) -> None:
        """A run begins with nothing of the last one; a factory that still runs there is not disturbed."""
        lock = self.directory / "factory" / "lock"
        if lock.exists():
            Factory(self.directory / "factory", projects=Path("none"))._take_lock()  # raises where one runs
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)

    # ── what stands in for the internet ───────────────────────────────────────

    async def _start_telegram(self) -> None:
        argv = [
            sys.executable, "-m", "factory_loopback.telegram", "--token", TOKEN,
            "--chat", f"{CHAT}=Deskline factory", "--user", f"{ADA}=Ada", "--data", str(self.directory / "telegram"),
        ]  # fmt: skip
        log = (self.directory / "telegram.log").open("wb")
        self._telegram = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        assert self._telegram.stdout is not None
        line = await asyncio.wait_for(self._telegram.stdout.readline(), 30)
        if not line:
            raise UpError(
                "the loopback Telegram does not start: " + (self.directory / "telegram.log").read_text()[-1000:]
            )
        ready = json.loads(line)
        self.telegram_url = ready["url"]
        self.say(f"loopback Telegram: {self.telegram_url}/chat/{CHAT}")

    async def _stop_telegram(self) -> None:
        if self._telegram and self._telegram.returncode is None:
            self._telegram.terminate()
            await asyncio.wait_for(self._telegram.wait(), 10)

    def _repository(self) -> Path:
        """The app as a repository of its own, pushed to a bare one: the local forge."""
        name = self.script.repo.name
        tree, bare = self.directory / "seed" / name, self.directory / "repos" / f"{name}.git"
        shutil.copytree(self.script.repo, tree, ignore=shutil.ignore_patterns("__pycache__", ".software-factory"))
        bare.parent.mkdir(parents=True)
        git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
        env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for argv in (
            ["init", "-q", "-b", "main", str(tree)],
            ["-C", str(tree), "add", "-A"],
            ["-C", str(tree), "commit", "-q", "-m", f"The app {name} as it is"],
            ["clone", "-q", "--bare", str(tree), str(bare)],
        ):
            subprocess.run([*git, *argv], check=True, env=env, stdin=subprocess.DEVNULL)
        return bare

    def _projects(self, bare: Path) -> Path:
        agent = {
            "driver": "acp",
            "command": [sys.executable, "-P", "-m", "factory_loopback.agent", str(self.script.agent)],
            "label": "Scripted agent (a script, no model)",
        }
        project = {"chats": [CHAT], "users": {ADA: "owner"}, "repo": str(bare), "agent": agent}
        path = self.directory / "factory-projects.yaml"
        path.write_text(yaml.safe_dump({"projects": {bare.stem: project}}, sort_keys=False))
        return path

    # ── the run ───────────────────────────────────────────────────────────────

    async def _play(self, watching: asyncio.Task[None]) -> dict[str, Any]:
        assert self.factory is not None
        began = time.monotonic()
        pool = await db.connect(self.factory.database_url, name="factoryctl demo")
        try:
            store, records = Store(pool), Records(pool)
            async with RemotePerson(self.telegram_url, CHAT, ADA) as ada:
                self.say(f"Ada types:\n    {self.script.request.replace(chr(10), chr(10) + '    ')}")
                await ada.type(self.script.request)
                following = asyncio.create_task(self._follow(store))
                done, _ = await asyncio.wait({following, watching}, timeout=WITHIN, return_when=asyncio.FIRST_COMPLETED)
                if following not in done:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
                    if watching in done:
                        watching.result()  # raises why the factory ended
                    raise TimeoutError(f"the job did not end within {WITHIN:.0f} s; logs: {self.factory.data / 'logs'}")
                job = following.result()
                seconds = time.monotonic() - began
                chat = await self._last_words(ada, job)
            result = await self._result(store, records, job, chat, seconds)
        finally:
            await pool.close()
        (self.directory / "result.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        return result

    async def _follow(self, store: Store) -> Job:
        """Each state as it comes, with what made it go back."""
        began, seen = time.monotonic(), 0
        while True:
            for job in (await store.jobs(limit=1))[:1]:
                events = await store.events(job.id)
                for e in events[seen:]:
                    self._tell(e, time.monotonic() - began)
                seen = len(events)
                if State(job.state) in ENDS:
                    return job
            await asyncio.sleep(0.2)

    def _tell(self, event: Any, seconds: float) -> None:
        to, data = event["to"], event["data"]
        round_ = f" (round {data['round']})" if to == State.IMPLEMENTATION_IN_PROGRESS else ""
        if event["kind"] == "fell_back":
            why = " ".join(str(data.get("feedback", "")).split())
            self.say(f"{seconds:6.1f} s  ↩ back to the agent: {why[:150]}…")
        if event["from"] != to or event["kind"] in {"created", "fell_back"}:
            self.say(f"{seconds:6.1f} s  {to}{round_}  — {PHASES[State(to)].say}")
        elif event["kind"] in {"faulted", "lease_expired", "sandbox_lost", "deadline_passed"}:
            self.say(f"{seconds:6.1f} s  {event['kind']}: {(data.get('failure') or {}).get('message', '')}")

    async def _last_words(self, ada: RemotePerson, job: Job) -> list[str]:
        """The chat once the notifier has said how it ended."""
        marks = {"ready_for_human_review": "Ready for your review", "failed": "Failed", "cancelled": "Cancelled"}
        mark = marks.get(job.state, job.title)

        def said(message: ShownMessage) -> bool:
            return (
                message.from_bot and mark in message.text and message.media is None and message.button("Cancel") is None
            )

        def filmed(message: ShownMessage) -> bool:
            return message.media is not None and message.media.kind == "video"

        await ada.wait_for(said, 60)
        if job.state == State.READY_FOR_HUMAN_REVIEW:
            await ada.wait_for(filmed, 60)
        return [m.text for m in await ada.read()]

    async def _result(
        self, store: Store, records: Records, job: Job, chat: list[str], seconds: float
    ) -> dict[str, Any]:
        assert self.factory is not None
        evidence = await records.evidence(job.id, job.proved_sha or job.work_sha or "")
        suites = evidence["suites"].data["suites"] if "suites" in evidence else []
        preview = job.sandbox.preview_url if job.sandbox else ""
        video, shots = await self._fetch(records, job, evidence)
        history = await store.history(job.id)
        review = evidence.get("review")
        return {
            "job_id": job.id,
            "state": job.state,
            "states": [_state(stay) for stay in history],
            "pr": await self._pull(job),
            "preview_url": preview,
            "preview_status": await _status_of(preview),
            "video": video,
            "screenshots": shots,
            "tests": [{k: s.get(k) for k in ("suite", "passed", "failed", "seconds")} for s in suites],
            "review": {
                "verdict": job.verdict,
                "comments": [f"{f['severity']}: {f['path']}: {f['says']}" for f in review.data["findings"]]
                if review
                else [],
            },
            "chat": chat,
            "rounds": job.round,
            "seconds": round(seconds, 1),
            "failure": msgspec.to_builtins(job.failure) if job.failure else None,
        }

    async def _pull(self, job: Job) -> dict[str, Any] | None:
        if job.pr is None:
            return None
        assert self.factory is not None
        pull = await (await forges.Forges(self.factory.public_url).connect(job.repo)).pull(job.pr.number)
        body = self.directory / "pull-request.md"
        body.write_text(pull.body)
        return {
            "url": pull.url,
            "number": pull.number,
            "head_sha": pull.head_sha,
            "base_sha": job.base_sha,
            "body_file": str(body),
            "labels": pull.labels,
            "draft": pull.draft,
        }

    async def _fetch(
        self, records: Records, job: Job, evidence: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, list[str]]:
        """Video and screenshots of the proved commit, out of the artifact store."""
        assert self.factory is not None
        env = self.factory.env
        store = ArtifactStore(
            env["FACTORY_S3_ENDPOINT"],
            env["FACTORY_S3_BUCKET"],
            env["FACTORY_S3_ACCESS_KEY"],
            env["FACTORY_S3_SECRET_KEY"],
        )
        facts = evidence["browser"].data if "browser" in evidence else {}
        wanted = {s["sha256"] for s in facts.get("screenshots", [])}
        video, shots = None, []
        try:
            for artifact in await records.artifacts(job.id):
                film = facts.get("video") or {}
                if artifact.kind == "video" and artifact.sha256 == film.get("sha256"):
                    path = self.directory / "video.mp4"
                    await store.get_file(artifact.key, path)
                    url = f"{self.factory.public_url}/a/{job.id}/{artifact.sha256}/{artifact.name}"
                    video = {
                        "path": str(path),
                        "url": url,
                        **{k: film.get(k) for k in ("seconds", "codec", "chapters")},
                    }
                elif artifact.kind == "screenshot" and artifact.sha256 in wanted:
                    path = self.directory / "screenshots" / artifact.name
                    path.parent.mkdir(exist_ok=True)
                    await store.get_file(artifact.key, path)
                    shots.append(str(path))
        finally:
            store.close()
        return video, shots

    def _say_where(self) -> None:
        assert self.factory is not None
        self.say(
            f"kept running: {self.factory.public_url} · chat {self.telegram_url}/chat/{CHAT} · Ctrl-C stops it all"
        )

    async def _until_interrupted(self, watching: asyncio.Task[None]) -> None:
        await watching


def _state(stay: dict[str, Any]) -> dict[str, Any]:
    def time_of(at: datetime | None) -> str | None:
        return at.astimezone(UTC).isoformat() if at else None

    return {
        "state": stay["state"],
        "entered": time_of(stay["entered"]),
        "left": time_of(stay["left"]),
        "actor": stay["actor"],
        "attempt": stay["attempt"],
        "round": stay["round"],
    }


async def _status_of(url: str) -> int | None:
    """Asked while the app was up."""
    if not url:
        return None
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(url) as answer,
        ):
            return answer.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


def summary(result: dict[str, Any]) -> list[str]:
    """What a person sees at the end."""
    pr, video = result["pr"], result["video"]
    lines = ["", f"{result['state']} after {result['rounds']} rounds and {result['seconds']} s"]
    if result["failure"]:
        lines.append(f"  failed at {result['failure'].get('stage')}: {result['failure']['message']}")
    if pr:
        lines.append(f"  pull request  #{pr['number']} {pr['url']}  (text: {pr['body_file']})")
    if result["preview_url"]:
        lines.append(f"  preview       {result['preview_url']} answered {result['preview_status']}")
    if video:
        lines.append(
            f"  video         {video['path']} ({video['seconds']:.1f} s, {len(video['chapters'] or [])} chapters)"
        )
    lines += [
        f"  tests         {t['suite']}: {t['passed']} passed, {t['failed']} failed, {t['seconds']:.1f} s"
        for t in result["tests"]
    ]
    lines.append(f"  review        {result['review']['verdict']}")
    return lines
