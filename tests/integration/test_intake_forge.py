"""Intake and the forge: people merge, close, reopen and push by real git on a local forge, with a real Postgres; GitHub's
deliveries and scripts come in by the door, over real HTTP."""

import asyncio
import contextlib
import hashlib
import hmac
import io
import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest
from factory_chassis import projects
from factory_chassis.broker import Publisher, build_broker
from factory_chassis.line import Line
from factory_chassis.settings import BadSettings
from factory_ctl.embedded import Postgres
from factory_forge.forge import Forge, Look, PullRequest
from factory_forge.forges import AUTHOR, Forges
from factory_forge.local import LocalForge
from factory_intake.app import Intake
from factory_intake.door import MAX_BODY, Door
from factory_intake.settings import Settings
from factory_intake.watch_forge import WatchForge
from factory_jobs import db
from factory_jobs import events as ev
from factory_jobs.job import Job, Pull, Sandbox
from factory_jobs.migrate import migrate
from factory_jobs.records import Records
from factory_jobs.store import NewRequest, Store
from factory_loopback.telegram import LoopbackTelegram
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parent))

import chassis_role as role

PILOT = -1001234567890
OTHER = -1009999999999
ADA = 1001
TOKEN, SECRET = "a-token-of-a-script", "a-secret-of-the-webhook"
PUBLIC = "http://factory.example"


# ── a repository, a pull request, a job ───────────────────────────────────────


class Repo:
    """A bare repository, and a person's clone of it."""

    def __init__(self, directory: Path) -> None:
        self.path, self.clone = directory / "ann" / "notes.git", directory / "clone"
        self.git("init", "-q", "-b", "main", "--bare", str(self.path), at=directory)
        self.git("clone", "-q", str(self.path), str(self.clone), at=directory)
        self.commit("README", "As it is")
        self.git("push", "-q", "origin", "main")

    def git(self, *args: str, at: Path | None = None) -> str:
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
        done = subprocess.run(["git", *who, *args], cwd=at or self.clone, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, name: str, text: str) -> str:
        (self.clone / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"Change {name}")
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str) -> str:
        """A branch with one commit, pushed."""
        self.git("checkout", "-q", "-b", name, "origin/main")
        sha = self.commit(f"{name.replace('/', '-')}.txt", "work")
        self.git("push", "-q", "origin", name)
        return sha

    def push(self, name: str, text: str) -> str:
        """What a person does to a branch; its new head."""
        self.git("checkout", "-q", name)
        sha = self.commit("theirs.txt", text)
        self.git("push", "-q", "origin", name)
        return sha

    def merge(self, name: str) -> None:
        """By git alone, as somebody at a terminal does it."""
        self.git("checkout", "-q", "main")
        self.git("merge", "-q", "--no-ff", "-m", f"Merge {name}", f"origin/{name}")
        self.git("push", "-q", "origin", "main")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path)


@pytest.fixture
def forge(repo: Repo) -> LocalForge:
    return LocalForge(repo.path, AUTHOR, PUBLIC)


@dataclass
class Journal:
    """What the forge was asked, in order."""

    looks: list[bool] = field(default_factory=list)  # whether there was news
    pulls: list[int] = field(default_factory=list)


class Watched(LocalForge):
    """The local forge with a journal; `lag` is what it says instead of the truth about pull requests."""

    journal: Journal
    lag: Callable[[PullRequest], PullRequest]

    async def look(self, etag: str = "") -> Look | None:
        found = await super().look(etag)
        self.journal.looks.append(found is not None)
        return found and msgspec.structs.replace(found, pulls=[self.lag(pull) for pull in found.pulls])

    async def pull(self, number: int) -> PullRequest:
        self.journal.pulls.append(number)
        return self.lag(await super().pull(number))


class Journaled(Forges):
    def __init__(self, lag: Callable[[PullRequest], PullRequest] = lambda pull: pull) -> None:
        super().__init__(PUBLIC)
        self.journal, self.lag = Journal(), lag

    async def connect(self, repo: str, *, reviewer: bool = False) -> Forge:
        forge = Watched(Path(repo), AUTHOR, PUBLIC)
        forge.journal, forge.lag = self.journal, self.lag
        return forge


async def opened(forge: LocalForge, repo: Repo, branch: str) -> tuple[str, PullRequest]:
    sha = repo.branch(branch)
    pull = await forge.open_pull(branch=branch, base="main", title="Make it red", body="b")
    return sha, await forge.mark_ready(pull.number)


