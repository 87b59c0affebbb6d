"""The worker loop on real servers: claim, ack, work, apply; leases kept, lost and handed back; whose an error is."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import nats
import pytest
from factory_artifacts.errors import BadFile, StorageDown
from factory_artifacts.redact import Redactor
from factory_artifacts.store import ArtifactStore
from factory_chassis import metrics
from factory_chassis import service as service_module
from factory_chassis import work as work_module
from factory_chassis import worker as worker_module
from factory_chassis.broker import Publisher, build_broker
from factory_chassis.line import Line
from factory_chassis.logs import StageLog
from factory_chassis.renewal import Renewal
from factory_chassis.service import Service
from factory_chassis.work import Work
from factory_ctl.embedded import Nats, Postgres
from factory_jobs import db, machine, messages
from factory_jobs import events as ev
from factory_jobs.errors import FactoryError, Fenced, OutsideError, RepoError, RequestError, WorkError
from factory_jobs.job import Job
from factory_jobs.machine import OWNED_BY, PHASES, Role, State
from factory_jobs.migrate import migrate
from factory_jobs.records import Records
from factory_jobs.store import Errand, Store
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parent))

import chassis_role as role

S = State


@pytest.fixture
def servers(postgres_url: str, nats_url: str, s3: Any) -> dict[str, Any]:
    return {"database_url": SecretStr(postgres_url), "nats_url": nats_url} | _s3(s3)


def _s3(s3: Any) -> dict[str, Any]:
    return {
        "s3_endpoint": s3.endpoint,
        "s3_bucket": s3.bucket,
        "s3_access_key": s3.access_key,
        "s3_secret_key": SecretStr(s3.secret_key),
    }


@pytest.fixture
async def artifacts(s3: Any) -> AsyncIterator[ArtifactStore]:
    store = ArtifactStore(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key)
    yield store
    store.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for the second try."""
    monkeypatch.setattr(machine, "BACKOFF", (0.1,))


def planner(servers: dict[str, Any], node_dir: Path, handler: Any, **more: Any) -> Service:
    given = role.settings(servers, node_dir, **more)
    return Service("planner", given, role=Role.PLANNER, handlers={S.RECEIVED: handler})


def envkeeper(
    servers: dict[str, Any],
    node_dir: Path,
    handler: Any,
    errands: dict[str, Any] | None = None,
    **more: Any,
) -> Service:
    given = role.settings(servers, node_dir, **more)
    handlers = dict.fromkeys(OWNED_BY[Role.ENVKEEPER], handler)
    return Service("envkeeper", given, role=Role.ENVKEEPER, handlers=handlers, errands=errands)


def reaches(store: Store, job_id: str, *states: str) -> Callable[[], Awaitable[Job | None]]:
    async def look() -> Job | None:
        job = await store.get(job_id)
        return job if job.state in states else None

    return look


