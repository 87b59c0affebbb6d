"""Intake and GitHub: the real PyGithub against the loopback GitHub, which delivers its webhooks to the real door."""

import asyncio
import contextlib
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from factory_chassis.broker import Publisher, build_broker
from factory_chassis.line import Line
from factory_forge.forges import Forges
from factory_forge.github_site import GitHubSite, Identity
from factory_intake.app import Intake
from factory_intake.settings import Settings
from factory_intake.watch_forge import WatchForge
from factory_jobs.job import Job, Pull
from factory_jobs.records import Records
from factory_jobs.store import NewRequest, Store
from factory_loopback.github import GitHubServer, Person
from factory_loopback.telegram import LoopbackTelegram
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parent))

import chassis_role as role

PUBLIC, SECRET = "http://factory.example", "a-secret-of-the-webhook"
BRANCH = "factory/jabcdefghij-red"


@pytest.fixture
async def ann(github_server: GitHubServer) -> AsyncIterator[Person]:
    async with github_server.person("ann") as ann:
        yield ann


@pytest.fixture
async def ready(store: Store, github_server: GitHubServer, ann: Person) -> Job:
    """A job that is ready, with its pull request on GitHub."""
    sha = await ann.push(BRANCH, {"red.txt": "red"}, start="main")
    pull = await ann.open_pull(BRANCH, "main", "Make it red")
    job = await store.create(
        project="pilot",
        snapshot={"name": "pilot", "rounds": 5},
        repo=f"{github_server.url}/acme/shop.git",
        title="Make it red",
        request=NewRequest(source=f"t:{secrets.token_hex(8)}", author="Ada (1001)", text="red", chat="-1"),
    )
    assert job is not None
    pr = Pull(number=pull["number"], url=pull["html_url"], head=sha, draft=False)
    columns: dict[str, Any] = {"pr": msgspec.to_builtins(pr), "branch": BRANCH, "proved_sha": sha, "work_sha": sha}
    for column, value in ({"state": "ready_for_human_review"} | columns).items():
        await store.pool.execute(f"UPDATE jobs SET {column} = $2 WHERE id = $1", job.id, value)
    return await store.get(job.id)


@contextlib.asynccontextmanager
async def watching(pool: asyncpg.Pool, github: GitHubServer, every: float = 0.2) -> AsyncIterator[WatchForge]:
    store = Store(pool)
    line = Line(store, Records(pool), Publisher(build_broker("nats://127.0.0.1:9"), store))
    site = GitHubSite(api=github.api, author=Identity("FACTORY_GITHUB_TOKEN", "factory-token"))
    watch = WatchForge(line, pool, Forges(PUBLIC, site), every=every)
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


def looks(github: GitHubServer) -> list[int | None]:
    """How the list of pull requests was answered to us, oldest first."""
    return [c.status for c in github.calls("GET") if c.login == "factory" and c.path == "/repos/acme/shop/pulls"]


def number(job: Job) -> int:
    assert job.pr is not None
    return job.pr.number


async def test_what_people_do_on_github(
    pool: asyncpg.Pool, store: Store, github_server: GitHubServer, ann: Person, ready: Job
):
    """Closed, opened again, pushed to, merged by somebody with a name."""
    async with watching(pool, github_server):
        await ann.close(number(ready))
        await reach(store, ready.id, "cancelled")
        await ann.reopen(number(ready))
        await reach(store, ready.id, "ready_for_human_review")
        theirs = await ann.push(BRANCH, {"red.txt": "redder"})
        job = await reach(store, ready.id, "planned")
        assert (job.verify, job.work_sha) == (True, theirs)
        await ann.merge(number(ready))
        job = await reach(store, ready.id, "merged")

    assert job.pr and (job.pr.state, job.pr.head) == ("merged", theirs)
    assert await role.kinds(store, job.id) == ["created", "closed", "reopened", "person_pushed", "merged"]
    news = await Records(pool).forge_news(job.id)
    assert news and news.by == "ann"


async def test_a_look_at_nothing_new_costs_nothing(
    pool: asyncpg.Pool, store: Store, github_server: GitHubServer, ann: Person, ready: Job
):
    """304 answers, which GitHub does not count; then one list and two questions for what has changed."""
    async with watching(pool, github_server):
        await role.until(lambda: looks(github_server).count(304) >= 4, what="looks")
        assert looks(github_server)[0] == 200 and set(looks(github_server)[1:]) == {304}
        asked = [c.path for c in github_server.calls("GET") if c.login == "factory"]
        assert f"/repos/acme/shop/pulls/{number(ready)}" not in asked

        await ann.merge(number(ready))
        await reach(store, ready.id, "merged")

    asked = [c.path for c in github_server.calls("GET") if c.login == "factory"]
    assert asked.count(f"/repos/acme/shop/pulls/{number(ready)}") == 1
    assert looks(github_server).count(200) == 2