async def job_at(store: Store, repo: Repo, sha: str, pull: PullRequest, **more: Any) -> Job:
    """A job with this pull request, ready where nothing else is said."""
    job = await store.create(
        project="pilot",
        snapshot={"name": "pilot", "rounds": 5},
        repo=str(repo.path),
        title="Make it red",
        request=NewRequest(source=f"t:{secrets.token_hex(8)}", author="Ada (1001)", text="red", chat=str(PILOT)),
    )
    assert job is not None
    columns: dict[str, Any] = {
        "state": "ready_for_human_review",
        "pr": Pull(number=pull.number, url=pull.url, head=sha, draft=False),
        "branch": pull.branch,
        "proved_sha": sha,
        "work_sha": sha,
        "planned_no": 1,
        "round": 1,
        "placement": 1,
        "node": "n1",
        "sandbox": Sandbox(provider="local", handle={}),
    }
    return await put(store, job.id, **columns | more)


async def put(store: Store, job_id: str, **columns: Any) -> Job:
    for column, value in columns.items():
        value = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
        await store.pool.execute(f"UPDATE jobs SET {column} = $2, version = version + 1 WHERE id = $1", job_id, value)
    return await store.get(job_id)


@pytest.fixture
async def ready(store: Store, repo: Repo, forge: LocalForge) -> Job:
    return await job_at(store, repo, *await opened(forge, repo, "factory/red"))


def line_on(pool: asyncpg.Pool) -> Line:
    store = Store(pool)
    return Line(store, Records(pool), Publisher(build_broker("nats://127.0.0.1:9"), store))


@contextlib.asynccontextmanager
async def watching(pool: asyncpg.Pool, forges: Forges | None = None, every: float = 0.1) -> AsyncIterator[WatchForge]:
    """At work until the block ends; what it breaks by is raised there."""
    watch = WatchForge(line_on(pool), pool, forges or Forges(PUBLIC), every=every)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def reach(store: Store, job_id: str, state: str) -> Job:
    async def there() -> Job | None:
        job = await store.get(job_id)
        return job if job.state == state else None

    return await role.until(there, what=f"{job_id} is {state}")


async def looked(journal: Journal, times: int = 2) -> None:
    """Whatever there was to see has been seen."""
    before = len(journal.looks)
    await role.until(lambda: len(journal.looks) >= before + times, what="it looks again")


# ── what people do ────────────────────────────────────────────────────────────


async def test_a_merge_by_git_ends_the_job(pool: asyncpg.Pool, store: Store, repo: Repo, ready: Job):
    """Whoever brings the commit to the base; the place is cleaned up."""
    async with watching(pool):
        repo.merge("factory/red")
        job = await reach(store, ready.id, "merged")

    assert job.pr and job.pr.state == "merged" and job.cleanup == "pending"
    assert [e.kind for e in await store.open_errands(job.id)] == ["cleanup"]
    assert await role.kinds(store, job.id) == ["created", "merged"]


@pytest.mark.parametrize("state", ["received", "tests_running", "video_recorded", "pr_opened", "review_running"])
async def test_a_merge_in_mid_work_fences_whoever_works(
    pool: asyncpg.Pool, store: Store, repo: Repo, ready: Job, state: str
):
    """A follow-up under way has no place to go any more."""
    job = await put(store, ready.id, state=state, request_no=2, lease_owner="w", lease_epoch=3)
    async with watching(pool):
        repo.merge("factory/red")
        job = await reach(store, job.id, "merged")

    assert (job.lease_owner, job.lease_epoch) == (None, 4)


async def test_closed_then_opened_again(pool: asyncpg.Pool, store: Store, forge: LocalForge, ready: Job):
    """Cancelled, and ready again at the proved commit; each is said once however often it is seen."""
    assert ready.pr is not None
    forges = Journaled()
    async with watching(pool, forges):
        await forge.close_pull(ready.pr.number)
        job = await reach(store, ready.id, "cancelled")
        assert job.pr and job.pr.state == "closed"
        assert [e.kind for e in await store.open_errands(job.id)] == ["cleanup"]  # there is nothing to close
        await looked(forges.journal)
        await forge.reopen_pull(ready.pr.number)
        job = await reach(store, ready.id, "ready_for_human_review")
        await looked(forges.journal)

    assert job.pr and (job.pr.state, job.placement, job.sandbox) == ("open", None, None)
    assert await role.kinds(store, job.id) == ["created", "closed", "reopened"]


