"""FastStream's traps on NATS (T1, T4 to T8 of the research), each sprung against real servers: nothing is lost."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import structlog
from factory_chassis import health
from factory_chassis.broker import Publisher, build_broker, subscribe
from factory_chassis.line import Line
from factory_chassis.lives import Lives
from factory_chassis.provision import Provisioner, consumer_config
from factory_chassis.service import Service
from factory_chassis.sweep import Sweep
from factory_chassis.work import Work
from factory_ctl.embedded import Nats
from factory_jobs import events as ev
from factory_jobs import machine, messages
from factory_jobs import store as store_module
from factory_jobs.errors import FactoryError
from factory_jobs.machine import Role, State
from factory_jobs.records import Records
from factory_jobs.store import NewRequest, Store
from nats.js.api import AckPolicy, ConsumerConfig
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parent))

import chassis_role as role


@pytest.fixture
def servers(postgres_url: str, nats_url: str, s3: Any) -> dict[str, Any]:
    return {
        "database_url": SecretStr(postgres_url),
        "nats_url": nats_url,
        "s3_endpoint": s3.endpoint,
        "s3_bucket": s3.bucket,
        "s3_access_key": s3.access_key,
        "s3_secret_key": SecretStr(s3.secret_key),
    }


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Nats]:
    """A NATS server to stop and start."""
    server = Nats(tmp_path / "bus")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def js(nats_url: str) -> AsyncIterator[Any]:
    client = await nats.connect(nats_url)
    yield client.jetstream()
    await client.close()


def planner(servers: dict[str, Any], node_dir: Path, handler: Any = role.plan, **more: Any) -> Service:
    given = role.settings(servers, node_dir, **more)
    return Service("planner", given, role=Role.PLANNER, handlers={State.RECEIVED: handler})


# ── T1: an exception terminates the message ───────────────────────────────────


async def test_t1_a_handler_that_raises_is_tried_again(
    servers: dict[str, Any], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tries break, one on purpose and one by a bug; the third ends the state, and both are counted."""
    monkeypatch.setattr(machine, "BACKOFF", (0.2,))
    tries: list[int] = []

    async def breaks(work: Work) -> ev.Event:
        tries.append(work.job.attempt)
        if len(tries) == 1:
            raise FactoryError("not yet", code="not_yet", retry_after=0.2)
        if len(tries) == 2:
            raise ZeroDivisionError("a bug")
        return ev.Done()

    job = await role.new_job(store)
    async with role.running(planner(servers, tmp_path, breaks)):

        async def planned() -> bool:
            return (await store.get(job.id)).state == "planned"

        await role.until(planned, what="planned at the third try")
    assert tries == [1, 2, 3]
    assert (await role.kinds(store, job.id)).count("faulted") == 2


async def test_t1_a_subscriber_that_breaks_before_its_ack_gets_the_message_again(nats_url: str, js: Any) -> None:
    """Under the chassis' policy an exception leaves the message on the stream; FastStream's default would end it."""
    await js.add_stream(name=messages.STREAM, subjects=list(messages.SUBJECTS))
    await js.add_consumer(
        messages.STREAM, ConsumerConfig(durable_name="planner", ack_policy=AckPolicy.EXPLICIT, ack_wait=0.5)
    )
    seen: list[bytes] = []

    async def breaks(message: Any) -> None:
        seen.append(message.body)
        if len(seen) == 1:
            raise RuntimeError("before the ack")
        await message.ack()

    broker = build_broker(nats_url, grace=1)
    subscribe(broker, "planner", breaks)
    await broker.start()
    try:
        with structlog.testing.capture_logs() as said:
            await js.publish("factory.job.received.any.x", b"one")
            await role.until(lambda: len(seen) == 2, what="delivered again")
    finally:
        await broker.stop()
    assert seen == [b"one", b"one"]
    assert [e["log_level"] for e in said] == ["error"] and said[0]["exc_info"], "FastStream itself says nothing"


# ── T4: stopping cancels handlers and forgets their messages ──────────────────