def held(store: Store, job_id: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return (await store.get(job_id)).lease_owner is not None

    return look


class Hands:
    """A handler that a test watches and lets go: `began` and `ended` say where it is, `go` lets it return."""

    def __init__(self, *, facts: dict[str, Any] | None = None) -> None:
        self.began, self.go, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.facts, self.works = facts or {}, []
        self.why: list[str | None] = []

    async def __call__(self, work: Work) -> ev.Event:
        self.works.append(work)
        self.began.set()
        try:
            await self.go.wait()
        finally:
            self.why.append(work.stopping)
            self.ended.set()
        return ev.Done(facts=self.facts)


# ── the line ──────────────────────────────────────────────────────────────────


async def test_from_role_to_role(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """The hint is acked before the work; one epoch lasts as long as one role goes on; the next role is hinted, once."""

    async def plan(work: Work) -> ev.Event:
        async def acked() -> bool:
            info = await service.nats.jetstream().consumer_info(messages.STREAM, "planner")
            return info.num_ack_pending == 0

        await role.until(acked, 3, "the hint was acked before the work")
        return ev.Done(facts={"title": "planned"})

    async def prepare(work: Work) -> ev.Event:
        return ev.Done(facts={"node": keeper.node, "placement": 1} if work.job.state == S.PLANNED else {})

    service, keeper = planner(servers, tmp_path, plan), envkeeper(servers, tmp_path, prepare)
    listener = await nats.connect(servers["nats_url"])
    heard: list[str] = []

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    async with role.running(service), role.running(keeper):
        await listener.subscribe("factory.job.>", cb=hear)
        await listener.flush()
        job = await role.new_job(store)
        await service.line.publisher.hint(job)
        done = await role.until(reaches(store, job.id, "dev_environment_ready"))
        await asyncio.sleep(0.3)
    await listener.close()

    events = await store.events(job.id)
    epochs = {e["from"]: e["epoch"] for e in events if e["kind"] == "done"}
    assert epochs == {
        "received": 1,
        "planned": 2,
        "worktree_created": 2,
        "sandbox_created": 2,
        "dev_environment_starting": 2,
    }
    assert [e["kind"] for e in events].count("claimed") == 2
    assert (done.lease_owner, done.title, done.node) == (None, "planned", keeper.node)
    assert heard == [
        f"factory.job.received.any.{job.id}",
        f"factory.job.planned.any.{job.id}",
        f"factory.job.dev_environment_ready.{keeper.node}.{job.id}",
    ]


async def test_a_role_without_a_sandbox_works_for_every_node(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """A planner on another machine plans what is placed elsewhere; an envkeeper leaves alone what is not its own."""
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "node").write_text("away")
    placed = {"placement": 1, "node": "here"}
    received, planned = await role.new_job(store, **placed), await role.new_job(store, state="planned", **placed)
    errands = {"cleanup": None, "reset_sandbox": None}
    away = planner(servers, tmp_path / "away", role.plan), envkeeper(servers, tmp_path / "away", role.plan, errands)
    async with role.running(away[0]), role.running(away[1]):
        await role.until(reaches(store, received.id, "planned"))
        await away[1].line.publisher.hint(await store.get(planned.id))
        await asyncio.sleep(0.3)
    assert "claimed" not in await role.kinds(store, planned.id)


async def test_two_workers_one_job(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """Two services with two slots each hear of a job four times: one of them works on it, once."""
    works: list[int] = []

    async def plan(work: Work) -> ev.Event:
        works.append(work.epoch)
        await asyncio.sleep(0.3)
        return ev.Done()

    one, two = planner(servers, tmp_path, plan), planner(servers, tmp_path, plan)
    async with role.running(one), role.running(two):
        job = await role.new_job(store)
        hint = messages.encode(messages.hint_of(job, job.created_at))
        js = one.nats.jetstream()
        for n in range(4):
            await js.publish(f"factory.job.received.any.{job.id}", hint, headers={"Nats-Msg-Id": str(n)})
        await role.until(reaches(store, job.id, "planned"))
        await asyncio.sleep(0.3)
    assert works == [1]
    assert (await role.kinds(store, job.id)).count("claimed") == 1


async def test_messages_that_are_no_hints(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """Whatever comes in is acked, counted and in nobody's way: no JSON, another version, another shape, poisoned ids."""
    keeper = envkeeper(servers, tmp_path, role.plan, {"cleanup": None}, capacity=1)
    hint = {"job_id": "jaaaaaaaaaa", "seq": 1, "state": "planned", "node": "any", "round": 0, "attempt": 1}
    at = {"at": "2026-01-01T00:00:00Z"}
    bad: list[bytes] = [
        b"\xff\xfe",
        b"[]",
        msgspec.json.encode({"v": 99} | hint | at),
        msgspec.json.encode({"v": 1, "job_id": "jaaaaaaaaaa"}),
        msgspec.json.encode({"v": 1} | hint | at | {"job_id": "j\0"}),
        msgspec.json.encode({"v": 1} | hint | at | {"job_id": "../../etc"}),
        b"x" * 70_000,
    ]
    errand = {"v": 1, "job_id": "jaaaaaaaaaa", "kind": "cleanup", "node": "any"} | at
    bad_errands = [b"{", msgspec.json.encode(errand | {"errand": 2**70}), msgspec.json.encode(errand | {"errand": -1})]
    async with role.running(keeper):
        js = keeper.nats.jetstream()
        for body in bad:
            await js.publish("factory.job.planned.any.x", body)
        for body in bad_errands:
            await js.publish("factory.errand.cleanup.any.x", body)
        job = await role.new_job(store, state="planned")
        await keeper.line.publisher.hint(job)
        await role.until(reaches(store, job.id, "worktree_created", "dev_environment_ready"))

        async def all_acked() -> bool:
            infos = [await js.consumer_info(messages.STREAM, name) for name in keeper.provisioner.consumers]
            return all(i.num_ack_pending == 0 and i.num_pending == 0 for i in infos)

        await role.until(all_acked, 5, "acked")
        said = (await role.health_of(keeper.health.port))[1]
    assert said["bad_messages"] >= len(bad) + 2  # an errand that does not exist is no bad message


# ── leases ────────────────────────────────────────────────────────────────────


async def test_the_lease_is_renewed_while_the_loop_is_blocked(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """A handler that holds its loop for longer than the lease keeps it, though others sweep and would take the job."""
    blocked = role.settings(servers, tmp_path, lease_seconds=1.5)
    job = await role.new_job(store, "block")
    with role.process(blocked, tmp_path / "blocked.log") as holder:
        await role.until((tmp_path / f"began.{job.id}").exists, what="the loop is blocked")
        async with role.running(planner(servers, tmp_path, role.plan, lease_seconds=1.5, sweep_after=0.1)):
            stalls = asyncio.create_task(role.health_of(await holder.healthy(), within=3))
            done = await role.until(reaches(store, job.id, "planned"), 10)
            assert (await stalls)[0] in {200, 503}, "health answers while the loop is blocked"
    assert (done.attempt, done.lease_epoch) == (1, 1)
    assert await role.kinds(store, job.id) == ["created", "claimed", "done"]


async def test_the_job_of_a_killed_process_is_swept_and_tried_again(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """Its lease runs out, the try is counted, and somebody else works on under a higher epoch."""
    given = role.settings(servers, tmp_path, lease_seconds=1.5)
    job = await role.new_job(store, "hang")
    with role.process(given, tmp_path / "killed.log") as killed:
        await role.until((tmp_path / f"began.{job.id}").exists, what="the handler has begun")
        killed.send(signal.SIGKILL)
        await killed.ended()
    tries: list[tuple[int, int]] = []

    async def plan(work: Work) -> ev.Event:
        tries.append((work.job.attempt, work.epoch))
        return ev.Done()

    async with role.running(planner(servers, tmp_path, plan, sweep_after=0.2)):
        await role.until(reaches(store, job.id, "planned"), 10)
    ((attempt, epoch),) = tries
    assert attempt == 2 and epoch > 1
    assert "lease_expired" in await role.kinds(store, job.id)


async def test_the_dead_of_a_node_are_not_waited_for(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """Whoever shares its directory takes the job up at once: neither lease nor patience have to run out."""
    job = await role.new_job(store, "hang")
    with role.process(role.settings(servers, tmp_path), tmp_path / "killed.log") as killed:
        await role.until((tmp_path / f"began.{job.id}").exists, what="the handler has begun")
        killed.send(signal.SIGKILL)
        await killed.ended()
    async with role.running(planner(servers, tmp_path, role.plan, sweep_after=30)):
        await role.until(reaches(store, job.id, "planned"), 10)
    assert "lease_expired" in await role.kinds(store, job.id)
    assert list((tmp_path / "lives").iterdir()) == []


async def test_a_hint_that_came_while_postgres_was_away_is_given_out_again(
    servers: dict[str, Any], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the sweep."""
    monkeypatch.setattr(worker_module, "AWAY", 0.2)
    real, away = Store.claim, [ConnectionResetError("gone"), asyncpg.InterfaceError("connection is closed")]

    async def claim(self: Store, *args: Any, **more: Any) -> Job | None:
        if away:
            raise away.pop()
        return await real(self, *args, **more)

    monkeypatch.setattr(Store, "claim", claim)
    job = await role.new_job(store)
    async with role.running(planner(servers, tmp_path, role.plan)):
        await role.until(reaches(store, job.id, "planned"), 8)
    assert not away
    assert (await store.get(job.id)).hint_no == 2, "one for the planner, one for envkeeper"


async def test_the_next_in_line_is_hinted_when_a_place_is_free(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """Its repo was full, so its hint came to nothing; it does not wait for the sweep."""
    full = asyncio.Event()

    async def prepare(work: Work) -> ev.Event:
        if work.job.state == S.PLANNED:
            return ev.Done(facts={"node": service.node, "placement": 1})
        await full.wait()
        raise RepoError("no", code="no")

    service = envkeeper(servers, tmp_path, prepare, capacity=2)
    snapshot = {"name": "pilot", "limits": {"jobs": 1}, "rounds": 5}
    async with role.running(service):
        first = await role.new_job(store, snapshot=snapshot, state="planned")
        await service.line.publisher.hint(first)
        await role.until(reaches(store, first.id, "worktree_created"), 5)
        second = await role.new_job(store, snapshot=snapshot, state="planned")
        await service.line.publisher.hint(second)
        await role.until(lambda: metrics.CLAIMS.labels("refused")._value.get(), 5, "refused")
        full.set()
        await role.until(reaches(store, first.id, "failed"), 5)
        await role.until(reaches(store, second.id, "worktree_created", "failed"), 5)


async def test_who_listens_to_nothing_has_no_consumer(servers: dict[str, Any], nats_url: str, tmp_path: Path) -> None:
    """What a consumer has not delivered is what KEDA and people take for work that waits."""
    deaf = Service("deaf", role.settings(servers, tmp_path), tasks=[lambda _: asyncio.sleep(60)])
    async with role.running(deaf), await nats.connect(nats_url) as bus:
        assert deaf.provisioner.consumers == {}
        assert "deaf" not in {c.name for c in await bus.jetstream().consumers_info(messages.STREAM)}


async def test_a_cancelled_job_ends_its_handler_by_the_control_message(
    servers: dict[str, Any], store: Store, records: Records, tmp_path: Path
) -> None:
    """Long before the next renewal; what the fenced handler still tries to write is not written."""
    began = asyncio.Event()
    tried: list[str] = []

    async def stubborn(work: Work) -> ev.Event:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            for name, attempt in (
                ("keep", work.keep("report", "late.md", b"late")),
                ("noted", work.noted("late", title="late")),
                ("refresh", work.refresh()),
            ):
                try:
                    await attempt
                except Fenced:
                    tried.append(name)
            try:
                work.may_act()
            except Fenced:
                tried.append("may_act")
            return ev.Done(facts={"title": "late"})
        return ev.Done()

    job = await role.new_job(store, "mine")
    service = planner(servers, tmp_path, stubborn, lease_seconds=30)
    async with role.running(service):
        await asyncio.wait_for(began.wait(), 5)
        asked = time.monotonic()
        await service.line.tell(job.id, ev.Cancel(by="ann"), actor="ann")
        await role.until(lambda: "may_act" in tried, 2, "the handler was told")
        assert time.monotonic() - asked < 2
        await asyncio.sleep(0.3)
    after = await store.get(job.id)
    assert tried == ["keep", "noted", "refresh", "may_act"]
    assert (after.state, after.title) == ("cancelled", "mine")
    assert await role.kinds(store, job.id) == ["created", "claimed", "cancel"]
    assert await records.artifacts(job.id) == []


async def test_a_cancelled_job_ends_its_handler_by_the_renewal(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """With NATS away the lease's own renewal finds it."""
    bus = Nats(tmp_path / "bus")
    await bus.start()
    hands = Hands()
    job = await role.new_job(store)
    try:
        async with role.running(planner(servers | {"nats_url": bus.url}, tmp_path, hands, lease_seconds=1.5)):
            await asyncio.wait_for(hands.began.wait(), 10)
            await bus.stop()
            await store.tell(job.id, ev.Cancel(by="ann"), actor="ann")
            await asyncio.wait_for(hands.ended.wait(), 3)
            assert hands.why == ["fenced"]
    finally:
        await bus.stop()
    assert await role.kinds(store, job.id) == ["created", "claimed", "cancel"]


async def test_a_job_that_comes_back_while_its_old_handler_cleans_up(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """The second handler of a job in one process can be fenced and handed back, though the first ended after it began."""
    first, second = Hands(), Hands()
    cleaned = asyncio.Event()

    async def work_on(work: Work) -> ev.Event:
        if first.began.is_set():
            return await second(work)
        try:
            return await first(work)
        finally:
            await cleaned.wait()

    job = await role.new_job(store)
    service = planner(servers, tmp_path, work_on, capacity=2)
    async with role.running(service):
        await asyncio.wait_for(first.began.wait(), 5)
        await service.line.apply(await store.get(job.id), ev.DeadlinePassed(), actor="sweep")
        await asyncio.wait_for(first.ended.wait(), 5)
        await asyncio.wait_for(second.began.wait(), 5)
        cleaned.set()
        await asyncio.sleep(0.2)
        await service.line.tell(job.id, ev.Cancel(by="ann"), actor="ann")
        await asyncio.wait_for(second.ended.wait(), 3)
    assert (first.why, second.why) == (["fenced"], ["fenced"])


# ── the end of a service ──────────────────────────────────────────────────────


async def test_no_state_begins_while_the_service_stops(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """A handler that ends well in spite of SIGTERM is believed; the role's next state is handed back, not begun."""
    began: list[str] = []

    async def ends_well(work: Work) -> ev.Event:
        began.append(work.job.state)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return ev.Done(facts={"node": service.node, "placement": 1})
        return ev.Done()

    job = await role.new_job(store, state="planned")
    service = envkeeper(servers, tmp_path, ends_well)
    async with role.running(service):
        await role.until(lambda: began)
    after = await store.get(job.id)
    assert began == ["planned"]
    assert (after.state, after.lease_owner, after.attempt) == ("worktree_created", None, 1)
    assert (await role.kinds(store, job.id))[-2:] == ["done", "handed_back"]


async def test_a_handler_that_breaks_while_it_saves_is_no_try(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """On SIGTERM the lease is handed back with the facts that there are, also when saving the rest failed."""

    began = asyncio.Event()

    async def breaks(work: Work) -> ev.Event:
        work.facts["base_sha"] = "half"
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            raise OutsideError("the store is away", code="s3_down")
        return ev.Done()

    job = await role.new_job(store)
    async with role.running(planner(servers, tmp_path, breaks)):
        await asyncio.wait_for(began.wait(), 5)
    after = await store.get(job.id)
    assert (after.lease_owner, after.attempt, after.base_sha) == (None, 1, "half")
    assert (await role.kinds(store, job.id))[-1] == "handed_back"


async def test_a_handler_that_does_not_let_go(
    servers: dict[str, Any], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service ends after its grace all the same; the lease of work that may still go on is not handed back."""
    monkeypatch.setattr(service_module, "FAREWELL", 0.5)
    began, released = asyncio.Event(), asyncio.Event()

    async def stubborn(work: Work) -> ev.Event:
        began.set()
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()
        return ev.Done()

    job = await role.new_job(store)
    async with role.running(planner(servers, tmp_path, stubborn, stop_grace=0.5)):
        await asyncio.wait_for(began.wait(), 5)
        told = time.monotonic()
    assert time.monotonic() - told < 5
    released.set()
    after = await store.get(job.id)
    assert after.lease_owner is not None and (await role.kinds(store, job.id))[-1] == "claimed"


# ── Postgres away ─────────────────────────────────────────────────────────────


def _signal_all(server: Postgres, sig: int) -> None:
    """To the postmaster and every backend of it; they are children of the postmaster, in groups of their own."""
    assert server.child is not None
    parent = server.child.pid
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for pid in [parent, *map(int, children)]:
            os.kill(pid, sig)


async def test_postgres_away(s3: Any, tmp_path: Path) -> None:
    """Stopped or frozen: the handler goes on, its outcome is written when Postgres is back, nobody is fenced for it.

    `/health` says *degraded* and never *stalled*; nothing outside may begin after the lease's time; a second service
    that would sweep is as patient as the first.
    """
    await asyncio.gather(*(_away(tmp_path / how, _s3(s3), how) for how in ("stopped", "frozen")))


async def _away(directory: Path, servers: dict[str, Any], how: str) -> None:
    postgres, bus = Postgres(directory), Nats(directory)
    await asyncio.gather(postgres.start(), bus.start())
    try:
        connection = await asyncpg.connect(postgres.url)
        await migrate(connection)
        await connection.close()
        mine = servers | {"database_url": SecretStr(postgres.url), "nats_url": bus.url}
        await _works_through(postgres, mine, directory, how)
    finally:
        _signal_all(postgres, signal.SIGCONT)
        await asyncio.gather(postgres.stop(), bus.stop())


async def _works_through(postgres: Postgres, servers: dict[str, Any], directory: Path, how: str) -> None:
    hands = Asking(facts={"title": "worked through it"})
    service = planner(servers, directory / "one", hands, lease_seconds=1.5, sweep_after=2.5)
    other = planner(servers, directory / "two", role.plan, lease_seconds=1.5, sweep_after=2.5)
    pool = await db.connect(postgres.url)
    job = await role.new_job(Store(pool))
    pool.terminate()
    async with role.running(service), role.running(other):
        await asyncio.wait_for(hands.began.wait(), 5)
        await asyncio.sleep(2.6)  # both have been connected for long enough to judge
        away = time.monotonic()
        await postgres.stop() if how == "stopped" else _signal_all(postgres, signal.SIGSTOP)
        await asyncio.sleep(1)
        hands.go.set()

        async def degraded() -> bool:
            said = (await role.health_of(service.health.port))[1]
            assert said["state"] != "stalled"
            return said["checks"]["postgres"] is False

        def refused() -> bool:
            try:
                hands.works[0].may_act()
            except Fenced:
                return True
            return False

        await role.until(degraded, 7, "/health says it")
        await role.until(refused, 3, "the lease's time is over")
        await asyncio.sleep(max(0, away + 5.7 - time.monotonic()))  # the renewal has given its question up
        await postgres.start() if how == "stopped" else _signal_all(postgres, signal.SIGCONT)
        pool = await db.connect(postgres.url)
        after = await role.until(reaches(Store(pool), job.id, "planned", "failed"), 10)
        events = await role.kinds(Store(pool), job.id)
        await pool.close()
    assert (after.state, after.title, after.attempt) == ("planned", "worked through it", 1)
    assert events == ["created", "claimed", "noted", "done"]
    assert hands.why == [None]


class Asking(Hands):
    """Has more to ask and to write when it is let go; then it may act outside."""

    async def __call__(self, work: Work) -> ev.Event:
        outcome = await super().__call__(work)
        assert [r.text for r in await work.records.unread(work.job.id)] == ["A job"]
        await work.noted("still at it")
        work.may_act()
        return outcome


async def test_a_commit_whose_answer_was_lost(
    servers: dict[str, Any], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the outcome was written: it is found to be ours, and the role goes on with its lease."""
    job = await role.new_job(store, state="planned")
    states: list[str] = []

    async def prepare(work: Work) -> ev.Event:
        states.append(work.job.state)
        return ev.Done(facts={"node": service.node, "placement": 1})

    service = envkeeper(servers, tmp_path, prepare)
    real, lost = Store.apply, []

    async def apply(self: Store, job: Job, event: ev.Event, **more: Any) -> Job:
        after = await real(self, job, event, **more)
        if not lost:
            lost.append(event.kind)
            raise ConnectionResetError("after the commit")
        return after

    monkeypatch.setattr(Store, "apply", apply)
    async with role.running(service):
        await role.until(reaches(store, job.id, "dev_environment_ready"), 10)
    assert lost == ["done"]
    assert states == ["planned", "worktree_created", "sandbox_created", "dev_environment_starting"]
    assert (await role.kinds(store, job.id)).count("claimed") == 1


# ── whose error it is ─────────────────────────────────────────────────────────


class Lost(Exception):
    """As members raise it that do not know of jobs."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the place said: {code}")
        self.code = code


async def _breaks(work: Work) -> ev.Event:
    """Breaks as the job's title says, at every try until the one that the title names."""
    how, _, holds_at = work.job.title.partition(":")
    if holds_at and work.job.attempt >= int(holds_at):
        return ev.Done()
    work.stage.line(f"about to break: {how} \ud83d, {role.SECRET}")
    match how:
        case "factory":
            raise FactoryError("ours", code="ours", retry_after=0.1)
        case "outside":
            raise OutsideError(f"away, {role.SECRET}", code="away", retry_after=0.1)
        case "repo":
            raise RepoError("setup failed", code="setup_failed", log_tail=f"npm ERR! {role.SECRET}", hint="mend it")
        case "work":
            raise WorkError("the agent refused", code="agent_refused")
        case "request":
            raise RequestError("no wish", code="empty_request")
        case "bug":
            raise KeyError(f"nothing here but {'.' * 466}{role.SECRET}")
        case "timeout":
            raise TimeoutError("somebody else's time")
        case "storage":
            raise StorageDown(endpoint="http://s3", reason="no answer")
        case "file":
            raise BadFile(path="x", reason="it is a link")
        case "missing":
            raise FileNotFoundError(2, "No such file or directory", "git")
        case "postgres":
            raise ConnectionRefusedError("Postgres does not answer")
        case "illegal":
            return ev.FellBack(feedback="received falls back nowhere")
        case other:
            raise Lost(other)


ERRORS = {
    # title: state at last, faulted events, failure's code, failure's blame
    "factory:2": ("planned", 1, None, None),
    "factory": ("failed", 3, "ours", "factory"),
    "outside:4": ("planned", 3, None, None),
    "repo": ("failed", 0, "setup_failed", "repo"),
    "work": ("failed", 0, "agent_refused", "work"),
    "request": ("failed", 0, "empty_request", "request"),
    "bug": ("failed", 3, "bug", "factory"),
    "timeout:4": ("planned", 3, None, None),
    "storage:4": ("planned", 3, None, None),
    "postgres:4": ("planned", 3, None, None),
    "file": ("failed", 3, "bad_file", "factory"),
    "missing": ("failed", 3, "bug", "factory"),
    "illegal": ("failed", 3, "illegal_outcome", "factory"),
    "sandbox-lost": ("failed", 3, "sandbox-lost", "factory"),
    "teapot": ("failed", 3, "teapot", "factory"),
}


async def test_whose_error_it_is(
    servers: dict[str, Any], store: Store, records: Records, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    """Ours is tried three times, the outside's many times, the repo's and the work's not at all; each failure says why.

    A failure carries the tail of what happened and a link to the stage's whole log, which is in the store, and none of
    it holds a secret.
    """
    service = planner(servers, tmp_path, _breaks, capacity=16, public_url="https://factory.example/")
    jobs = {title: await role.new_job(store, title) for title in ERRORS}
    async with role.running(service):
        for title, job in jobs.items():
            await role.until(reaches(store, job.id, ERRORS[title][0]), 25, title)
    for title, job in jobs.items():
        state, faulted, code, blame = ERRORS[title]
        after = await store.get(job.id)
        assert (await role.kinds(store, job.id)).count("faulted") == faulted, title
        assert role.SECRET not in repr([dict(e) for e in await store.events(job.id)]), title
        logs = [a for a in await records.artifacts(job.id) if a.kind == "log"]
        assert [a.name for a in logs] == [f"received.r0.a{n + 1}.log" for n in range(len(logs))]
        silent = state == "planned"  # the try that went well said nothing, and of nothing no log is kept
        assert len(logs) == (await role.kinds(store, job.id)).count("claimed") - silent, title
        text = (await artifacts.get_bytes(logs[0].key)).decode()
        assert "about to break" in text and role.SECRET not in text
        if state == "planned":
            assert after.failure is None
            continue
        assert after.failure is not None
        assert (after.failure.code, after.failure.blame, after.failure.stage) == (code, blame, "received"), title
        assert after.failure.log_url == f"https://factory.example/a/{job.id}/{logs[-1].sha256}/{logs[-1].name}"
        assert after.failure.message
    repo = (await store.get(jobs["repo"].id)).failure
    assert repo is not None
    assert (repo.log_tail, repo.hint) == ("npm ERR! •••", "mend it")
    bug = (await store.get(jobs["bug"].id)).failure
    assert bug is not None and "KeyError" in bug.message and "about to break" in bug.log_tail
    assert role.SECRET[:4] not in bug.message, "it was cleaned before it was cut"
    assert "Traceback" in bug.log_tail, "what an operator needs"
    assert "received" in (await store.get(jobs["illegal"].id)).failure.message  # type: ignore[union-attr]


async def test_a_lost_place_leads_back_to_planned(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """A placed job whose sandbox is gone is placed anew; a sandbox that serves somebody else ends the handler, no more."""
    seen: list[str] = []

    async def loses(work: Work) -> ev.Event:
        seen.append(f"{work.job.title} {work.job.state}")
        if work.job.state == S.SANDBOX_CREATED:
            raise Lost(work.job.title)
        await asyncio.sleep(60)
        return ev.Done()

    place = {"state": "sandbox_created", "placement": 1, "node": "n1"}
    (tmp_path / "node").write_text("n1")
    lost, fenced = await role.new_job(store, "sandbox-lost", **place), await role.new_job(store, "fenced", **place)
    async with role.running(envkeeper(servers, tmp_path, loses, capacity=3)):
        await role.until(lambda: "sandbox-lost planned" in seen, 10)
        await asyncio.sleep(0.2)
        again = await store.get(lost.id)
        assert (again.state, again.placement, again.losses, again.attempt) == ("planned", None, 1, 2)
        assert (await store.get(fenced.id)).state == "sandbox_created"
        assert await role.kinds(store, fenced.id) == ["created", "claimed"]


async def test_a_deadline(
    servers: dict[str, Any], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that takes longer than its state may is ended and tried again; what it said until then is kept."""
    monkeypatch.setitem(PHASES, S.RECEIVED, msgspec.structs.replace(PHASES[S.RECEIVED], within=0.4))
    ended: list[str | None] = []

    async def slow(work: Work) -> ev.Event:
        if work.job.attempt > 1:
            return ev.Done()
        work.log.info("still at it")
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(work.stopping)
        return ev.Done()

    job = await role.new_job(store)
    async with role.running(planner(servers, tmp_path, slow, sweep_after=30)):
        await role.until(reaches(store, job.id, "planned"), 10)
    faulted = [e["data"]["failure"] for e in await store.events(job.id) if e["kind"] == "faulted"]
    assert [f["code"] for f in faulted] == ["deadline"]
    assert "still at it" in faulted[0]["log_tail"] and faulted[0]["log_url"]
    assert ended == ["deadline"]


async def test_without_storage_the_outcome_is_written_all_the_same(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """The stage's log is lost, and said to be; the failure has no link, and still no secret."""
    servers = servers | {"s3_endpoint": "http://127.0.0.1:9"}
    job = await role.new_job(store, "bug")
    async with role.running(planner(servers, tmp_path, _breaks)):
        after = await role.until(reaches(store, job.id, "failed"), 25)
    assert after.failure.log_url == ""
    assert "•••" in after.failure.message and role.SECRET not in repr(after.failure)


# ── errands ───────────────────────────────────────────────────────────────────


async def test_errands(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """Written by the transition, hinted, done beside the job; one that breaks is tried again later, and says why."""
    tries: list[tuple[str, int, dict[str, Any]]] = []

    async def cleanup(errand: Errand, job: Job) -> str:
        tries.append((job.state, errand.attempt, errand.data))
        if len(tries) == 1:
            raise RuntimeError(f"not yet, {role.SECRET}")
        return "all gone"

    (tmp_path / "node").write_text("n1")
    job = await role.new_job(store, state="sandbox_created", placement=3, node="n1", next_attempt_at=_later())
    service = envkeeper(servers, tmp_path, role.plan, {"cleanup": cleanup})
    async with role.running(service):
        await service.line.tell(job.id, ev.Cancel(by="ann"), actor="ann")
        await role.until(lambda: tries, 3, "hinted at once")
        await asyncio.sleep(0.2)
        (row,) = await store.all("errands", job.id)
        assert row["done_at"] is None and row["lease_owner"] is None
        assert "not yet" in row["result"] and role.SECRET not in row["result"]
        await role.until(lambda: len(tries) == 2, 8, "tried again after its delay")
        await asyncio.sleep(0.2)
    data = {"placement": 3, "node": "n1"}
    assert tries == [("cancelled", 1, data), ("cancelled", 2, data)]
    (row,) = await store.all("errands", job.id)
    assert row["done_at"] is not None and row["result"] == "all gone"


async def test_an_errand_that_has_failed_for_days_is_tried_on(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """As rarely as one that has failed for an hour."""

    async def cleanup(errand: Errand, job: Job) -> str:
        raise RuntimeError("not yet")

    (tmp_path / "node").write_text("n1")
    job = await role.new_job(store, state="sandbox_created", placement=3, node="n1", next_attempt_at=_later())
    await store.tell(job.id, ev.Cancel(by="ann"), actor="ann")
    await store.pool.execute("UPDATE errands SET attempt = 2000")
    async with role.running(envkeeper(servers, tmp_path, role.plan, {"cleanup": cleanup})):

        async def failed() -> bool:
            (row,) = await store.all("errands", job.id)
            return row["attempt"] == 2001 and row["lease_owner"] is None

        await role.until(failed, 5)
    (row,) = await store.all("errands", job.id)
    assert 100 < (row["next_attempt_at"] - datetime.now(UTC)).total_seconds() <= 120
    assert "not yet" in row["result"]


async def test_an_errand_in_hands_at_the_end_is_handed_back(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """Whoever comes next need not wait for its lease to run out."""
    began = asyncio.Event()

    async def cleanup(errand: Errand, job: Job) -> str:
        began.set()
        await asyncio.sleep(60)
        return "never"

    (tmp_path / "node").write_text("n1")
    job = await role.new_job(store, state="sandbox_created", placement=3, node="n1", next_attempt_at=_later())
    service = envkeeper(servers, tmp_path, role.plan, {"cleanup": cleanup}, stop_grace=0.5)
    async with role.running(service):
        await service.line.tell(job.id, ev.Cancel(by="ann"), actor="ann")
        await asyncio.wait_for(began.wait(), 5)
    (errand,) = await store.open_errands(job.id)
    assert await store.claim_errand(errand.id, owner="next", node="n1"), "free at once"


def _later() -> Any:
    return datetime.now(UTC) + timedelta(hours=1)


# ── outside effects ───────────────────────────────────────────────────────────


@pytest.fixture
async def hands_on(
    store: Store, records: Records, artifacts: ArtifactStore, postgres_url: str, nats_url: str
) -> Callable[[], Awaitable[Work]]:
    """Claims a job as a worker does: gives the work of its next pair of hands."""
    line = Line(store, records, Publisher(build_broker(nats_url), store))
    jobs: list[Job] = []

    async def claim() -> Work:
        if not jobs:
            jobs.append(await role.new_job(store))
        await store.pool.execute("UPDATE jobs SET lease_owner = NULL WHERE id = $1", jobs[0].id)
        job = await store.claim(jobs[0].id, [S.RECEIVED], owner="hands")
        assert job is not None
        renewal = Renewal(postgres_url, 30, lambda *_: None, node="n1", role="planner", owner="hands")
        renewal.hold(job.id, job.lease_epoch)
        return Work(
            job,
            actor="hands",
            line=line,
            artifacts=artifacts,
            redactor=Redactor([role.SECRET]),
            renewal=renewal,
            public_url="https://factory.example",
            stage=StageLog(),
        )

    return claim


class World:
    """Something outside: an effect happens here or does not, and can be looked up."""

    def __init__(self, *, then: BaseException | None = None, before: BaseException | None = None) -> None:
        self.happened: list[str] = []
        self.looked = 0
        self.before, self.then = before, then

    async def act(self) -> dict[str, Any]:
        if self.before:
            raise self.before
        self.happened.append("pull")
        if self.then:
            raise self.then
        return {"number": 7}

    async def look(self) -> dict[str, Any] | None:
        self.looked += 1
        return {"number": 7} if self.happened else None

    async def through(self, work: Work) -> Any:
        return await work.outside("pull:b", {"branch": "b"}, self.act, self.look)


async def test_an_effect_is_intent_act_and_result(hands_on: Any, records: Records) -> None:
    """The intent stands before the act, the result after it; the same key again acts and looks no more."""
    work, world = await hands_on(), World()
    seen: list[list[dict[str, Any]]] = []
    real = world.act

    async def act() -> dict[str, Any]:
        seen.append(await records.effects(work.job.id))
        return await real()

    world.act = act  # type: ignore[method-assign]
    assert await world.through(work) == {"number": 7}
    ((before,),) = seen
    assert (before["key"], before["intent"], before["result"], before["epoch"]) == ("pull:b", {"branch": "b"}, None, 1)
    looked = world.looked
    assert await world.through(await hands_on()) == {"number": 7}
    assert (world.happened, world.looked) == (["pull"], looked)
    (after,) = await records.effects(work.job.id)
    assert after["result"] == {"number": 7} and after["done_at"] is not None


async def test_an_unclear_error_is_looked_into(hands_on: Any, records: Records) -> None:
    """The far side did it and answered 502: no error goes on, and the result is kept."""
    world = World(then=OutsideError("502", code="bad_gateway"))
    work = await hands_on()
    assert await world.through(work) == {"number": 7}
    assert world.happened == ["pull"]
    assert (await records.effects(work.job.id))[0]["result"] == {"number": 7}


async def test_an_act_that_did_not_happen_raises_and_is_tried_at_once_by_the_next(hands_on: Any) -> None:
    """Its error goes on; as it is known to have ended, the next pair of hands looks and acts without a wait."""
    world = World(before=OutsideError("connection refused", code="away"))
    with pytest.raises(OutsideError):
        await world.through(await hands_on())
    world.before = None
    began = time.monotonic()
    assert await world.through(await hands_on()) == {"number": 7}
    assert time.monotonic() - began < 5 and world.happened == ["pull"]


async def test_a_look_that_fails_leaves_nothing_to_wait_for(hands_on: Any, records: Records) -> None:
    """Nothing was begun: the next pair of hands looks and acts at once."""
    world, away = World(), World()

    async def look() -> None:
        raise OutsideError("no answer", code="away")

    away.look = look  # type: ignore[method-assign, assignment]
    work = await hands_on()
    with pytest.raises(OutsideError):
        await away.through(work)
    assert await asyncio.wait_for(world.through(await hands_on()), 5) == {"number": 7}
    assert (away.happened, world.happened) == ([], ["pull"])


async def test_an_act_that_failed_late_undoes_no_result(hands_on: Any, records: Records) -> None:
    """Its hands were fenced meanwhile, and the next have done it and said so."""
    world, late = World(), World(before=OutsideError("connection refused", code="away"))
    first = await hands_on()
    await records.intend(first.job, "pull:b", {"branch": "b"})
    second = await hands_on()
    await records.intend(second.job, "pull:b", {"branch": "b"})
    await records.effect_ended(first.job, "pull:b")
    assert (await records.effects(first.job.id))[0]["done_at"] is None, "the second may be at it"
    await records.effect_result(first.job.id, "pull:b", await world.act())
    with pytest.raises(OutsideError):
        await first._act("pull:b", late.act, late.look)
    assert (await records.effects(first.job.id))[0]["result"] == {"number": 7}


async def test_an_act_that_may_still_be_under_way_is_waited_for(hands_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hands that were cut off in mid-act may have sent it: the next look again after the act's own time, and then only act."""
    monkeypatch.setattr(work_module, "SETTLE", 1.0)
    cut_off = World()

    async def sent(_: Any = None) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    cut_off.act = sent  # type: ignore[method-assign]
    task = asyncio.create_task(cut_off.through(await hands_on()))
    await asyncio.sleep(0.2)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    world = World()
    arrives = asyncio.get_running_loop().call_later(0.4, world.happened.append, "by the first hands")
    assert await world.through(await hands_on()) == {"number": 7}
    arrives.cancel()
    assert world.happened == ["by the first hands"], "found by the second look, not done again"


async def test_nothing_outside_begins_after_the_lease(hands_on: Any) -> None:
    """With the lease run out it waits for the renewal; known to be another's, it is refused before it begins."""
    world = World()
    work = await hands_on()
    work.may_act()
    work._renewal.hold(work.job.id, work.epoch, since=time.monotonic() - 31)
    with pytest.raises(Fenced):
        work.may_act()
    waiting = asyncio.create_task(world.through(work))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    work._renewal.hold(work.job.id, work.epoch + 1)
    with pytest.raises(Fenced):
        await waiting
    with pytest.raises(Fenced):
        work.may_act()
    work._renewal.hold(work.job.id, work.epoch)
    work.stopping = "fenced"
    with pytest.raises(Fenced):
        await world.through(work)
    assert world.happened == []
    after = await hands_on()
    after._renewal.hold(after.job.id, after.epoch, since=time.monotonic() - 31)
    waiting = asyncio.create_task(world.through(after))
    await asyncio.sleep(0.1)
    after._renewal.hold(after.job.id, after.epoch)
    assert await asyncio.wait_for(waiting, 5) == {"number": 7}


async def test_a_process_that_dies_between_act_and_result(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """Killed with the effect just done: the next process finds it and does not do it again."""
    given = role.settings(servers, tmp_path, lease_seconds=1.5, sweep_after=0.2)
    job = await role.new_job(store, "act")
    with role.process(given, tmp_path / "first.log") as first:
        assert await first.ended() == -signal.SIGKILL
    assert role.effects(tmp_path, job.id) == ["done"]
    with role.process(given, tmp_path / "second.log", hint_after=0.5):
        after = await role.until(reaches(store, job.id, "planned"), 15)
    assert role.effects(tmp_path, job.id) == ["done"]
    assert after.title == "1 time"


async def test_what_is_kept(hands_on: Any, records: Records, artifacts: ArtifactStore, tmp_path: Path) -> None:
    """Text loses its secrets, whatever kind of text it is; files go as they are, so text does not go as a file."""
    work = await hands_on()
    for name in ("a.md", "a.json", "a.html"):
        stored = await work.keep("report", name, f'{{"token": "{role.SECRET}"}}'.encode())
        assert await artifacts.get_bytes(stored.key) == '{"token": "•••"}'.encode()
    film = tmp_path / "demo.mp4"
    film.write_bytes(b"\0\1" + role.SECRET.encode())
    stored = await work.keep("video", "demo.mp4", film, commit="c" * 40)
    assert await artifacts.get_bytes(stored.key) == film.read_bytes()
    with pytest.raises(ValueError, match="as bytes"):
        await work.keep("log", "app.log", film)
    rows = await records.artifacts(work.job.id)
    assert [(r.kind, r.name, r.content_type, r.commit, r.epoch) for r in rows] == [
        ("report", "a.md", "text/markdown; charset=utf-8", None, 1),
        ("report", "a.json", "application/json", None, 1),
        ("report", "a.html", "text/html; charset=utf-8", None, 1),
        ("video", "demo.mp4", "video/mp4", "c" * 40, 1),
    ]
    assert work.url(stored, "demo.mp4") == f"https://factory.example/a/{work.job.id}/{stored.sha256}/demo.mp4"


async def test_what_is_written_down(hands_on: Any, records: Records) -> None:
    """Reports of agents and tests lose their secrets, however deep they stand; scenarios are to be run again as they are."""
    work = await hands_on()
    await work.records.put_round(work.job, summary=f"I use {role.SECRET}", feedback=role.SECRET, commit="c" * 40)
    failure = {"suites": [{"failures": [{"name": "t", "message": f"no {role.SECRET} here"}]}]}
    await work.records.add_evidence(work.job, "c" * 40, "suites", False, failure)
    await work.records.add_evidence(work.job, "c" * 40, "scenarios", True, {"text": f"goto: /{role.SECRET}"})
    (kept,) = await records.rounds(work.job.id)
    assert (kept.summary, kept.feedback, kept.commit, kept.outcome) == ("I use •••", "•••", "c" * 40, None)
    found = {e.kind: e.data for e in await records.all_evidence(work.job.id)}
    assert found["suites"]["suites"][0]["failures"] == [{"name": "t", "message": "no ••• here"}]
    assert found["scenarios"]["text"] == f"goto: /{role.SECRET}"


# ── configuration ─────────────────────────────────────────────────────────────

BROKEN = {
    "an unknown name": (
        {"FACTORY_NATS_ULR": "x"},
        "FACTORY_NATS_ULR: no such setting (did you mean FACTORY_NATS_URL?)",
    ),
    "no number": ({"FACTORY_CAPACITY": "many"}, "FACTORY_CAPACITY: "),
    "a secret's file that is not there": (
        {"FACTORY_S3_SECRET_KEY_FILE": "/nowhere/key"},
        "FACTORY_S3_SECRET_KEY_FILE: ",
    ),
    "no database URL": ({"FACTORY_DATABASE_URL": "localhost/hunter2"}, "FACTORY_DATABASE_URL: "),
    "no storage endpoint": ({"FACTORY_S3_ENDPOINT": "localhost:9000"}, "FACTORY_S3_ENDPOINT: "),
    "no bus URL": ({"FACTORY_NATS_URL": "http://localhost"}, "FACTORY_NATS_URL: "),
    "no public URL": ({"FACTORY_PUBLIC_URL": "factory.example"}, "FACTORY_PUBLIC_URL: "),
    "a node directory that is a file": ({"FACTORY_NODE_DIR": "/dev/null"}, "FACTORY_NODE_DIR: "),
    "a failpoint that does nothing": ({"FACTORY_FAILPOINT": "planner.before_claim:kil9"}, "FACTORY_FAILPOINT: "),
}


async def test_a_part_that_misses_its_cancellation_ends_all_the_same(servers: dict[str, Any], tmp_path: Path) -> None:
    """As what waits in Python 3.11's `wait_for` can: SIGTERM would never end the process."""
    misses: list[int] = []

    async def part(_: Service) -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                misses.append(1)
                if len(misses) > 1:
                    raise

    given = Service("planner", role.settings(servers, tmp_path), tasks=[part])
    async with role.running(given):
        pass
    assert len(misses) == 2


async def test_a_broken_configuration_ends_with_78(tmp_path: Path) -> None:
    """Each variable is named in one line, no trace, no secret, nothing half-started."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FACTORY_")}

    async def run(broken: dict[str, str]) -> tuple[int | None, str]:
        env = clean | {"FACTORY_NODE_DIR": str(tmp_path / "node")} | broken
        argv = [sys.executable, "-m", "factory_planner"]
        started = await asyncio.create_subprocess_exec(
            *argv, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        out, _ = await asyncio.wait_for(started.communicate(), 30)
        return started.returncode, out.decode()

    everything: dict[str, str] = {}
    for what, (broken, _) in BROKEN.items():
        if what not in {"a node directory that is a file"}:  # found only when the rest is right
            everything |= broken
    (code, said), (node_code, node_said) = await asyncio.gather(
        run(everything), run(BROKEN["a node directory that is a file"][0])
    )
    assert (code, node_code) == (78, 78)
    for what, (_, says) in BROKEN.items():
        out = node_said if what == "a node directory that is a file" else said
        assert f"configuration: {says}" in out, what
    assert len(said.splitlines()) == len(everything) and len(node_said.splitlines()) == 1
    assert "hunter2" not in said and "Traceback" not in said + node_said
    assert not (tmp_path / "node").exists()


async def test_a_health_port_that_is_taken(servers: dict[str, Any], tmp_path: Path) -> None:
    """Found at start, and a matter of configuration too."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with role.process(role.settings(servers, tmp_path, health_port=port), tmp_path / "log") as service:
            assert await service.ended() == 78
    lines = [e["event"] for e in service.said() if e["event"] not in {"stopping", "stopped"}]
    assert lines == [f"configuration: FACTORY_HEALTH_PORT: cannot listen on 127.0.0.1:{port}: Address already in use"]


def test_what_one_service_alone_reads_is_known_to_all() -> None:
    """One environment serves all services: no setting of one is an unknown name to another."""
    import importlib

    from factory_chassis.settings import Settings, all_fields

    for name in ("intake", "planner", "envkeeper", "builder", "recorder", "reviewer", "notifier", "console"):
        fields = set(importlib.import_module(f"factory_{name}.settings").Settings.model_fields)
        assert fields <= all_fields(Settings), f"{name} reads {fields - all_fields(Settings)}: add it to OF_SERVICES"