async def test_opened_again_at_another_commit_is_proved_first(
    pool: asyncpg.Pool, store: Store, repo: Repo, forge: LocalForge, ready: Job
):
    """Somebody pushed to the branch while the pull request was closed."""
    assert ready.pr is not None
    async with watching(pool):
        await forge.close_pull(ready.pr.number)
        await reach(store, ready.id, "cancelled")
        theirs = repo.push("factory/red", "better")
        await forge.reopen_pull(ready.pr.number)
        job = await reach(store, ready.id, "planned")

    assert (job.verify, job.work_sha, job.proved_sha) == (True, theirs, ready.proved_sha)


async def test_a_push_at_ready_is_proved(pool: asyncpg.Pool, store: Store, repo: Repo, ready: Job):
    """Same pull request, their commit, told once; and a further one while that is proved."""
    forges = Journaled()
    async with watching(pool, forges):
        first = repo.push("factory/red", "better")
        job = await reach(store, ready.id, "planned")
        await looked(forges.journal)
        assert (job.verify, job.work_sha, job.pr and job.pr.head) == (True, first, first)
        assert await role.kinds(store, job.id) == ["created", "person_pushed"]

        second = repo.push("factory/red", "better still")
        await role.until(lambda: _at(store, ready.id, second), what="the second push is told")

    assert await role.kinds(store, job.id) == ["created", "person_pushed", "person_pushed"]


async def _at(store: Store, job_id: str, sha: str) -> bool:
    return (await store.get(job_id)).work_sha == sha


async def test_a_push_in_mid_round_waits_for_ready(pool: asyncpg.Pool, store: Store, repo: Repo, ready: Job):
    """While work runs builder meets it; what nobody met is told at ready, though the forge has no news by then."""
    await put(store, ready.id, state="review_running", lease_owner="w")
    forges = Journaled()
    async with watching(pool, forges):
        theirs = repo.push("factory/red", "better")
        await looked(forges.journal)
        assert await role.kinds(store, ready.id) == ["created"]
        await put(store, ready.id, state="ready_for_human_review", lease_owner=None)
        job = await reach(store, ready.id, "planned")

    assert (job.verify, job.work_sha) == (True, theirs)


async def test_builders_own_push_is_nobodys(pool: asyncpg.Pool, store: Store, repo: Repo, ready: Job):
    """On the forge before it stands in the row; then it is the proved commit."""
    await put(store, ready.id, state="video_recorded", request_no=2, lease_owner="w")
    forges = Journaled()
    async with watching(pool, forges):
        second = repo.push("factory/red", "the second change")
        await put(store, ready.id, work_sha=second)
        await looked(forges.journal)
        assert ready.pr is not None
        pr = msgspec.structs.replace(ready.pr, head=second)
        await put(store, ready.id, pr=pr, proved_sha=second, state="ready_for_human_review", lease_owner=None)
        await looked(forges.journal)

    assert await role.kinds(store, ready.id) == ["created"]


async def test_a_list_that_lags_behind_our_push_is_no_push(pool: asyncpg.Pool, store: Store, repo: Repo, ready: Job):
    """What the forge says of the pull request may be older than its branch: the branch is asked."""
    first = ready.proved_sha
    second = repo.push("factory/red", "the second change")
    assert ready.pr is not None and first is not None
    pr = msgspec.structs.replace(ready.pr, head=second)
    await put(store, ready.id, pr=pr, proved_sha=second, work_sha=second)
    forges = Journaled(lag=lambda pull: msgspec.structs.replace(pull, head_sha=first))
    async with watching(pool, forges):
        await looked(forges.journal, 3)

    assert forges.journal.pulls and await role.kinds(store, ready.id) == ["created"]


