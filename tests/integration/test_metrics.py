"""`/metrics` of real services on real servers: each number moves with what it counts."""

import asyncio
import sys
import urllib.request
from pathlib import Path
from typing import Any

import nats
import pytest
from factory_chassis import sweep
from factory_chassis.service import Service
from factory_chassis.work import Work
from factory_jobs import events as ev
from factory_jobs import messages
from factory_jobs.machine import OWNED_BY, Role, State
from factory_jobs.store import Errand, Store
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parent))

import chassis_role as role

Numbers = dict[tuple[str, tuple[str, ...]], float]


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


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queues are counted before a test has waited long for it."""
    monkeypatch.setattr(sweep, "COUNT_EVERY", 0.1)


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return answer.read().decode()


async def numbers(service: Service) -> Numbers:
    """Every sample by its name and the values of its labels, which stand in the order of their names."""
    text = await asyncio.to_thread(scraped, service.health.port)
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def more(after: Numbers, before: Numbers) -> Numbers:
    """What has grown; the registry is the process's, and other tests of it count too."""
    return {key: value - before.get(key, 0.0) for key, value in after.items() if value != before.get(key, 0.0)}


async def done(work: Work) -> ev.Event:
    return ev.Done(facts={"title": "planned"})


async def test_a_job_a_hint_that_is_late_and_one_that_is_none(
    servers: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    """Claims by what they gave, the outcome by state and event, its seconds, the next role's hint, the bad message."""
    given = role.settings(servers, tmp_path)
    service = Service("planner", given, role=Role.PLANNER, handlers={State.RECEIVED: done})
    async with role.running(service):
        before = await numbers(service)
        job = await role.new_job(store)
        await service.line.publisher.hint(job)

        async def moved() -> bool:
            return (await store.get(job.id)).state == State.PLANNED

        await role.until(moved)
        bus = await nats.connect(servers["nats_url"])
        try:
            subject = messages.job_subject("received", None, job.id)
            for body in (b"no hint", messages.encode(messages.hint_of(job, job.created_at))):
                await bus.jetstream().publish(subject, body, stream=messages.STREAM)
        finally:
            await bus.close()

        async def told() -> Numbers | None:
            grown = more(await numbers(service), before)
            wanted = {("factory_claims_total", ("refused",)), ("factory_outcomes_total", ("done", "received"))}
            wanted |= {("factory_sweeps_total", ("done", what)) for what in ("hint", "judge", "count")}
            return grown if wanted <= set(grown) else None

        grown = await role.until(told)
        assert grown["factory_claims_total", ("taken",)] == 1
        assert grown["factory_claims_total", ("refused",)] == 1
        assert grown["factory_bad_messages_total", ()] == 1
        assert grown["factory_outcomes_total", ("done", "received")] == 1
        assert grown["factory_state_seconds_count", ("received",)] == 1
        assert grown["factory_state_seconds_sum", ("received",)] > 0
        assert grown["factory_hints_total", ("job", "published")] == 2, "to planner by us, to envkeeper by planner"
        assert job.id not in await asyncio.to_thread(scraped, service.health.port)


async def test_who_works_and_who_waits(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """One job at work and two before it: the gauges say so, with the age of the oldest; then nothing is left."""
    go = asyncio.Event()

    async def held(work: Work) -> ev.Event:
        await go.wait()
        return ev.Done(facts={"title": "planned"})

    service = Service(
        "planner", role.settings(servers, tmp_path, capacity=1), role=Role.PLANNER, handlers={State.RECEIVED: held}
    )
    async with role.running(service):
        for _ in range(3):
            await role.new_job(store)
        await store.pool.execute("UPDATE jobs SET next_attempt_at = entered_at - interval '1 hour'")
        await store.pool.execute("UPDATE jobs SET entered_at = next_attempt_at")

        async def seen(working: float, waiting: float) -> bool:
            now = await numbers(service)
            return (now.get(("factory_jobs_working", ("received",))), now["factory_queue_jobs", ("received",)]) == (
                working,
                waiting,
            )

        await role.until(lambda: seen(1, 2), what="one works, two wait")
        assert (await numbers(service))["factory_queue_oldest_seconds", ("received",)] >= 3600
        go.set()
        await role.until(lambda: seen(0, 0), what="nobody works, nobody waits")
        assert (await numbers(service))["factory_queue_oldest_seconds", ("received",)] == 0


async def test_who_is_fenced_and_errands(servers: dict[str, Any], store: Store, tmp_path: Path) -> None:
    """A renewal that finds another epoch, the outcome that is not written; errands by kind and how they ended."""
    began = asyncio.Event()

    async def held(work: Work) -> ev.Event:
        began.set()
        await asyncio.sleep(60)
        return ev.Done()

    broken = iter([True])

    async def cleanup(errand: Errand, job: Any) -> str:
        if next(broken, False):
            raise RuntimeError("not this time")
        return "done"

    service = Service(
        "envkeeper",
        role.settings(servers, tmp_path, lease_seconds=1),
        role=Role.ENVKEEPER,
        handlers=dict.fromkeys(OWNED_BY[Role.ENVKEEPER], held),
        errands={"cleanup": cleanup},
    )
    async with role.running(service):
        before = await numbers(service)
        job = await role.new_job(store, state="planned")
        await service.line.publisher.hint(job)
        await asyncio.wait_for(began.wait(), 10)
        await store.pool.execute("UPDATE jobs SET lease_epoch = lease_epoch + 1 WHERE id = $1", job.id)
        await store.pool.execute(
            "INSERT INTO errands (job_id, kind, data) VALUES ($1, 'cleanup', '{\"placement\": 1}')", job.id
        )

        async def told() -> Numbers | None:
            grown = more(await numbers(service), before)
            wanted = {
                ("factory_renewals_total", ("fenced",)),
                ("factory_outcomes_total", ("fenced", "planned")),
                ("factory_errands_total", ("cleanup", "failed")),
                ("factory_errands_total", ("cleanup", "done")),
            }
            return grown if wanted <= set(grown) else None

        grown = await role.until(told)
        assert grown["factory_renewals_total", ("fenced",)] == 1
        assert grown["factory_errands_total", ("cleanup", "failed")] == 1
        assert grown["factory_hints_total", ("errand", "published")] >= 1