async def test_t4_sigterm_hands_the_lease_back_at_once(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """No try is counted, what the handler saved stands in the row, and another process goes on at once."""
    given = role.settings(servers, tmp_path, lease_seconds=30)
    job = await role.new_job(store, "hang")
    with role.process(given, tmp_path / "first.log") as first:
        await first.healthy()
        await role.until((tmp_path / f"began.{job.id}").exists, what="the handler has begun")
        first.send(signal.SIGTERM)
        stopped = time.monotonic()

        async def free() -> bool:
            return (await store.get(job.id)).lease_owner is None

        await role.until(free, 3, "the lease is free")
        assert await first.ended() == 0
        assert time.monotonic() - stopped < 5
    back = await store.get(job.id)
    assert (back.state, back.attempt, back.base_sha) == ("received", 1, "saved")
    assert (await role.kinds(store, job.id))[-1] == "handed_back"
    assert back.hinted_at is not None, "it was hinted before the process ended"

    took = asyncio.get_running_loop().create_future()

    async def goes_on(work: Work) -> ev.Event:
        took.set_result((work.job.attempt, work.job.base_sha))
        return ev.Done()

    async with role.running(planner(servers, tmp_path, goes_on)):
        assert await asyncio.wait_for(took, 5) == (1, "saved")
        assert not [e for e in first.said() if e["event"].startswith("Traceback")]


async def test_t4_hints_that_come_while_it_stops_go_to_others(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """A service that waits for its handler to save claims nothing more, and does not keep the bus busy with refusals."""
    began, saving, saved = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def saves(work: Work) -> ev.Event:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            saving.set()
            await saved.wait()
        return ev.Done()

    await role.new_job(store)
    service = planner(servers, tmp_path, saves, capacity=2)
    async with role.running(service):
        await asyncio.wait_for(began.wait(), 5)
        service.ending.set()
        await asyncio.wait_for(saving.wait(), 5)
        second = await role.new_job(store)
        await service.line.publisher.hint(second)
        await asyncio.sleep(0.6)
        assert (await store.get(second.id)).lease_owner is None
        info = await service.nats.jetstream().consumer_info(messages.STREAM, "planner")
        assert info.delivered.consumer_seq < 10, "a refused hint went round and round"
        saved.set()
    assert await role.kinds(store, second.id) == ["created"]


# ── T5: the configuration of a consumer that exists is ignored ────────────────

DRIFTS = {
    "ack_wait": {"ack_wait": 7.0},
    "max_deliver": {"max_deliver": 3},
    "filters": {"filter_subjects": ["factory.job.merged.any.*"]},
    "one old filter": {"filter_subjects": None, "filter_subject": "factory.job.failed.any.*"},
    "acknowledgement": {"ack_policy": AckPolicy.NONE},
    "too few unacknowledged": {"max_ack_pending": 1},
}


@pytest.mark.parametrize("drift", DRIFTS)
async def test_t5_a_consumer_that_drifted_is_brought_back(js: Any, drift: str) -> None:
    """Whatever somebody changed about the durable, the next look makes it as it should be, and then leaves it."""
    provisioner = Provisioner(js, Role.PLANNER, "n1")
    assert await provisioner.ensure() is True
    wanted = consumer_config("planner", messages.filters(Role.PLANNER, "n1"))
    changed = wanted.evolve(**DRIFTS[drift])
    await js.delete_consumer(messages.STREAM, "planner")
    await js.add_consumer(messages.STREAM, changed)

    assert await provisioner.ensure() is False
    info = await js.consumer_info(messages.STREAM, "planner")
    now = info.config
    assert now.filter_subjects == wanted.filter_subjects or [now.filter_subject] == wanted.filter_subjects
    assert (now.ack_wait, now.max_deliver, now.ack_policy) == (messages.ACK_WAIT, -1, AckPolicy.EXPLICIT)
    assert now.max_ack_pending == wanted.max_ack_pending
    await provisioner.ensure()
    assert (await js.consumer_info(messages.STREAM, "planner")).created == info.created


async def test_t5_a_stream_that_drifted_is_brought_back(js: Any) -> None:
    """Subjects that an older release did not have are added, and nothing on the stream is lost."""
    await js.add_stream(name=messages.STREAM, subjects=["factory.job.>"], max_age=60)
    await js.publish("factory.job.received.any.x", b"kept")
    assert await Provisioner(js, Role.ENVKEEPER, "n1").ensure() is False
    info = await js.stream_info(messages.STREAM)
    assert sorted(info.config.subjects) == sorted(messages.SUBJECTS)
    assert (info.config.max_age, info.state.messages) == (messages.KEEP, 1)
    assert await js.consumer_info(messages.STREAM, "envkeeper-n1-errands")


# ── T6: a message that no stream takes is lost without a word ─────────────────


async def test_t6_a_hint_without_a_stream_is_said_and_made_again(
    nats_url: str, store: Store, records: Records, js: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing tells that nobody took it; the row stays due, and the next sweep's hint arrives."""
    monkeypatch.setattr(store_module, "HINT_AFTER", 0.3)
    broker = build_broker(nats_url, grace=1)
    await broker.connect()
    try:
        line = Line(store, records, Publisher(broker, store))
        job = await role.new_job(store)
        assert await line.publisher.hint(job) is False
        await Provisioner(js, Role.PLANNER, "n1").ensure()
        lives = Lives(tmp_path, "test")
        sweep = asyncio.create_task(Sweep(line, Role.PLANNER, lives, actor="test", every=0.1).run())
        try:
            inbox = await js.pull_subscribe_bind("planner", messages.STREAM)
            (message,) = await inbox.fetch(1, timeout=5)
        finally:
            sweep.cancel()
        hint = messages.decode(message.data, messages.Hint)
        assert isinstance(hint, messages.Hint) and hint.job_id == job.id
        assert message.headers["Nats-Msg-Id"].startswith(f"{job.id}.1.")
        assert await line.create(
            project="p", snapshot={}, repo="r", title="t", request=NewRequest(source="s", author="a", text="t")
        ), "the next one goes out at once"
        (message,) = await inbox.fetch(1, timeout=2)
    finally:
        await broker.stop()


# ── T7: a stream that is deleted and made again leaves subscribers deaf ───────


async def test_t7_a_deleted_stream_is_made_again_and_work_goes_on(
    servers: dict[str, Any], store: Store, js: Any, tmp_path: Path
) -> None:
    """Every hint is made again, also one that was just given out; the running subscribers hear it."""
    service = planner(servers, tmp_path, capacity=2)
    async with role.running(service):
        waiting = await role.new_job(store, waiting={"kind": "gate:plan", "asks": "?", "since": "2026-01-01T00:00:00Z"})
        await store.pool.execute("UPDATE jobs SET hinted_at = now() WHERE id = $1", waiting.id)
        await js.delete_stream(messages.STREAM)
        jobs = [await role.new_job(store) for _ in range(4)]
        await store.pool.execute("UPDATE jobs SET waiting = NULL WHERE id = $1", waiting.id)
        began, used = time.monotonic(), time.process_time()

        async def all_planned() -> bool:
            states = {(await store.get(j.id)).state for j in [waiting, *jobs]}
            return states == {"planned"}

        await role.until(all_planned, 15, "every job was planned after the stream had gone")
        took = time.monotonic() - began
        assert time.process_time() - used < took / 2 + 1, "the subscribers spun while the stream was away"
        assert await js.stream_info(messages.STREAM)


# ── T8: after the reconnect limit the loop starves ────────────────────────────


async def test_t8_nats_away_past_the_reconnect_limit(
    servers: dict[str, Any], store: Store, bus: Nats, tmp_path: Path
) -> None:
    """The loop ticks on at rest, `/health` says so at once, work resumes by itself; a client with a limit is dead by then.

    In a process of its own: where the trap springs, its loop hears nothing any more, and it has to be killed.
    """
    given = role.settings(servers | {"nats_url": bus.url}, tmp_path)
    limited = await nats.connect(bus.url, max_reconnect_attempts=2, reconnect_time_wait=0.1, error_cb=_ignore)
    with role.process(given, tmp_path / "service.log") as service:
        port = await service.healthy()
        await bus.stop()
        began, used = time.monotonic(), service.cpu()

        async def degraded() -> bool:
            status, said = await role.health_of(port)
            return status == 503 and said["state"] == "degraded" and said["checks"]["nats"] is False

        await role.until(degraded, 1, "degraded")
        job = await role.new_job(store)
        while time.monotonic() - began < 4:
            _, said = await role.health_of(port)
            assert said["state"] == "degraded" and said["loop_lag"] < 2.5, "the loop starved"
            await asyncio.sleep(0.3)
        assert service.cpu() - used < 2, "it spun"
        assert limited.is_closed, "long enough to be past a limit"
        await bus.start()

        async def planned() -> bool:
            return (await store.get(job.id)).state == "planned"

        async def well() -> bool:
            return (await role.health_of(port))[1]["state"] == "ok"

        await role.until(planned, 5, "work resumes")
        await role.until(well, 10, "well again")


async def test_t8_sigterm_while_nats_is_away(servers: dict[str, Any], store: Store, bus: Nats, tmp_path: Path) -> None:
    """It ends as quickly as ever, and the lease is handed back: Postgres is there."""
    given = role.settings(servers | {"nats_url": bus.url}, tmp_path, stop_grace=20)
    job = await role.new_job(store, "hang")
    with role.process(given, tmp_path / "service.log") as service:
        port = await service.healthy()
        await role.until((tmp_path / f"began.{job.id}").exists, what="the handler has begun")
        await bus.stop()

        async def degraded() -> bool:
            return (await role.health_of(port))[1]["state"] == "degraded"

        await role.until(degraded, 2, "degraded")
        service.send(signal.SIGTERM)
        stopped = time.monotonic()
        assert await service.ended() == 0
        assert time.monotonic() - stopped < 5
    back = await store.get(job.id)
    assert (back.lease_owner, back.attempt, back.base_sha) == (None, 1, "saved")


async def test_t8_told_to_end_before_nats_was_ever_there(
    servers: dict[str, Any], bus: Nats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that still waits for its servers is no stalled one, and ends at once and in order when it is told to."""
    monkeypatch.setattr(health, "STALLED", 0.8)
    await bus.stop()
    service = planner(servers | {"nats_url": bus.url}, tmp_path)
    async with role.running(service, healthy=False):
        await role.until(lambda: role.state(service) == "degraded", 5, "/health answers")
        await asyncio.sleep(1.5)
        assert (await role.health_of(service.health.port))[1]["state"] == "degraded"
        told = time.monotonic()
    assert time.monotonic() - told < 3


async def _ignore(_: Exception) -> None:
    """A client that is meant to fail."""