async def test_a_cancel_that_has_not_closed_yet_is_not_undone(
    pool: asyncpg.Pool, store: Store, forge: LocalForge, ready: Job
):
    """Open on the forge means nothing before we have closed it; afterwards it is a person's wish."""
    assert ready.pr is not None
    forges = Journaled()
    async with watching(pool, forges):
        await looked(forges.journal)
        await store.tell(ready.id, ev.Cancel(by="ann"), actor="t")
        [closing] = [e for e in await store.open_errands(ready.id) if e.kind == "close_pr"]
        await asyncio.sleep(0.5)
        assert (await store.get(ready.id)).state == "cancelled"

        await forge.close_pull(ready.pr.number)  # as builder does
        claimed = await store.claim_errand(closing.id, owner="builder")
        assert claimed and await store.finish_errand(claimed, "closed")

        async def known() -> bool:
            job = await store.get(ready.id)
            return bool(job.pr and job.pr.state == "closed")

        await role.until(known, what="the row says closed")
        assert (await store.get(ready.id)).state == "cancelled"
        await forge.reopen_pull(ready.pr.number)
        await reach(store, ready.id, "ready_for_human_review")

    assert await role.kinds(store, ready.id) == ["created", "cancel", "noted", "reopened"]


async def test_opened_again_before_anybody_saw_it_closed(
    pool: asyncpg.Pool, store: Store, forge: LocalForge, ready: Job
):
    """The errand is done, so what is open now was opened by a person."""
    assert ready.pr is not None
    await store.tell(ready.id, ev.Cancel(by="ann"), actor="t")
    for errand in await store.open_errands(ready.id):
        if (claimed := await store.claim_errand(errand.id, owner="builder")) is not None:
            await store.finish_errand(claimed)
    async with watching(pool):
        await reach(store, ready.id, "ready_for_human_review")


async def test_what_happened_while_nobody_watched_is_seen(
    pool: asyncpg.Pool, store: Store, repo: Repo, forge: LocalForge
):
    """Three pull requests, and one that is none of ours."""
    merged, closed, pushed = [
        await job_at(store, repo, *await opened(forge, repo, f"factory/{n}")) for n in ("one", "two", "three")
    ]
    _, foreign = await opened(forge, repo, "feature/theirs")
    assert closed.pr is not None
    repo.git("fetch", "-q")
    repo.merge("factory/one")
    await forge.close_pull(closed.pr.number)
    await forge.close_pull(foreign.number)
    theirs = repo.push("factory/three", "better")

    async with watching(pool):
        await reach(store, merged.id, "merged")
        await reach(store, closed.id, "cancelled")
        assert (await reach(store, pushed.id, "planned")).work_sha == theirs


async def test_the_same_number_in_another_repository_is_another(
    pool: asyncpg.Pool, store: Store, repo: Repo, forge: LocalForge, ready: Job, tmp_path: Path
):
    """Also a fork of a job by a replay is left alone."""
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Repo(tmp_path / "elsewhere")
    other_forge = LocalForge(elsewhere.path, AUTHOR, PUBLIC)
    other = await job_at(store, elsewhere, *await opened(other_forge, elsewhere, "factory/red"))
    replayed = await put(store, (await job_at(store, repo, "a" * 40, await forge.pull(1))).id, replay_of=ready.id)
    forges = Journaled()
    async with watching(pool, forges):
        elsewhere.merge("factory/red")
        await reach(store, other.id, "merged")
        await looked(forges.journal, 4)

    assert (await store.get(ready.id)).state == (await store.get(replayed.id)).state == "ready_for_human_review"


# ── how the forge is asked ────────────────────────────────────────────────────


async def test_where_nothing_changes_a_look_is_all_that_is_asked(pool: asyncpg.Pool, store: Store, ready: Job):
    """One list, then only whether it has changed; a job that ended is asked about no more."""
    forges = Journaled()
    async with watching(pool, forges):
        await looked(forges.journal, 5)
        assert forges.journal.looks[0] and not any(forges.journal.looks[1:])
        assert forges.journal.pulls == []
        await put(store, ready.id, state="merged")
        await asyncio.sleep(0.5)
        before = len(forges.journal.looks)
        await asyncio.sleep(0.5)
        assert len(forges.journal.looks) == before


async def test_a_repository_has_one_watcher(
    pool: asyncpg.Pool, postgres_url: str, store: Store, repo: Repo, ready: Job
):
    """The other takes over when the connection that held the lead dies."""
    second = await db.connect(postgres_url)
    mine, other = Journaled(), Journaled()
    try:
        async with watching(pool, mine):
            await looked(mine.journal)
            async with watching(second, other):
                await looked(mine.journal, 3)
                assert other.journal.looks == []
                await store.pool.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
                )
                await role.until(lambda: mine.journal.looks or other.journal.looks, what="somebody looks")
                repo.merge("factory/red")
                await reach(store, ready.id, "merged")
    finally:
        await second.close()

    assert await role.kinds(store, ready.id) == ["created", "merged"]