@pytest.mark.parametrize("fault", ["primary", "secondary"])
async def test_a_limit_is_waited_for(
    pool: asyncpg.Pool, store: Store, github_server: GitHubServer, ann: Person, ready: Job, fault: str
):
    """Nothing is asked before GitHub says so; health tells; what happened meanwhile is seen."""
    async with watching(pool, github_server) as watch:
        await role.until(lambda: looks(github_server), what="a look")
        limited = github_server.fault(fault, "GET", "/repos/acme/shop/pulls", seconds=3)
        await role.until(lambda: limited.times == 0, what="the limit")
        await ann.merge(number(ready))
        await role.until(lambda: watch.report()["forge"][ready.repo] == "rate_limited", what="health")
        await reach(store, ready.id, "merged")

    ours = [c for c in github_server.calls("GET") if c.path == "/repos/acme/shop/pulls"]
    [struck] = [n for n, c in enumerate(ours) if c.fault]
    assert ours[struck + 1].at - ours[struck].at >= 2


@pytest.fixture
async def hooked(
    telegram_server: LoopbackTelegram,
    github_server: GitHubServer,
    postgres_url: str,
    nats_url: str,
    tmp_path: Path,
) -> AsyncIterator[Intake]:
    """A whole intake that GitHub has the address of, and that looks by itself after the test only."""
    users = {"chats": [-1001234567890], "users": {1001: "owner"}, "repo": f"{github_server.url}/acme/shop.git"}
    path = tmp_path / "factory-projects.yaml"
    path.write_bytes(msgspec.yaml.encode({"projects": {"pilot": users}}))
    intake = Intake(
        Settings(
            database_url=SecretStr(postgres_url),
            nats_url=nats_url,
            s3_secret_key=SecretStr("not asked for"),
            telegram_token=SecretStr(telegram_server.token),
            telegram_api=telegram_server.url,
            github_api=github_server.api,
            github_token=SecretStr("factory-token"),
            public_url=PUBLIC,
            projects=path,
            node_dir=tmp_path / "node",
            poll_timeout=1,
            stop_grace=2,
            forge_every=3600,
            github_webhook_secret=SecretStr(SECRET),
        )
    )
    async with role.running(intake):
        await role.until(lambda: intake.door and intake.door.port, what="the door is open")
        assert intake.door is not None
        yield intake


async def test_webhooks_bring_the_news(
    hooked: Intake, store: Store, github_server: GitHubServer, ann: Person, ready: Job
):
    """Signed by GitHub; each is followed once, and one that comes again changes nothing."""
    assert hooked.door is not None
    github_server.add_hook(f"http://127.0.0.1:{hooked.door.port}/webhooks/github", SECRET)
    theirs = await ann.push(BRANCH, {"red.txt": "redder"})
    job = await reach(store, ready.id, "planned")
    assert (job.verify, job.work_sha) == (True, theirs)
    await ann.comment(number(ready), "Nice!")
    await ann.merge(number(ready))
    await reach(store, ready.id, "merged")
    await github_server.hub.webhooks.sent()
    sent = list(github_server.store.deliveries)
    assert {d.status for d in sent if d.event == "pull_request"} == {200}
    assert {d.status for d in sent if d.event != "pull_request"} == {204}

    before, asked = await role.kinds(store, ready.id), len(github_server.calls())
    again = github_server.redeliver(next(d.id for d in sent if d.event == "pull_request"))
    await github_server.hub.webhooks.sent()
    assert again.status == 200 and len(github_server.calls()) == asked
    assert await role.kinds(store, ready.id) == before == ["created", "person_pushed", "merged"]


async def test_a_webhook_with_another_secret_is_not_heard(
    hooked: Intake, store: Store, github_server: GitHubServer, ann: Person, ready: Job
):
    """Nothing is asked of GitHub and nothing kept."""
    assert hooked.door is not None
    github_server.add_hook(f"http://127.0.0.1:{hooked.door.port}/webhooks/github", "another-secret-altogether")
    asked = len([c for c in github_server.calls() if c.login == "factory"])
    await ann.merge(number(ready))
    await github_server.hub.webhooks.sent()

    assert {d.status for d in github_server.store.deliveries} == {401}
    assert len([c for c in github_server.calls() if c.login == "factory"]) == asked
    assert (await store.get(ready.id)).state == "ready_for_human_review"
    assert await store.pool.fetchval("SELECT count(*) FROM updates") == 0