async def test_a_forge_that_is_away_holds_up_no_other(
    pool: asyncpg.Pool, store: Store, repo: Repo, ready: Job, tmp_path: Path
):
    """It is named in the health; when it is back nothing was missed."""
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Repo(tmp_path / "elsewhere")
    other_forge = LocalForge(elsewhere.path, AUTHOR, PUBLIC)
    other = await job_at(store, elsewhere, *await opened(other_forge, elsewhere, "factory/red"))
    repo.merge("factory/red")
    away = repo.path.rename(repo.path.with_name("away.git"))
    async with watching(pool) as watch:
        elsewhere.merge("factory/red")
        await reach(store, other.id, "merged")
        named = {str(repo.path): "not_a_bare_repository", str(elsewhere.path): "ok"}
        await role.until(lambda: watch.report() == {"forge": named}, what="it is named")
        away.rename(repo.path)
        await reach(store, ready.id, "merged")
        await role.until(lambda: watch.report()["forge"][str(repo.path)] == "ok", what="it is well again")


async def test_a_pull_request_that_is_gone_is_left_alone(pool: asyncpg.Pool, store: Store, ready: Job):
    """Its job stays as it is, and the others are looked at."""
    assert ready.pr is not None
    await put(store, ready.id, pr=msgspec.structs.replace(ready.pr, number=99))
    forges = Journaled()
    async with watching(pool, forges) as watch:
        await looked(forges.journal, 3)
        assert watch.report() == {"forge": {ready.repo: "ok"}}

    assert forges.journal.pulls == [99] and (await store.get(ready.id)).state == "ready_for_human_review"


async def test_postgres_away_is_waited_for(tmp_path: Path, repo: Repo, forge: LocalForge):
    """Whatever happened meanwhile is told when it is back."""
    server = Postgres(tmp_path)
    await server.start()
    connection = await asyncpg.connect(server.url)
    await migrate(connection)
    await connection.close()
    pool = await db.connect(server.url)
    try:
        store = Store(pool)
        ready = await job_at(store, repo, *await opened(forge, repo, "factory/red"))
        forges = Journaled()
        async with watching(pool, forges):
            await looked(forges.journal)
            await server.stop()
            repo.merge("factory/red")
            await asyncio.sleep(1)
            await server.start()
            await reach(store, ready.id, "merged")
    finally:
        await pool.close()
        await server.stop()


# ── the door ──────────────────────────────────────────────────────────────────


@pytest.fixture
def given(telegram_server: LoopbackTelegram, postgres_url: str, nats_url: str, repo: Repo, tmp_path: Path) -> Settings:
    file = {
        "projects": {
            "pilot": {"chats": [PILOT, OTHER], "users": {ADA: "owner"}, "repo": str(repo.path)},
            "gated": {"chats": [-5], "users": {ADA: "owner"}, "repo": "/repos/gated.git"},
        }
    }
    path = tmp_path / "factory-projects.yaml"
    path.write_bytes(msgspec.yaml.encode(file))
    return Settings(
        database_url=SecretStr(postgres_url),
        nats_url=nats_url,
        s3_secret_key=SecretStr("not asked for"),
        telegram_token=SecretStr(telegram_server.token),
        telegram_api=telegram_server.url,
        public_url=PUBLIC,
        projects=path,
        node_dir=tmp_path / "node",
        poll_timeout=1,
        stop_grace=2,
        forge_every=3600,
        api_token=SecretStr(TOKEN),
        github_webhook_secret=SecretStr(SECRET),
    )


class Caller:
    """A script, or GitHub."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
        """Status, body, headers."""
        headers = {"Authorization": f"Bearer {TOKEN}"} | more.pop("headers", {})
        headers = {k: v for k, v in headers.items() if v is not None}
        if "data" in more:
            more["data"] = io.BytesIO(more["data"] or b"")
        async with self.session.request(method, self.url + path, headers=headers, **more) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None, answer.headers

    async def wish(self, key: str | None = None, **more: Any) -> tuple[int, Any]:
        body = {"project": "pilot", "text": "Make it red"} | more
        headers = {"Idempotency-Key": key} if key else {}
        status, said, _ = await self.ask("POST", "/v1/requests", json=body, headers=headers)
        return status, said

    async def deliver(
        self, number: int, *, name: str = "ann/notes", delivery: str = "d-1", event: str = "pull_request", **more: Any
    ) -> tuple[int, Any]:
        body = more.pop("body", json.dumps({"number": number, "repository": {"full_name": name}}).encode())
        signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        known = {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": signature}
        headers = {"Authorization": None} | known | more.pop("headers", {})
        status, said, _ = await self.ask("POST", "/webhooks/github", data=body, headers=headers)
        return status, said


@contextlib.asynccontextmanager
async def calling(port: int) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(session, f"http://127.0.0.1:{port}")


@pytest.fixture
async def door(given: Settings) -> AsyncIterator[Caller]:
    """Of a whole intake, which looks at no forge by itself within the test."""
    intake = Intake(given)
    async with role.running(intake):
        assert intake.door is not None
        await role.until(lambda: intake.door and intake.door.port, what="the door is open")
        async with calling(intake.door.port) as caller:
            yield caller


# scripts


async def test_a_script_asks_for_a_change(door: Caller, store: Store, records: Records):
    """As a message in the project's first chat would; where it can be followed is said."""
    status, said = await door.wish(text="Make it red\u202e:\nall of it", author="nightly\x00")
    job = await store.get(said["job_id"])

    assert status == 202 and said == {"job_id": job.id, "url": f"{PUBLIC}/jobs/{job.id}"}
    assert (job.state, job.project, job.title) == ("received", "pilot", "Make it red\\u202e")
    [request] = await records.requests(job.id)
    assert (request.chat, request.author) == (str(PILOT), "nightly\\u0000 (http)")
    assert (await door.wish(chat=OTHER))[0] == 202
    assert {r["chat"] for r in await store.pool.fetch("SELECT chat FROM requests")} == {str(PILOT), str(OTHER)}


async def test_the_same_key_is_the_same_job(door: Caller, store: Store):
    """Of twelve at once one makes it; in the header or in the body; another request under it is refused."""
    answers = await asyncio.gather(*(door.wish("nightly-7") for _ in range(12)))

    assert sorted(status for status, _ in answers) == [200] * 11 + [202]
    [job_id] = {said["job_id"] for _, said in answers}
    assert await door.wish(idempotency_key="nightly-7") == (200, {"job_id": job_id, "url": f"{PUBLIC}/jobs/{job_id}"})
    status, said = await door.wish("nightly-7", text="Make it blue")
    assert status == 422 and said["error"]["fields"] == {"idempotency_key": "it was used for another request"}
    assert [j.id for j in await store.jobs()] == [job_id]
    assert (await door.wish())[1]["job_id"] != (await door.wish())[1]["job_id"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"text": "x"}, ["project"]),
        ({"project": "pilot"}, ["text"]),
        ({"project": "pilot", "text": " \n "}, ["text"]),
        ({"project": "pilot", "text": "x" * 20_001}, ["text"]),
        ({"project": "pilot", "text": 7, "colour": "red"}, ["colour", "text"]),
        ({"project": "pilot", "text": "x", "chat": -5}, ["chat"]),
        ({"project": "pilot", "text": "x", "author": "a" * 81}, ["author"]),
        ({"project": "pilot", "text": "x", "idempotency_key": "two words"}, ["idempotency_key"]),
        ({"project": "pilot", "text": "x", "idempotency_key": ""}, ["idempotency_key"]),
        (["pilot"], [""]),
    ],
    ids=str,
)
async def test_a_body_that_is_not_valid_is_told_where(door: Caller, store: Store, body: Any, fields: list[str]):
    """Every field by its name; nothing is made."""
    status, said, _ = await door.ask("POST", "/v1/requests", json=body)

    assert status == 422 and said["error"]["code"] == "invalid"
    assert sorted(said["error"]["fields"]) == fields
    assert await store.jobs() == []


async def test_every_refusal_is_an_error_with_a_code(door: Caller, store: Store):
    """Not who it should be, not there, too large, no JSON."""
    for given in (None, "Bearer", f"Basic {TOKEN}", "Bearer wrong", f"Bearer {TOKEN}x", "Bearer \u00e4"):
        for method, path in (("POST", "/v1/requests"), ("GET", "/v1/jobs/jaaaaaaaaaa"), ("POST", "/v1/jobs/x/cancel")):
            status, said, headers = await door.ask(method, path, headers={"Authorization": given}, data=b"{")
            assert (status, said["error"]["code"], headers["WWW-Authenticate"]) == (401, "unauthorized", "Bearer")
    for method, path, body, expected in (
        ("POST", "/v1/requests", b'{"project": "nowhere", "text": "x"}', (404, "unknown_project")),
        ("GET", "/v1/jobs/jaaaaaaaaaa", None, (404, "unknown_job")),
        ("POST", "/v1/jobs/nothing/cancel", None, (404, "unknown_job")),
        ("GET", "/", None, (404, "not_found")),
        ("GET", "/v1/requests", None, (405, "method_not_allowed")),
        ("POST", "/v1/requests", b"x" * (MAX_BODY + 1), (413, "too_large")),
        ("POST", "/v1/requests", b"{", (422, "invalid")),
        ("POST", "/v1/requests", b"\xff", (422, "invalid")),
    ):
        status, said, _ = await door.ask(method, path, data=body)
        assert (status, said["error"]["code"]) == expected and said["error"]["message"], path
    assert await store.jobs() == []


async def test_how_a_job_stands(door: Caller, store: Store, ready: Job):
    """Pull request, preview, verdict, failure; what is not there is null."""
    sandbox = Sandbox(provider="local", handle={"secret": "x"}, preview_url="http://127.0.0.1:4000/", preview="up")
    await put(store, ready.id, sandbox=sandbox, verdict="approved")
    status, said, _ = await door.ask("GET", f"/v1/jobs/{ready.id}")

    assert status == 200 and ready.pr is not None
    assert said["url"] == f"{PUBLIC}/jobs/{ready.id}" and said["state"] == "ready_for_human_review"
    assert said["pr"] == {"number": ready.pr.number, "url": ready.pr.url, "state": "open", "draft": False}
    assert said["preview"] == {"url": "http://127.0.0.1:4000/", "state": "up"}
    assert (said["verdict"], said["failure"], said["waiting"]) == ("approved", None, None)
    assert "handle" not in json.dumps(said)


async def test_cancel_by_a_script(door: Caller, store: Store, ready: Job):
    """Later work is stopped first; the same key again does no more, though another cancel would close the job."""
    await put(store, ready.id, state="tests_running", request_no=2)
    path, key = f"/v1/jobs/{ready.id}/cancel", {"Idempotency-Key": "stop-1"}
    answers = await asyncio.gather(*(door.ask("POST", path, headers=key) for _ in range(5)))
    assert [(status, said["state"]) for status, said, _ in answers] == [(200, "ready_for_human_review")] * 5
    assert await role.kinds(store, ready.id) == ["created", "cancel"]

    for _ in range(2):
        status, said, _ = await door.ask("POST", path)
        assert (status, said["state"]) == (200, "cancelled")
    await put(store, ready.id, state="merged")
    status, said, _ = await door.ask("POST", path)
    assert (status, said["error"]["code"]) == (409, "ended")


async def test_a_door_without_postgres_says_when_to_come_back(tmp_path: Path, given: Settings):
    """503 for scripts and for GitHub; when it is back the same key makes the one job."""
    server = Postgres(tmp_path)
    await server.start()
    connection = await asyncpg.connect(server.url)
    await migrate(connection)
    await connection.close()
    pool = await db.connect(server.url)
    line, known = line_on(pool), projects.load(given.projects)
    open_door = Door(given, line, lambda: known, WatchForge(line, pool, Forges(PUBLIC), every=1))
    serving = asyncio.create_task(open_door.serve())
    try:
        await role.until(lambda: open_door.port, what="the door is open")
        async with calling(open_door.port) as caller:
            await server.stop()
            body = {"project": "pilot", "text": "Make it red", "idempotency_key": "k1"}
            status, said, headers = await caller.ask("POST", "/v1/requests", json=body)
            assert (status, said["error"]["code"], headers["Retry-After"]) == (503, "away", "5")
            assert (await caller.ask("GET", "/v1/jobs/jaaaaaaaaaa"))[0] == 503
            assert (await caller.deliver(1))[0] == 503
            await server.start()

            async def taken() -> bool:
                return (await caller.ask("POST", "/v1/requests", json=body))[0] == 202

            await role.until(taken, what="taken")
            assert (await caller.ask("POST", "/v1/requests", json=body))[0] == 200
        assert len(await Store(pool).jobs()) == 1
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await pool.close()
        await server.stop()


# GitHub


async def test_a_delivery_makes_intake_look_at_once(door: Caller, store: Store, repo: Repo, ready: Job):
    """The forge says what happened; the same delivery again, and one of something else, do nothing."""
    assert ready.pr is not None
    number = ready.pr.number
    repo.merge("factory/red")
    for name, other in (("ann/other", number), ("ann/notes", number + 1)):
        assert (await door.deliver(other, name=name, delivery=f"d-{name[-3:]}-{other}"))[0] == 200
    assert (await store.get(ready.id)).state == "ready_for_human_review"

    assert await door.deliver(number) == (200, None)
    assert (await store.get(ready.id)).state == "merged"
    assert await door.deliver(number) == (200, None)
    assert await role.kinds(store, ready.id) == ["created", "merged"]


async def test_a_delivery_that_lies_moves_nothing(door: Caller, store: Store, ready: Job):
    """It says merged, and the forge says open."""
    assert ready.pr is not None
    body = {"action": "closed", "number": ready.pr.number, "pull_request": {"merged": True}}
    said = json.dumps(body | {"repository": {"full_name": "ann/notes"}}).encode()

    assert (await door.deliver(0, body=said))[0] == 200
    assert await role.kinds(store, ready.id) == ["created"]


async def test_without_a_true_signature_nothing_is_kept(door: Caller, store: Store, repo: Repo, ready: Job):
    """None, a wrong one, SHA-1 alone, another body's; the delivery is free to come again."""
    assert ready.pr is not None
    repo.merge("factory/red")
    body = json.dumps({"number": ready.pr.number, "repository": {"full_name": "ann/notes"}}).encode()
    sha1 = "sha1=" + hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
    for headers in (
        {"X-Hub-Signature-256": None},
        {"X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"X-Hub-Signature-256": None, "X-Hub-Signature": sha1},
        {"X-Hub-Signature-256": sha1},
    ):
        status, said = await door.deliver(ready.pr.number, headers=headers)
        assert (status, said["error"]["code"]) == (401, "unauthorized")
    assert (await door.deliver(0, body=b"x" * (MAX_BODY + 1)))[0] == 413
    assert await store.pool.fetchval("SELECT count(*) FROM updates") == 0
    assert (await store.get(ready.id)).state == "ready_for_human_review"

    assert (await door.deliver(ready.pr.number))[0] == 200
    assert (await store.get(ready.id)).state == "merged"


async def test_what_is_no_news_of_a_pull_request_is_passed_over(door: Caller, store: Store):
    """Other events; a delivery that cannot be read is said so."""
    for event in ("ping", "push", "issues", "deployment_status"):
        assert await door.deliver(1, event=event) == (204, None)
    for broken in ({"body": b"payload=%7B%7D"}, {"delivery": "a b"}, {"headers": {"X-GitHub-Delivery": None}}):
        status, said = await door.deliver(1, **broken)
        assert (status, said["error"]["code"]) == (422, "not_a_delivery")
    assert await store.pool.fetchval("SELECT count(*) FROM updates") == 0


async def test_a_delivery_that_could_not_be_followed_may_come_again(door: Caller, store: Store, repo: Repo, ready: Job):
    """The forge is away: it is not taken as done."""
    assert ready.pr is not None
    repo.merge("factory/red")
    away = repo.path.rename(repo.path.with_name("away.git"))
    status, said = await door.deliver(ready.pr.number)
    assert (status, said["error"]["code"]) == (503, "forge_away")

    away.rename(repo.path)
    assert (await door.deliver(ready.pr.number))[0] == 200
    assert (await store.get(ready.id)).state == "merged"


# the service


async def test_without_a_token_and_a_secret_there_is_no_door(given: Settings):
    """And with one of them only its part."""
    closed = Intake(given.model_copy(update={"api_token": None, "github_webhook_secret": None}))
    async with role.running(closed):
        assert closed.door is None
    half = Intake(given.model_copy(update={"api_token": None}))
    async with role.running(half):
        await role.until(lambda: half.door and half.door.port, what="the door is open")
        assert half.door is not None and half.watch.every == 4 * 3600
        async with calling(half.door.port) as caller:
            assert (await caller.wish())[0] == 404
            assert (await caller.deliver(1))[0] == 200


async def test_a_port_that_is_taken_is_named(given: Settings):
    """At the start, as every broken setting."""
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(BadSettings, match=f"FACTORY_INTAKE_PORT: cannot listen on 127.0.0.1:{port}"):
            await asyncio.wait_for(Intake(given.model_copy(update={"intake_port": port})).run(), 30)
    finally:
        server.close()
        await server.wait_closed()
