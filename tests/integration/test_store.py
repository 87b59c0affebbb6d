"""The store on a real Postgres: leases, moves, hints, the sweep, and what is kept beside the row."""

import asyncio
import contextlib
import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from factory_jobs import db, fold, machine
from factory_jobs import events as ev
from factory_jobs.errors import Failure, Fenced, IllegalMove, NoSuchJob, Stale
from factory_jobs.ids import is_job_id
from factory_jobs.job import Job, Pull, Sandbox
from factory_jobs.machine import PHASES, TERMINAL, WORKING, Role, State
from factory_jobs.queries import QUERIES
from factory_jobs.records import Records
from factory_jobs.store import NewRequest, Store

S = State
REPO = "https://forge/shop"
OURS = Failure(blame="factory", code="bug", message="it broke")
BROKEN = Failure(blame="repo", code="setup_failed", message="setup ended with 1", stage="sandbox_created")
sources = iter(range(10**9))


def request(text: str = "a blue button", *, source: str | None = None, chat: str | None = "c1") -> NewRequest:
    n = next(sources)
    return NewRequest(source=source or f"test:{n}", author="ann", text=text, chat=chat, message_id=n)


async def new(store: Store, *, repo: str = REPO, asked: NewRequest | None = None, **snapshot: Any) -> Job:
    job = await store.create(project="shop", snapshot=snapshot, repo=repo, title="A job", request=asked or request())
    assert job is not None
    return job


async def claim(store: Store, job: Job, owner: str = "w1", node: str | None = "n1", **limits: Any) -> Job | None:
    return await store.claim(job.id, [job.state], owner=owner, node=node, **limits)


async def held(store: Store, job: Job, owner: str = "w1") -> Job:
    """The job with a lease on it: the one it has, or a new one."""
    if job.lease_owner:
        return job
    claimed = await claim(store, job, owner)
    assert claimed is not None, f"not claimed in {job.state}"
    return claimed


def made(job: Job, commit: str = "c1") -> dict[str, Any]:
    """The facts that the owner of this state brings."""
    match job.state:
        case "received":
            return {"base_sha": "base", "title": "Planned"}
        case "planned" if job.sandbox is None:
            return {"node": "n1", "placement": (job.placement or 0) + 1, "branch": f"factory/{job.id}-a"}
        case "worktree_created":
            return {"sandbox": msgspec.to_builtins(Sandbox(provider="local", handle={"pid": 1}))}
        case "implementation_in_progress":
            return {"work_sha": commit}
        case "video_recorded":
            return {"pr": msgspec.to_builtins(Pull(number=7, url="https://forge/7", head=job.work_sha or ""))}
    return {}


async def done(store: Store, job: Job, **facts: Any) -> Job:
    """One state further, by its owner."""
    job = await held(store, job)
    return await store.apply(job, ev.Done(facts=made(job) | facts), actor="w1", epoch=job.lease_epoch)


async def until(store: Store, job: Job, state: State, **facts: Any) -> Job:
    while job.state != state:
        job = await done(store, job, **(facts if job.state == S.IMPLEMENTATION_IN_PROGRESS else {}))
    return job


async def at(store: Store, state: State, **snapshot: Any) -> Job:
    """A job that has come to this state, its message read by the planner; held where the lease was kept."""
    job = await new(store, **snapshot)
    await store.pool.execute("UPDATE requests SET read_by = 'plan:1' WHERE job_id = $1", job.id)
    return await until(store, job, state)


async def shift(store: Store, job: Job | str, **seconds: float) -> None:
    """Moves times of the row into the past."""
    for column, by in seconds.items():
        await store.pool.execute(
            f"UPDATE jobs SET {column} = {column} - make_interval(secs => $2) WHERE id = $1",
            job if isinstance(job, str) else job.id,
            float(by),
        )


async def kinds(store: Store, job: Job) -> list[str]:
    return [e["kind"] for e in await store.events(job.id)]


async def untouched(store: Store, job: Job) -> bool:
    """The row and its log are as when the job was read."""
    events = await store.events(job.id)
    return await store.get(job.id) == job and events[-1]["seq"] == job.seq == len(events)


# ── beginning ─────────────────────────────────────────────────────────────────


async def test_a_new_job(store: Store, records: Records) -> None:
    """Received, with its snapshot, its budget and rounds, its request unread, and its first event."""
    job = await new(store, rounds=3, budget={"usd": 5})
    assert is_job_id(job.id)
    assert (job.state, job.version, job.seq, job.request_no, job.attempt) == ("received", 1, 1, 1, 1)
    assert (job.rounds_max, job.budget, job.snapshot) == (3, {"usd": 5}, {"rounds": 3, "budget": {"usd": 5}})
    assert await store.get(job.id) == job
    assert [(r.text, r.read_by) for r in await records.unread(job.id)] == [("a blue button", None)]
    assert await kinds(store, job) == ["created"]
    with pytest.raises(NoSuchJob):
        await store.get("jaaaaaaaaaa")


async def test_a_source_is_taken_once(store: Store, records: Records) -> None:
    """The same update again makes no job, moves none, and is known."""
    asked = request(source="telegram:bot:1")
    job = await new(store, asked=asked)
    again = await store.create(project="shop", snapshot={}, repo=REPO, title="A job", request=asked)
    assert again is None
    assert await store.tell(job.id, ev.FollowUp(by="ann", text="x"), actor="ann", request=asked) is None
    assert await records.known_source("telegram:bot:1")
    assert not await records.known_source("telegram:bot:2")
    assert len(await store.jobs()) == 1
    assert await untouched(store, job)


async def test_an_update_that_asks_for_nothing_is_taken_once(store: Store, records: Records) -> None:
    """Commands and buttons, too; a request's source is no free update."""
    assert await records.take_update("telegram:bot:1")
    assert not await records.take_update("telegram:bot:1")
    asked = request(source="telegram:bot:2")
    await new(store, asked=asked)
    assert not await records.take_update("telegram:bot:2")
    refused = request(source="telegram:bot:1")
    assert await store.create(project="shop", snapshot={}, repo=REPO, title="A job", request=refused) is None


async def test_two_at_once_make_one_job(store: Store) -> None:
    """The second of two that take the same update at the same time waits, and makes none."""
    asked = request(source="telegram:bot:9")
    other = await new(store)
    async with store.pool.acquire() as c:
        async with c.transaction():
            args = (other.id, asked.source, None, None, "ann", "the first of the two", None)
            await c.execute(QUERIES["insert_request"], *args)
            second = asyncio.create_task(
                store.create(project="shop", snapshot={}, repo=REPO, title="A job", request=asked)
            )
            while not await store.pool.fetchval("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"):
                await asyncio.sleep(0.01)
        assert await second is None
    assert [j.id for j in await store.jobs()] == [other.id]


# ── leases ────────────────────────────────────────────────────────────────────


async def test_one_of_many_claimers_gets_the_lease(store: Store) -> None:
    """One lease, one event, the next epoch; the others get nothing."""
    job = await new(store)
    found = await asyncio.gather(*(claim(store, job, f"w{n}") for n in range(8)))
    (won,) = [f for f in found if f is not None]
    assert (won.lease_epoch, won.state, won.version, won.seq) == (1, "received", 2, 2)
    assert won == await store.get(job.id)
    assert won.lease_until is not None
    assert timedelta(seconds=20) < won.lease_until - won.created_at <= timedelta(seconds=40)
    events = await store.events(job.id)
    assert [(e["kind"], e["actor"], e["epoch"]) for e in events[1:]] == [("claimed", won.lease_owner, 1)]


async def test_the_epoch_grows_with_every_lease(store: Store) -> None:
    """Handed back and claimed again: 1, 2, 3; a hand-back costs no try."""
    job = await new(store)
    for epoch in (1, 2, 3):
        job = await held(store, job)
        assert job.lease_epoch == epoch
        job = await store.apply(job, ev.HandedBack(), actor="w1", epoch=epoch)
        assert (job.lease_owner, job.lease_until, job.claimed_at, job.attempt) == (None, None, None, 1)


async def test_what_is_not_claimed(store: Store) -> None:
    """A job that is held, in another state, not due, waiting, ended, or on another node."""
    job = await held(store, await at(store, S.WORKTREE_CREATED))
    assert await claim(store, job, "w2") is None
    job = await store.apply(job, ev.HandedBack(), actor="w1", epoch=job.lease_epoch)
    assert await store.claim(job.id, ["planned", "received"], owner="w1", node="n1") is None
    assert await claim(store, job, node="n2") is None
    job = await held(store, job)
    job = await store.apply(job, ev.Faulted(failure=OURS, delay=60), actor="w1", epoch=job.lease_epoch)
    assert (job.attempt, job.lease_owner) == (2, None)
    assert await claim(store, job) is None
    await shift(store, job, next_attempt_at=61)
    job = await held(store, job)
    job = await store.apply(job, ev.Asked(ask="budget", asks="More?"), actor="w1", epoch=job.lease_epoch)
    assert (job.lease_owner, job.attempt) == (None, 2)
    assert await claim(store, job) is None
    job = await store.answer(job.id, ev.Answered(ask="budget", answer="more", by="ann"), actor="ann")
    job = await held(store, job)
    job = await store.apply(job, ev.Cancel(by="ann"), actor="ann")
    assert await store.claim(job.id, sorted(WORKING), owner="w1", node="n1") is None


async def test_a_lease_that_was_kept_goes_on(store: Store) -> None:
    """Consecutive states of one role are one lease; the deadline counts from the entry."""
    job = await held(store, await at(store, S.PLANNED))
    first = job.claimed_at
    job = await done(store, job)
    assert (job.state, job.lease_epoch, job.lease_owner) == ("worktree_created", 2, "w1")
    assert first is not None
    assert job.claimed_at is not None
    assert job.claimed_at > first
    job = await until(store, job, S.DEV_ENVIRONMENT_READY)
    assert (job.lease_owner, job.lease_epoch, job.claimed_at) == (None, 2, None)


async def test_every_round_has_its_deadline(store: Store) -> None:
    """A round that falls back into the next one enters the state anew, under the same lease."""
    job = await held(store, await at(store, S.IMPLEMENTATION_IN_PROGRESS))
    await shift(store, job, claimed_at=50 * 60, entered_at=50 * 60)
    job = await store.apply(await store.get(job.id), ev.FellBack(feedback="red"), actor="w1", epoch=job.lease_epoch)
    assert (job.state, job.round, job.lease_owner) == ("implementation_in_progress", 2, "w1")
    assert job.claimed_at == job.entered_at
    assert datetime.now(UTC) - job.entered_at < timedelta(minutes=5)


async def test_renewal(store: Store) -> None:
    """Under its epoch the lease is longer afterwards; a lower one, or none, is told that it is fenced."""
    job = await held(store, await new(store))
    await shift(store, job, lease_until=20)
    until = await store.renew(job.id, job.lease_epoch)
    assert until is not None
    assert until > (await store.get(job.id)).created_at + timedelta(seconds=25)
    assert await store.renew(job.id, job.lease_epoch - 1) is None
    job = await store.apply(job, ev.HandedBack(), actor="w1", epoch=job.lease_epoch)
    assert await store.renew(job.id, job.lease_epoch) is None


async def test_at_most_so_many_jobs_of_a_repo_have_a_place(store: Store) -> None:
    """Also when they are claimed at the same moment; another repo is another count."""
    jobs = [await at(store, S.PLANNED, limits={"jobs": 2}) for _ in range(5)]
    found = await asyncio.gather(*(claim(store, j, f"w{j.id}") for j in jobs))
    assert sum(f is not None for f in found) == 2
    other = await new(store, repo="https://forge/other", limits={"jobs": 2})
    assert await claim(store, await done(store, other)) is not None


async def test_a_place_that_is_given_back_lets_the_next_job_in(store: Store) -> None:
    """Ready jobs do not count; a job that has its place comes in again without a new count."""
    first = await at(store, S.WORKTREE_CREATED, limits={"jobs": 1})
    second = await at(store, S.PLANNED, limits={"jobs": 1})
    assert await claim(store, second) is None
    first = await until(store, first, S.READY_FOR_HUMAN_REVIEW)
    second = await until(store, second, S.WORKTREE_CREATED)
    first = await store.apply(first, ev.PersonPushed(head="theirs"), actor="forge")
    assert first.state == S.PLANNED
    assert await claim(store, first) is not None


async def test_at_most_so_many_jobs_on_a_node(store: Store) -> None:
    """Also when they are claimed at the same moment; another node is another count."""
    jobs = [await at(store, S.PLANNED) for _ in range(4)]
    found = await asyncio.gather(*(claim(store, j, f"w{j.id}", node_limit=3) for j in jobs))
    assert sum(f is not None for f in found) == 3
    (late,) = [j for j, f in zip(jobs, found, strict=True) if f is None]
    assert await claim(store, late, node_limit=3) is None
    for job in filter(None, found):
        await done(store, job)
    assert await claim(store, late, node_limit=3) is None
    assert await claim(store, late, node="n2", node_limit=3) is not None


# ── moves ─────────────────────────────────────────────────────────────────────


async def test_a_fenced_holder_changes_nothing(store: Store) -> None:
    """Its lease expired and somebody else works: 0 rows, Fenced, whatever it says."""
    old = await held(store, await new(store))
    await store.apply(old, ev.LeaseExpired(), actor="sweep")
    new_one = await held(store, await store.get(old.id), "w2")
    for event in (ev.Done(), ev.Faulted(failure=OURS), ev.HandedBack(), ev.Noted(facts={"title": "mine"})):
        with pytest.raises(Fenced) as caught:
            await store.apply(old, event, actor="w1", epoch=old.lease_epoch)
        assert caught.value.facts == {"epoch": 1, "now": new_one.lease_epoch}
    assert await untouched(store, new_one)
    assert (await done(store, new_one)).state == S.PLANNED


async def test_a_steer_does_not_disturb_the_holder(store: Store, records: Records) -> None:
    """The row moves on under the holder; its outcome is decided anew on it and holds."""
    mine = await held(store, await at(store, S.TESTS_RUNNING))
    for text in ("also blue", "and round"):
        told = await store.tell(mine.id, ev.FollowUp(by="ann", text=text), actor="ann", request=request(text))
        assert told is not None
        assert (told.state, told.lease_epoch, told.lease_owner) == (mine.state, mine.lease_epoch, mine.lease_owner)
    await store.apply(told, ev.Noted(facts={"title": "Told"}), actor="somebody")
    assert await store.renew(mine.id, mine.lease_epoch) is not None
    after = await store.apply(mine, ev.Done(), actor="w1", epoch=mine.lease_epoch)
    assert (after.state, after.title) == ("browser_validation_running", "Told")
    assert [r.text for r in await records.unread(mine.id)] == ["also blue", "and round"]
    assert (await kinds(store, mine))[-4:] == ["follow_up", "follow_up", "noted", "done"]


async def test_what_is_decided_anew_is_decided_on_the_new_row(store: Store) -> None:
    """A holder's fall back is measured by what the row allows now, not by what it read."""
    mine = await held(store, await at(store, S.TESTS_RUNNING))
    await store.apply(mine, ev.Noted(facts={"rounds_max": 1}), actor="somebody")
    after = await store.apply(mine, ev.FellBack(feedback="red"), actor="w1", epoch=mine.lease_epoch)
    assert after.state == S.FAILED


async def test_a_fall_back_whose_answer_was_lost_counts_one_round(store: Store) -> None:
    """It stays in its state and keeps the lease: said again it is late, not another one."""
    mine = await held(store, await at(store, S.IMPLEMENTATION_IN_PROGRESS))
    event = ev.FellBack(feedback="the app does not start")
    after = await store.apply(mine, event, actor="w1", epoch=mine.lease_epoch)
    assert (after.state, after.round, after.lease_owner) == (mine.state, 2, "w1")
    with pytest.raises(Stale):
        await store.apply(mine, event, actor="w1", epoch=mine.lease_epoch)
    assert await untouched(store, after)


async def test_cancel_fences_the_holder(store: Store) -> None:
    """Epoch + 1, no lease, the errand written in the same statement; the holder's word is too late."""
    mine = await held(store, await at(store, S.IMPLEMENTATION_IN_PROGRESS))
    job = await store.tell(mine.id, ev.Cancel(by="ann"), actor="ann")
    assert job is not None
    assert (job.state, job.lease_owner, job.lease_epoch) == ("cancelled", None, mine.lease_epoch + 1)
    assert await store.renew(mine.id, mine.lease_epoch) is None
    with pytest.raises(Fenced):
        await store.apply(mine, ev.Done(facts={"work_sha": "late"}), actor="w1", epoch=mine.lease_epoch)
    assert await untouched(store, job)
    assert [(e.kind, e.node, e.data) for e in await store.open_errands(job.id)] == [
        ("cleanup", "n1", {"placement": 1, "node": "n1"})
    ]


async def test_late_and_repeated_events_change_nothing(store: Store) -> None:
    """Each a second time, on the row as its author read it: absorbed, stale or fenced."""
    ready = await at(store, S.READY_FOR_HUMAN_REVIEW)
    merged = await store.apply(ready, ev.Merged(), actor="forge")
    for event in (ev.Merged(), ev.Closed(), ev.Cancel(by="ann"), ev.PersonPushed(head="x"), ev.Retry(by="ann")):
        after = await store.apply(merged, event, actor="forge")
        assert after == merged
    assert await store.apply(ready, ev.Merged(), actor="forge") != ready, "it got the row of now"
    assert await untouched(store, merged)
    assert len(await store.open_errands(ready.id)) == 1

    planned = await held(store, await at(store, S.PLANNED))
    moved = await store.apply(planned, ev.Done(facts=made(planned)), actor="w1", epoch=planned.lease_epoch)
    with pytest.raises(Stale) as caught:
        await store.apply(planned, ev.Done(facts=made(planned)), actor="w1", epoch=planned.lease_epoch)
    assert caught.value.facts == {"was": ("planned", 0), "now": ("worktree_created", 0)}
    assert await untouched(store, moved)


async def test_a_refused_event_changes_nothing(store: Store) -> None:
    """The table has no such move: IllegalMove, and the row and its log are as before."""
    job = await held(store, await new(store))
    with pytest.raises(IllegalMove):
        await store.apply(job, ev.FellBack(feedback="x"), actor="w1", epoch=job.lease_epoch)
    ready = await at(store, S.READY_FOR_HUMAN_REVIEW)
    with pytest.raises(IllegalMove):
        await store.apply(ready, ev.Done(), actor="w1")
    assert await untouched(store, job)
    assert await untouched(store, ready)


async def test_many_at_once_each_change_the_row_once(store: Store) -> None:
    """Twenty notes from outside at the same moment: twenty versions, twenty events, none lost."""
    job = await held(store, await new(store))
    await asyncio.gather(*(store.apply(job, ev.Noted(note=str(n)), actor="x") for n in range(20)))
    after = await store.get(job.id)
    assert (after.version, after.seq) == (job.version + 20, job.seq + 20)
    events = await store.events(job.id)
    assert sorted(e["data"]["note"] for e in events if e["kind"] == "noted") == sorted(map(str, range(20)))
    assert (await done(store, after)).state == S.PLANNED


async def test_errands_come_with_the_move(store: Store) -> None:
    """Cleanup to the node of the place, close_pr to anybody; a move that is refused writes none."""
    ready = await at(store, S.READY_FOR_HUMAN_REVIEW)
    await store.apply(ready, ev.Cancel(by="ann"), actor="ann")
    found = [(e.kind, e.node, e.data) for e in await store.open_errands(ready.id)]
    assert found == [("cleanup", "n1", {"placement": 1, "node": "n1"}), ("close_pr", None, {"number": 7})]
    again = await at(store, S.READY_FOR_HUMAN_REVIEW)
    again = await store.apply(again, ev.FollowUp(by="ann", text="x"), actor="ann")
    again = await held(store, await until(store, again, S.PLANNED))
    again = await store.apply(again, ev.GaveUp(failure=BROKEN), actor="w1", epoch=again.lease_epoch)
    assert again.state == S.READY_FOR_HUMAN_REVIEW
    (reset,) = await store.open_errands(again.id)
    assert (reset.kind, reset.node, reset.data) == ("reset_sandbox", "n1", {"sha": "c1"})
    pushed = await at(store, S.READY_FOR_HUMAN_REVIEW)
    pushed = await store.apply(pushed, ev.PersonPushed(head="theirs"), actor="forge")
    (told,) = await store.open_errands(pushed.id)
    assert (told.kind, told.node, told.data) == ("set_statuses", None, {"sha": "theirs"})


async def test_json_columns_come_back_as_they_went_in(store: Store) -> None:
    """Structs, nulls and times of a move are the same on the row that is read."""
    job = await held(store, await at(store, S.IMPLEMENTATION_IN_PROGRESS))
    assert job.sandbox == Sandbox(provider="local", handle={"pid": 1})
    event = ev.Asked(
        ask="budget", asks="More „€“?", sha="c1", options=[["more", "More"]], facts={"spent": {"usd": 0.25}}
    )
    before = await store.value("now")
    job = await store.apply(job, event, actor="w1", epoch=job.lease_epoch)
    assert job.waiting is not None
    assert (job.waiting.asks, job.waiting.options, job.spent) == ("More „€“?", [["more", "More"]], {"usd": 0.25})
    assert before <= job.waiting.since <= await store.value("now")
    job = await store.apply(job, ev.SandboxLost(reason="gone"), actor="sweep")
    assert (job.sandbox, job.placement, job.node) == (None, None, None)


# ── ready, and what is unread then ────────────────────────────────────────────


async def test_an_unread_message_leads_on_from_ready(store: Store, records: Records) -> None:
    """The reviewer's last word and a reply cross: the job goes on as its next request, with the review's facts."""
    job = await held(store, await at(store, S.REVIEW_RUNNING))
    await store.tell(job.id, ev.FollowUp(by="ann", text="also blue"), actor="ann", request=request("also blue"))
    facts = {"verdict": "approved"}
    job = await store.apply(job, ev.Done(facts=facts), actor="w1", epoch=job.lease_epoch)
    assert (job.state, job.request_no, job.round, job.verdict) == ("received", 2, 0, "approved")
    assert (job.lease_owner, job.proved_sha, job.placement) == (None, "c1", 1)
    assert [r.text for r in await records.unread(job.id)] == ["also blue"]
    events = await store.events(job.id)
    assert events[-1]["data"]["set"]["request_no"] == 2, "the log holds the move that was made"


async def test_a_message_that_was_read_does_not(store: Store, records: Records) -> None:
    """The builder took it up in its round."""
    job = await held(store, await at(store, S.REVIEW_RUNNING))
    await store.tell(job.id, ev.FollowUp(by="ann", text="also blue"), actor="ann", request=request())
    unread = await records.unread(job.id)
    await records.mark_read(job.id, "round:1.1", unread)
    await records.mark_read(job.id, "plan:2", unread)
    assert [r.read_by for r in await records.requests(job.id)] == ["plan:1", "round:1.1"]
    job = await store.apply(job, ev.Done(), actor="w1", epoch=job.lease_epoch)
    assert (job.state, job.request_no) == ("ready_for_human_review", 1)


async def test_cancel_takes_the_message_back(store: Store, records: Records) -> None:
    """*Not a change*: ready, and the message is neither planned now nor with the next one."""
    job = await at(store, S.READY_FOR_HUMAN_REVIEW)
    job = await store.tell(job.id, ev.FollowUp(by="ann", text="nice"), actor="ann", request=request("nice"))
    assert job is not None
    assert job.state == S.RECEIVED
    job = await store.tell(job.id, ev.Cancel(by="ann"), actor="ann")
    assert job is not None
    assert (job.state, job.request_no, job.work_sha) == ("ready_for_human_review", 2, "c1")
    assert await records.unread(job.id) == []
    assert (await records.requests(job.id))[-1].read_by == "dropped:2"


async def test_a_reply_to_an_ended_job_stays_free_for_a_new_one(store: Store) -> None:
    """It is refused, and its source is not used up by that."""
    job = await at(store, S.READY_FOR_HUMAN_REVIEW)
    await store.apply(job, ev.Merged(), actor="forge")
    asked = request("also blue")
    with pytest.raises(IllegalMove):
        await store.tell(job.id, ev.FollowUp(by="ann", text="also blue"), actor="ann", request=asked)
    made = await store.create(project="shop", snapshot={}, repo=REPO, title="A job", request=asked)
    assert made is not None


async def test_a_message_and_its_move_are_written_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between them must find the update untaken, or nobody would take the reply up."""
    job = await at(store, S.READY_FOR_HUMAN_REVIEW)
    asked, event = request("also blue"), ev.FollowUp(by="ann", text="also blue")

    def died(*_: Any) -> None:
        raise KeyError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(machine, "decide", died)
        with pytest.raises(KeyError):
            await store.tell(job.id, event, actor="ann", request=asked)
    after = await store.tell(job.id, event, actor="ann", request=asked)
    assert after is not None
    assert after.state == S.RECEIVED


async def test_two_replies_at_once_are_both_kept(store: Store, records: Records) -> None:
    """One makes the next request, the other is a steer of it."""
    job = await at(store, S.READY_FOR_HUMAN_REVIEW)
    texts = [f"wish {n}" for n in range(6)]
    told = [store.tell(job.id, ev.FollowUp(by="ann", text=t), actor="ann", request=request(t)) for t in texts]
    assert all(await asyncio.gather(*told))
    after = await store.get(job.id)
    assert (after.state, after.request_no) == ("received", 2)
    assert sorted(r.text for r in await records.unread(job.id)) == texts


async def test_a_retry_with_nothing_to_keep_forgets_its_base(store: Store) -> None:
    """Whoever comes next finds the base branch as it is by then; with a commit to keep the base stays."""
    for state, base in ((S.DEV_ENVIRONMENT_READY, None), (S.TESTS_RUNNING, "base")):
        job = await held(store, await at(store, state))
        job = await store.apply(job, ev.GaveUp(failure=BROKEN), actor="w1", epoch=job.lease_epoch)
        job = await store.apply(job, ev.Retry(by="ann"), actor="ann")
        assert (job.state, job.base_sha) == ("planned", base)
        job = await done(store, job, base_sha=job.base_sha or "moved")
        assert (job.state, job.base_sha) == ("worktree_created", base or "moved")


# ── questions ─────────────────────────────────────────────────────────────────


async def test_an_answer_is_kept_for_its_commit(store: Store, records: Records) -> None:
    """A gate that was answered for this commit need not ask again; for another commit it must."""
    job = await held(store, await at(store, S.VIDEO_RECORDED))
    asked = ev.Asked(ask="gate:risk", asks="Push?", sha="c1")
    job = await store.apply(job, asked, actor="w1", epoch=job.lease_epoch)
    job = await store.answer(job.id, ev.Answered(ask="gate:risk", answer="approve", by="ann"), actor="ann")
    assert (job.state, job.waiting) == ("video_recorded", None)
    assert await records.decision(job.id, "gate:risk", "c1") == "approve"
    assert await records.decision(job.id, "gate:risk", "c2") is None
    assert await records.decision(job.id, "gate:plan", "c1") is None


async def test_an_answer_and_its_move_are_written_together(
    store: Store, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its taker dies between the two, neither stands, and the button still works."""
    job = await held(store, await at(store, S.VIDEO_RECORDED))
    job = await store.apply(job, ev.Asked(ask="gate:risk", asks="Push?", sha="c1"), actor="w1", epoch=job.lease_epoch)
    with monkeypatch.context() as broken:
        broken.setattr(machine, "decide", _dies)
        with pytest.raises(ZeroDivisionError):
            await store.answer(job.id, ev.Answered(ask="gate:risk", answer="approve", by="ann"), actor="ann")
    assert await records.decisions(job.id) == [] and await untouched(store, job)
    job = await store.answer(job.id, ev.Answered(ask="gate:risk", answer="approve", by="ann"), actor="ann")
    assert [d["answer"] for d in await records.decisions(job.id)] == ["approve"] and job.waiting is None


def _dies(*_: Any) -> None:
    raise ZeroDivisionError


async def test_mine_on_top_is_known_to_the_next_round(store: Store, records: Records) -> None:
    """The answer stands there for its commit, the row enters at planned, and of two answers the newer comes last."""
    job = await held(store, await at(store, S.VIDEO_RECORDED))
    for sha, answer in (("t1", "mine"), ("t2", "theirs")):
        job = await held(store, await until(store, job, S.VIDEO_RECORDED))
        asked = ev.Asked(ask="question:push", asks="?", sha=sha)
        job = await store.apply(job, asked, actor="w1", epoch=job.lease_epoch)
        job = await store.answer(
            job.id, ev.Answered(ask="question:push", answer=answer, by="ann", sha=sha), actor="ann"
        )
        assert job.state == "planned"
    assert (job.round, job.work_sha, job.verify) == (2, "t2", True)
    assert [(d["sha"], d["answer"]) for d in await records.decisions(job.id)] == [("t1", "mine"), ("t2", "theirs")]


async def test_an_answer_that_comes_late_decides_nothing(store: Store, records: Records) -> None:
    """A button of a question that is closed, or of another commit, is neither kept nor followed."""
    job = await held(store, await at(store, S.VIDEO_RECORDED))
    approve = ev.Answered(ask="gate:risk", answer="approve", by="ann", sha="c1")
    assert await store.answer(job.id, approve, actor="ann") == job
    job = await store.apply(job, ev.Asked(ask="gate:risk", asks="?", sha="c2"), actor="w1", epoch=job.lease_epoch)
    assert await store.answer(job.id, approve, actor="ann") == job
    other = ev.Answered(ask="question:push", answer="theirs", by="ann")
    assert await store.answer(job.id, other, actor="ann") == job
    assert await records.decisions(job.id) == []
    job = await store.answer(job.id, ev.Answered(ask="gate:risk", answer="reject", by="bob", sha="c2"), actor="bob")
    assert job.state == S.CANCELLED
    await store.answer(job.id, ev.Answered(ask="gate:risk", answer="approve", by="ann", sha="c2"), actor="ann")
    assert [(d["answer"], d["by"], d["sha"]) for d in await records.decisions(job.id)] == [("reject", "bob", "c2")]


# ── hints ─────────────────────────────────────────────────────────────────────

ANY = [s.value for s in WORKING]


async def due(store: Store) -> list[str]:
    return [j.id for j in await store.due_hints(ANY)]


async def test_what_is_due(store: Store) -> None:
    """A job that nobody works on, until it is hinted, and again when its hint is 15 s old; of these states only."""
    job = await new(store)
    assert await due(store) == [job.id]
    assert await store.due_hints(["planned"]) == []
    assert await store.mark_hinted(job) == 1
    assert await due(store) == []
    await shift(store, job, hinted_at=14)
    assert await due(store) == []
    await shift(store, job, hinted_at=2)
    assert await due(store) == [job.id]


async def test_what_is_not_due(store: Store) -> None:
    """Held, waiting, to be tried later, ready, ended."""
    job = await held(store, await new(store))
    assert await due(store) == []
    asking = await store.apply(job, ev.Asked(ask="budget", asks="?"), actor="w1", epoch=job.lease_epoch)
    assert await due(store) == []
    answered = ev.Answered(ask="budget", answer="more", by="ann")
    job = await store.answer(asking.id, answered, actor="ann")
    assert await due(store) == [job.id]
    job = await held(store, job)
    await store.apply(job, ev.Faulted(failure=OURS, delay=60), actor="w1", epoch=job.lease_epoch)
    assert await due(store) == []
    ready = await at(store, S.READY_FOR_HUMAN_REVIEW)
    await store.apply(ready, ev.Cancel(by="ann"), actor="ann")
    assert await due(store) == []


async def test_one_of_many_sweepers_hints(store: Store) -> None:
    """Each hint has its number; a row that has moved on, or was hinted meanwhile, gives none."""
    job = await new(store)
    found = await asyncio.gather(*(store.mark_hinted(job) for _ in range(8)))
    assert sorted(found, key=lambda n: n or 0) == [None] * 7 + [1]
    await shift(store, job, hinted_at=60)
    again = await store.get(job.id)
    assert again.version == job.version, "a hint is no change of the job"
    found = await asyncio.gather(*(store.mark_hinted(again) for _ in range(8)))
    assert sorted(found, key=lambda n: n or 0) == [None] * 7 + [2]
    await held(store, again)
    assert await store.mark_hinted(await store.get(job.id) and again) is None


@pytest.mark.parametrize(
    ("hinted_after", "wait"), [(0, 15), (10, 15), (30, 30), (60, 60), (100, 100), (120, 120), (600, 120)]
)
async def test_hints_come_ever_more_rarely(store: Store, hinted_after: float, wait: float) -> None:
    """As long again as the job had waited at its last hint: 15 s at least, 2 min at most."""
    job = await new(store)
    await store.mark_hinted(job)
    await shift(store, job, entered_at=hinted_after, next_attempt_at=hinted_after)
    await shift(store, job, hinted_at=wait - 3, entered_at=wait - 3, next_attempt_at=wait - 3)
    assert await due(store) == []
    await shift(store, job, hinted_at=5, entered_at=5, next_attempt_at=5)
    assert await due(store) == [job.id]


async def test_a_new_state_is_hinted_at_once(store: Store) -> None:
    """And so is a try that is due again: the old hint counts no longer."""
    job = await new(store)
    await store.mark_hinted(job)
    job = await done(store, job)
    assert (job.state, job.hinted_at) == ("planned", None)
    assert await due(store) == [job.id]
    await store.mark_hinted(job)
    job = await held(store, job)
    job = await store.apply(job, ev.HandedBack(), actor="w1", epoch=job.lease_epoch)
    assert await due(store) == [job.id]


async def test_a_move_counts_the_hint_that_its_caller_publishes(store: Store) -> None:
    """Where the row is free and due, in the same statement; a kept lease and a later try have none."""
    asked = {"project": "shop", "snapshot": {}, "repo": REPO, "title": "A button", "request": request()}
    job = await store.create(**asked, hint=True)
    assert job is not None and job.hinted_at is not None and job.hint_no == 1
    assert await due(store) == []
    job = await held(store, job)
    job = await store.apply(job, ev.Done(), actor="w1", epoch=job.lease_epoch, hint=True)
    assert (job.state, job.hint_no) == ("planned", 2) and job.hinted_at is not None
    assert await due(store) == []
    job = await held(store, job)
    job = await store.apply(job, ev.Done(), actor="w1", epoch=job.lease_epoch, hint=True)
    assert (job.state, job.hint_no, job.hinted_at) == ("worktree_created", 2, None), "its holder goes on"
    fault = ev.Faulted(failure=OURS, delay=60)
    job = await store.apply(job, fault, actor="w1", epoch=job.lease_epoch, hint=True)
    assert (job.hint_no, job.hinted_at) == (2, None), "it is hinted when it is due"


async def test_no_hint_before_it_is_time(store: Store) -> None:
    """A try with a delay is hinted by the sweep when it is due."""
    job = await held(store, await new(store))
    job = await store.apply(job, ev.Faulted(failure=OURS, delay=60), actor="w1", epoch=job.lease_epoch)
    assert await store.mark_hinted(job) is None
    await shift(store, job, next_attempt_at=61)
    assert await store.mark_hinted(await store.get(job.id)) is not None


async def test_a_lead_ends_with_its_connection(pool: asyncpg.Pool, postgres_url: str) -> None:
    """One process leads; a connection that goes back to its pool, or breaks, has let the lead go."""
    async with await db.connect(postgres_url, size=1) as others, others.acquire() as other:
        async with pool.acquire() as c:
            assert await db.lead(c, "watch")
            assert not await db.lead(other, "watch")
            assert await db.lead(other, "poll")
        assert await db.lead(other, "watch")
    async with pool.acquire() as c:
        assert await db.lead(c, "watch")


async def test_a_transaction_that_was_left_open_ends_with_its_turn(pool: asyncpg.Pool) -> None:
    """What goes back to the pool holds nothing, though no statement resets it."""
    async with pool.acquire() as c:
        await c.execute("BEGIN")
        await c.execute("INSERT INTO updates (source) VALUES ('left')")
    assert await pool.fetchval("SELECT count(*) FROM updates") == 0
    async with pool.acquire() as c:
        assert not c.is_in_transaction()


async def test_a_new_stream_forgets_all_hints(store: Store) -> None:
    """Everything that waits for somebody is due at once; numbers go on counting."""
    job, held_job = await new(store), await held(store, await new(store))
    cancelled = await at(store, S.SANDBOX_CREATED)
    await store.apply(cancelled, ev.Cancel(by="ann"), actor="ann")
    (errand,) = await store.due_errands(Role.ENVKEEPER)
    assert await store.mark_errand_hinted(errand) == 1
    await store.mark_hinted(job)
    assert (await due(store), await store.due_errands(Role.ENVKEEPER)) == ([], [])
    await store.forget_hints()
    assert await due(store) == [job.id]
    assert held_job.id not in await due(store)
    (errand,) = await store.due_errands(Role.ENVKEEPER)
    assert (errand.hint_no, await store.mark_errand_hinted(errand)) == (1, 2)
    assert await store.mark_hinted(await store.get(job.id)) == 2


# ── the sweep ─────────────────────────────────────────────────────────────────


async def found(store: Store) -> list[tuple[str, str]]:
    return [(job.id, event.kind) for job, event in await store.swept()]


async def sweep(store: Store) -> None:
    """As the chassis does: a job that moved while it was judged is left to the next sweep."""
    for job, event in await store.swept():
        with contextlib.suppress(Stale):
            await store.apply(job, event, actor="sweep")


async def test_the_sweep_leaves_healthy_jobs_alone(store: Store) -> None:
    """Held, queued, ready, waiting, ended: nothing that time has done to them."""
    await store.seen("n1", "envkeeper", "e1")
    await held(store, await new(store))
    await new(store)
    await at(store, S.TESTS_RUNNING)
    ready = await at(store, S.READY_FOR_HUMAN_REVIEW)
    await at(store, S.READY_FOR_HUMAN_REVIEW)
    await store.apply(ready, ev.Merged(), actor="forge")
    asking = await held(store, await new(store))
    await store.apply(asking, ev.Asked(ask="budget", asks="?"), actor="w1", epoch=asking.lease_epoch)
    assert await found(store) == []


async def test_what_postgres_cannot_keep_is_replaced(store: Store, records: Records) -> None:
    """An app's log with a NUL in it, or with half an emoji, holds no outcome up: neither as text nor anywhere in JSON."""
    job = await held(store, await new(store))
    await records.put_round(job, feedback="red\0", spent={"a\0": [r"\u0000", "\\\0", "\0"]})
    (kept,) = await records.rounds(job.id)
    assert (kept.feedback, kept.spent) == ("red\ufffd", {"a\ufffd": [r"\u0000", "\\\ufffd", "\ufffd"]})
    await records.put_round(job, feedback="é 🙂 \ud83d", spent={"\ud83d": "🙂\ude42\0é"})
    (kept,) = await records.rounds(job.id)
    assert (kept.feedback, kept.spent) == ("é 🙂 \ufffd", {"\ufffd": "🙂\ufffd\ufffdé"})
    failure = Failure(blame="repo", code="setup", message="no", log_tail="\0\ud83d")
    after = await store.apply(job, ev.GaveUp(failure=failure), actor="w1", epoch=job.lease_epoch)
    assert after.failure is not None and after.failure.log_tail == "\ufffd\ufffd"


async def test_an_expired_lease(store: Store) -> None:
    """Attempt + 1, the holder fenced, claimable by another, the first time at once; after six the job is failed."""
    job = await held(store, await new(store))
    for attempt in range(2, machine.DEATHS + 1):
        await shift(store, job, lease_until=31)
        assert await found(store) == [(job.id, "lease_expired")]
        await sweep(store)
        after = await store.get(job.id)
        assert (after.state, after.attempt, after.lease_owner) == ("received", attempt, None)
        assert after.lease_epoch == job.lease_epoch + 1
        assert await found(store) == []
        await shift(store, after, next_attempt_at=0.01 if attempt == 2 else 120)
        job = await held(store, after, "w2")
    await shift(store, job, lease_until=31)
    await sweep(store)
    after = await store.get(job.id)
    assert (after.state, after.cleanup) == ("failed", "done")
    assert after.failure is not None
    assert (after.failure.code, after.failure.stage) == ("worker_died", "received")


async def test_a_renewed_lease_does_not_expire(store: Store) -> None:
    """Time that passed counts only without renewal."""
    job = await held(store, await new(store))
    await shift(store, job, lease_until=31)
    await store.renew(job.id, job.lease_epoch)
    assert await found(store) == []


async def test_two_sweepers_count_one_try(store: Store) -> None:
    """Every service sweeps: all have seen the same dead worker, one of them writes it."""
    job = await held(store, await new(store))
    await shift(store, job, lease_until=31)
    seen = [await store.swept() for _ in range(4)]
    assert all([event.kind for _, event in s] == ["lease_expired"] for s in seen)
    judged = [store.apply(j, event, actor="sweep") for s in seen for j, event in s]
    await asyncio.gather(*judged, return_exceptions=True)
    after = await store.get(job.id)
    assert (after.attempt, after.lease_epoch) == (2, job.lease_epoch + 1)


@pytest.mark.parametrize("event", [ev.LeaseExpired(), ev.DeadlinePassed(), ev.SandboxLost(reason="unseen")])
async def test_a_judgement_is_about_the_row_that_was_read(store: Store, event: ev.Event) -> None:
    """A slow sweeper, after another has swept and a new worker has begun, harms nobody."""
    read = await held(store, await at(store, S.SANDBOX_CREATED))
    await store.apply(read, event, actor="sweep:1")
    await asyncio.sleep(0.01)
    mine = await until(store, await store.get(read.id), S.SANDBOX_CREATED)
    mine = await held(store, mine, "w2")
    with pytest.raises(Stale):
        await store.apply(read, event, actor="sweep:2")
    assert await untouched(store, mine)
    assert await store.renew(mine.id, mine.lease_epoch) is not None


async def test_a_deadline(store: Store) -> None:
    """Each state's own, from its claim; time in the queue does not count."""
    job = await held(store, await new(store))
    queued = await new(store)
    await shift(store, queued, entered_at=7200, created_at=7200, next_attempt_at=7200)
    await shift(store, job, claimed_at=PHASES[S.RECEIVED].within - 5)
    assert await found(store) == []
    await shift(store, job, claimed_at=10)
    assert await found(store) == [(job.id, "deadline_passed")]
    await sweep(store)
    after = await store.get(job.id)
    assert (after.attempt, after.lease_owner, after.lease_epoch) == (2, None, 2)
    slow = await held(store, await at(store, S.IMPLEMENTATION_IN_PROGRESS))
    await store.seen("n1", "envkeeper", "e1")
    await shift(store, slow, claimed_at=PHASES[S.RECEIVED].within + 5)
    assert await found(store) == []


async def test_a_lost_node(store: Store) -> None:
    """No envkeeper of it was seen for 60 s: jobs that need their place enter at planned, others only lose it."""
    working = await held(store, await at(store, S.TESTS_RUNNING))
    ready = await at(store, S.READY_FOR_HUMAN_REVIEW)
    unplaced = await at(store, S.PLANNED)
    ended = await at(store, S.SANDBOX_CREATED)
    ended = await store.apply(ended, ev.Cancel(by="ann"), actor="ann")
    await store.seen("n1", "builder", "b1")
    await store.seen("n1", "envkeeper", "e1")
    await store.seen("n1", "envkeeper", "e1")
    assert await found(store) == []
    await store.pool.execute("UPDATE nodes SET seen_at = now() - interval '61 s'")
    assert sorted(await found(store)) == sorted((j.id, "sandbox_lost") for j in (working, ready, ended))
    await sweep(store)
    after = await store.get(working.id)
    assert (after.state, after.attempt, after.losses, after.node, after.placement) == ("planned", 2, 1, None, None)
    assert after.lease_epoch == working.lease_epoch + 1
    assert [(e.kind, e.node, e.data["placement"]) for e in await store.open_errands(after.id)] == [("cleanup", "n1", 1)]
    after = await store.get(ready.id)
    assert (after.state, after.sandbox, after.node) == ("ready_for_human_review", None, None)
    assert (await store.get(ended.id)).cleanup == "unreachable"
    assert await untouched(store, unplaced)
    assert await found(store) == []


async def test_questions_are_reminded_of_and_end(store: Store) -> None:
    """Once after a day; after seven the job is cancelled, or ready where a proved commit is."""

    async def age(job: Job, days: float) -> None:
        since = (await store.value("now")) - timedelta(days=days)
        sql = "UPDATE jobs SET waiting = jsonb_set(waiting, '{since}', to_jsonb($2::text)) WHERE id = $1"
        await store.pool.execute(sql, job.id, since.isoformat())

    async def ask(job: Job) -> Job:
        job = await held(store, job)
        return await store.apply(job, ev.Asked(ask="budget", asks="More?"), actor="w1", epoch=job.lease_epoch)

    first, later = await ask(await new(store)), await at(store, S.READY_FOR_HUMAN_REVIEW)
    later = await ask(await store.apply(later, ev.PersonPushed(head="theirs"), actor="forge"))
    await store.seen("n1", "envkeeper", "e1")
    await age(first, 0.9)
    assert await found(store) == []
    await age(first, 1.1)
    assert await found(store) == [(first.id, "reminded")]
    await sweep(store)
    assert await found(store) == []
    reminded = await store.get(first.id)
    assert reminded.waiting is not None
    assert reminded.waiting.reminded
    for job in (first, later):
        await age(job, 7.1)
    await sweep(store)
    assert ((await store.get(first.id)).state, (await store.get(first.id)).waiting) == ("cancelled", None)
    after = await store.get(later.id)
    assert (after.state, after.work_sha, after.verify, after.waiting) == ("ready_for_human_review", "c1", False, None)


async def test_a_preview_ends(store: Store) -> None:
    """After the project's hours, 24 where it says none; the stack is cleaned and the job stays ready."""
    await store.seen("n1", "envkeeper", "e1")
    short = await at(store, S.READY_FOR_HUMAN_REVIEW, preview_hours=0.5)
    usual = await at(store, S.READY_FOR_HUMAN_REVIEW)
    for job in (short, usual):
        await shift(store, job, entered_at=1801)
    assert await found(store) == [(short.id, "preview_over")]
    await sweep(store)
    after = await store.get(short.id)
    assert (after.state, after.sandbox, after.placement) == ("ready_for_human_review", None, None)
    assert [e.kind for e in await store.open_errands(short.id)] == ["cleanup"]
    assert await found(store) == []
    await shift(store, usual, entered_at=24 * 3600)
    assert await found(store) == [(usual.id, "preview_over")]


# ── errands ───────────────────────────────────────────────────────────────────


async def test_an_errand_is_claimed_renewed_and_finished_once(store: Store) -> None:
    """By one of many, on its node; a finished one is gone, and a fenced holder finishes nothing."""
    job = await at(store, S.SANDBOX_CREATED)
    await store.apply(job, ev.Cancel(by="ann"), actor="ann")
    assert await store.due_errands(Role.BUILDER) == []
    (errand,) = await store.due_errands(Role.ENVKEEPER)
    assert await store.claim_errand(errand.id, owner="e2", node="n2") is None
    found = await asyncio.gather(*(store.claim_errand(errand.id, owner=f"e{n}", node="n1") for n in range(6)))
    (mine,) = [f for f in found if f is not None]
    assert (mine.lease_epoch, mine.attempt, mine.data) == (1, 1, {"placement": 1, "node": "n1"})
    assert await store.due_errands(Role.ENVKEEPER) == []
    assert await store.renew_errand(mine)
    await store.pool.execute("UPDATE errands SET lease_until = now() - interval '1 s'")
    assert [e.id for e in await store.due_errands(Role.ENVKEEPER)] == [errand.id]
    other = await store.claim_errand(errand.id, owner="e9", node="n1")
    assert other is not None
    assert not await store.renew_errand(mine)
    assert not await store.finish_errand(mine)
    assert await store.finish_errand(other, "done")
    assert (await store.open_errands(job.id), await store.due_errands(Role.ENVKEEPER)) == ([], [])
    assert await store.claim_errand(errand.id, owner="e1", node="n1") is None


async def test_an_errand_that_fails_is_tried_later(store: Store) -> None:
    """Its reason stays with it; a delay of a fenced holder changes nothing."""
    job = await at(store, S.SANDBOX_CREATED)
    await store.apply(job, ev.Cancel(by="ann"), actor="ann")
    (errand,) = await store.open_errands(job.id)
    mine = await store.claim_errand(errand.id, owner="e1", node="n1")
    assert mine is not None
    await store.delay_errand(mine, 60, "the mount is busy")
    assert await store.claim_errand(errand.id, owner="e1", node="n1") is None
    row = await store.pool.fetchrow("SELECT * FROM errands WHERE id = $1", errand.id)
    assert row is not None
    assert (row["result"], row["done_at"], row["lease_owner"]) == ("the mount is busy", None, None)
    await store.pool.execute("UPDATE errands SET next_attempt_at = now()")
    other = await store.claim_errand(errand.id, owner="e2", node="n1")
    assert other is not None
    assert (other.attempt, other.lease_epoch) == (2, 2)
    await store.delay_errand(mine, 60, "late")
    assert await store.renew_errand(other)


# ── the log, and what is made of it ───────────────────────────────────────────


async def agrees(store: Store, job_id: str) -> None:
    assert fold.faults(await store.get(job_id), await store.events(job_id)) == []


class Life:
    """What happens to jobs by chance, on the real store; see `libs/jobs/tests` for what must hold of the rows."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.random, self.commits = store, random.Random(seed), 0

    async def step(self, job: Job) -> Job:
        job = await self.store.get(job.id)
        if job.state in WORKING and not job.waiting and not job.lease_owner:
            await shift(self.store, job, next_attempt_at=3600)
            job = await held(self.store, job)
        if job.lease_owner and self.random.random() < 0.75:
            event = self.outcome(job)
            return await self.store.apply(job, event, actor="w1", epoch=job.lease_epoch)
        event = self.outside(job)
        asked = request() if isinstance(event, ev.FollowUp) else None
        try:
            told = await self.store.tell(job.id, event, actor="ann", request=asked)
        except IllegalMove:
            return job
        assert told is not None
        return told

    def outcome(self, job: Job) -> ev.Event:
        self.commits += 1
        good = ev.Done(facts=made(job, f"c{self.commits}"))
        if self.random.random() < 0.8:
            return good
        back = ev.FellBack(feedback="red") if PHASES[State(job.state)].back else good
        other: list[ev.Event] = [
            back, back, ev.Faulted(failure=OURS), ev.HandedBack(), ev.GaveUp(failure=BROKEN),
            ev.Asked(ask="budget", asks="?"), ev.SandboxLost(reason="gone"), ev.Noted(facts={"spent": {"usd": 1}}),
        ]  # fmt: skip
        return self.random.choice(other)

    def outside(self, job: Job) -> ev.Event:
        choices: list[ev.Event] = [
            ev.FollowUp(by="ann", text="x"), ev.FollowUp(by="ann", text="y"), ev.Cancel(by="ann"), ev.Merged(),
            ev.Closed(), ev.Reopened(head=job.proved_sha or "x"), ev.Reopened(head="theirs"), ev.Retry(by="ann"),
            ev.PersonPushed(head="theirs"), ev.LeaseExpired(), ev.Unanswered(), ev.PreviewOver(),
            ev.Answered(ask=job.waiting.kind if job.waiting else "budget", answer="more", by="ann"),
            ev.Answered(ask="question:red", answer="mend", by="ann"),
        ]  # fmt: skip
        return self.random.choice(choices)


async def test_the_log_alone_tells_the_row(store: Store) -> None:
    """Folding the events gives every column that the store does not keep for itself: replay and audit stand on it."""
    life, visited = Life(store, 7), set()
    jobs = [await new(store, rounds=2, budget={"usd": 5}) for _ in range(6)]
    for n in range(600):
        job = await life.step(jobs[n % len(jobs)])
        visited.add(job.state)
        if n % 25 == 0:
            await agrees(store, job.id)
        if job.state == S.MERGED:
            await agrees(store, job.id)
            jobs[n % len(jobs)] = await new(store, rounds=2)
    for job in await store.jobs(limit=1000):
        await agrees(store, job.id)
        events = await store.events(job.id)
        assert [e["seq"] for e in events] == list(range(1, job.seq + 1))
        for before, after in itertools.pairwise(events):
            assert after["from"] == before["to"]
            assert after["epoch"] >= before["epoch"]
    assert visited == {s.value for s in State} or len(visited) >= 14, visited


async def test_the_history_of_a_job(store: Store, records: Records) -> None:
    """Every stay in every state: when, by whom, which try and round, with its faults, its artifacts and its messages."""
    job = await new(store)
    await store.pool.execute("UPDATE requests SET read_by = 'plan:1'")
    job = await held(store, job, "planner@1")
    job = await store.apply(job, ev.Faulted(failure=OURS), actor="planner@1", epoch=job.lease_epoch)
    await shift(store, job, next_attempt_at=60)
    job = await held(store, job, "planner@2")
    job = await store.apply(job, ev.Done(facts=made(job)), actor="planner@2", epoch=job.lease_epoch)
    job = await until(store, job, S.TESTS_RUNNING)
    job = await store.apply(job, ev.FellBack(feedback="red"), actor="w1", epoch=job.lease_epoch)
    await records.shown(job.id, "c1", "status", 5, 0, "")
    assert await records.lease_message(job.id, "c1", "status", "notifier@1") is not None
    await records.shown(job.id, "c1", "status", 5, job.seq, "Working")
    job = await until(store, job, S.READY_FOR_HUMAN_REVIEW)
    job = await store.apply(job, ev.Merged(), actor="forge")

    stays = await store.history(job.id)
    assert [s["state"] for s in stays] == [
        *[s.value for s in State][:8],
        "implementation_in_progress",
        *[s.value for s in State][7:14],
    ]
    for stay, following in itertools.pairwise(stays):
        assert stay["entered"] <= stay["left"] == following["entered"]
    assert stays[-1]["left"] is None
    first = stays[0]
    assert (first["actor"], first["role"], first["attempt"], first["faults"]) == ("planner@2", "planner", 2, 1)
    assert (first["tries"], first["within"]) == (machine.TRIES, PHASES[S.RECEIVED].within)
    rounds = [(s["state"], s["round"], s["attempt"]) for s in stays if s["role"] == "builder"]
    assert rounds == [
        ("dev_environment_ready", 0, 1),
        ("implementation_in_progress", 1, 1),
        ("tests_running", 1, 1),
        ("implementation_in_progress", 2, 1),
        ("tests_running", 2, 1),
        ("video_recorded", 2, 1),
    ]
    assert [s["actor"] for s in stays[-2:]] == ["forge", "none"]
    assert first["messages"] == [{"chat": "c1", "kind": "status", "message_id": 5}]
    assert stays[-1]["messages"] == []


async def test_artifacts_belong_to_the_stay_that_made_them(store: Store, records: Records) -> None:
    """Two rounds within seconds of one another: each has its own, and what comes late is the stay's that it is from."""

    async def keep(job: Job, name: str) -> None:
        key = f"jobs/{job.id}/{name}"
        await records.add_artifact(
            job, kind="log", name=name, key=key, sha256=name, size=1, content_type="text/plain", commit="c1"
        )

    job = await held(store, await at(store, S.IMPLEMENTATION_IN_PROGRESS))
    await keep(job, "first.log")
    job = await store.apply(job, ev.FellBack(feedback="red"), actor="w1", epoch=job.lease_epoch)
    await keep(job, "second.log")
    after = await until(store, job, S.TESTS_RUNNING)
    await keep(job, "late.log")
    await keep(after, "tests.log")
    stays = [(s["state"], [a["name"] for a in s["artifacts"]]) for s in await store.history(job.id)][-3:]
    assert stays == [
        ("implementation_in_progress", ["first.log"]),
        ("implementation_in_progress", ["second.log", "late.log"]),
        ("tests_running", ["tests.log"]),
    ]


# ── what is kept beside the row ───────────────────────────────────────────────


async def test_plans_are_immutable(store: Store, records: Records) -> None:
    """A second try of the same request keeps the first; a request without one has the newest before it."""
    job = await new(store)
    assert await records.plan(job.id, 1) is None
    await records.add_plan(job.id, 1, {"title": "first"})
    await records.add_plan(job.id, 1, {"title": "again"})
    await records.add_plan(job.id, 3, {"title": "third"})
    assert [await records.plan(job.id, n) for n in (1, 2, 3)] == [{"title": t} for t in ("first", "first", "third")]
    assert [p["request_no"] for p in await records.plans(job.id)] == [1, 3]


async def test_what_is_known_of_a_round_grows(store: Store, records: Records) -> None:
    """What is not said keeps what stands, false and empty included when they are said."""
    job = await at(store, S.IMPLEMENTATION_IN_PROGRESS)
    await records.put_round(job, commit="c1", parent="base", spent={"seconds": 3})
    await records.put_round(job, feedback="red", proved=True)
    await records.put_round(job, outcome="end_turn", merges="theirs")
    (kept,) = await records.rounds(job.id)
    assert (kept.request_no, kept.round, kept.commit, kept.parent, kept.feedback) == (1, 1, "c1", "base", "red")
    assert (kept.outcome, kept.proved, kept.spent, kept.merges) == ("end_turn", True, {"seconds": 3}, "theirs")
    await records.put_round(job, proved=False, feedback="", spent={})
    (kept,) = await records.rounds(job.id)
    assert (kept.proved, kept.feedback, kept.spent, kept.commit, kept.merges) == (False, "", {}, "c1", "theirs")


async def test_evidence_is_by_commit_and_the_newest_counts(store: Store, records: Records) -> None:
    """Of each kind; what was found of other commits is not mixed in."""
    job = await held(store, await at(store, S.TESTS_RUNNING))
    await records.add_evidence(job, "c1", "suites", False, {"n": 1})
    await records.add_evidence(job, "c1", "suites", True, {"n": 2})
    await records.add_evidence(job, "c1", "browser", True, {})
    await records.add_evidence(job, "c2", "suites", False, {"n": 3})
    found = await records.evidence(job.id, "c1")
    assert {k: (e.ok, e.data) for k, e in found.items()} == {"suites": (True, {"n": 2}), "browser": (True, {})}
    assert (found["suites"].epoch, found["suites"].round) == (job.lease_epoch, 1)
    assert [e.commit for e in await records.all_evidence(job.id)] == ["c1", "c1", "c1", "c2"]


async def test_artifacts(store: Store, records: Records) -> None:
    """The same key again is the same artifact; a link finds it by hash, the newest first."""
    job = await held(store, await new(store))
    facts: dict[str, Any] = {"kind": "log", "size": 3, "content_type": "text/plain"}
    await records.add_artifact(job, name="a.log", key="k1", sha256="s1", **facts)
    await records.add_artifact(job, name="a.log", key="k1", sha256="s2", **facts)
    await records.add_artifact(job, name="b.log", key="k2", sha256="s2", **facts)
    assert [(a.key, a.sha256, a.state) for a in await records.artifacts(job.id)] == [
        ("k1", "s2", "received"),
        ("k2", "s2", "received"),
    ]
    by_hash = await records.artifact(job.id, "s2")
    assert by_hash is not None
    assert by_hash.key == "k2"
    assert await records.artifact(job.id, "s1") is None
    assert await records.artifact((await new(store)).id, "s2") is None


async def test_the_base_is_examined_once(records: Records) -> None:
    """By repo and commit; the first word stands."""
    assert await records.base(REPO, "base") is None
    await records.put_base(REPO, "base", {"suites": []})
    await records.put_base(REPO, "base", {"suites": ["other"]})
    assert await records.base(REPO, "base") == {"suites": []}
    assert await records.base("https://forge/other", "base") is None


async def test_an_effect_is_intent_then_result(store: Store, records: Records) -> None:
    """The first intent stands; whoever comes next learns what is known; a fenced holder still writes its result."""
    old = await held(store, await new(store))
    effect = await records.intend(old, "push:b:c1", {"sha": "c1"})
    assert (effect.intent, effect.result) == ({"sha": "c1"}, None)
    await store.apply(old, ev.LeaseExpired(), actor="sweep")
    mine = await held(store, await store.get(old.id), "w2")
    again = await records.intend(mine, "push:b:c1", {"sha": "other"})
    assert (again.intent, again.result) == ({"sha": "c1"}, None)
    assert again.at > effect.at  # the act may begin anew from here: its own time counts from now
    await records.effect_result(old.id, "push:b:c1", {"sha": "c1", "ok": True})
    assert (await records.intend(mine, "push:b:c1", {})).result == {"sha": "c1", "ok": True}
    assert (await records.intend(mine, "push:b:c2", {})).result is None
    kept = await records.effects(old.id)
    assert [(e["key"], e["done_at"] is not None) for e in kept] == [("push:b:c1", True), ("push:b:c2", False)]


async def test_the_ledger(store: Store, records: Records) -> None:
    """Written before the thing exists, freed by kind or whole; a stray belongs to no place that a job has."""
    job = await at(store, S.SANDBOX_CREATED)
    assert await records.next_placement(job.id) == 1
    for kind, ref in (("ports", "4000-4009"), ("clone", "/d/1"), ("sandbox", "pid:1")):
        await records.own(job.id, 1, "n1", kind, ref)
    await records.own(job.id, 1, "n1", "clone", "/d/1")
    assert await records.next_placement(job.id) == 2
    assert [(o.kind, o.stray) for o in await records.owned_on("n1")] == [
        ("ports", False),
        ("clone", False),
        ("sandbox", False),
    ]
    assert await records.owned_on("n2") == []
    await records.free(job.id, 1, "clone")
    assert [o.kind for o in await records.owned_on("n1")] == ["ports", "sandbox"]
    await records.own(job.id, 1, "n1", "clone", "/d/1")
    assert len(await records.owned_on("n1")) == 3
    await store.apply(job, ev.SandboxLost(reason="gone"), actor="sweep")
    assert all(o.stray for o in await records.owned_on("n1"))
    await records.free(job.id, 1)
    assert await records.owned_on("n1") == []
    assert await records.next_placement(job.id) == 2, "a number is never given twice"


async def test_who_lives_on_a_node(store: Store) -> None:
    """Roles that were seen lately, from however many processes."""
    await store.seen("n1", "builder", "b1")
    await store.seen("n1", "builder", "b2")
    await store.seen("n1", "recorder", "r1")
    await store.seen("n2", "envkeeper", "e1")
    assert await store.live_roles("n1") == {"builder", "recorder"}
    await store.pool.execute("UPDATE nodes SET seen_at = now() - interval '31 s' WHERE owner IN ('b1', 'r1')")
    assert await store.live_roles("n1") == {"builder"}
    await store.seen("n1", "recorder", "r1")
    assert await store.live_roles("n1") == {"builder", "recorder"}


async def test_chats_that_are_behind(store: Store, records: Records) -> None:
    """A job is behind in each chat that asked for something, until its status message shows its newest event."""
    job = await new(store, asked=request(chat="c1"))
    await new(store, asked=request(chat=None))
    assert await records.behind() == [(job.id, 1, "c1")]
    assert await records.lease_message(job.id, "c1", "status", "notifier@1") is not None
    assert await records.behind() == [], "somebody writes it"
    await records.shown(job.id, "c1", "status", 50, 1, "Planning")
    assert await records.behind() == []
    job = await held(store, job)
    assert await records.behind() == [(job.id, 2, "c1")]
    await store.tell(job.id, ev.FollowUp(by="bob", text="x"), actor="bob", request=request(chat="c2"))
    assert sorted(await records.behind()) == [(job.id, 3, "c1"), (job.id, 3, "c2")]


async def test_two_notifiers_never_write_one_message(store: Store, records: Records) -> None:
    """The lease of a message is one notifier's until it has shown it, or for 30 s; what is shown never goes back."""
    job = await new(store)
    leases = await asyncio.gather(*(records.lease_message(job.id, "c1", "status", f"n{n}") for n in range(5)))
    (mine,) = [m for m in leases if m is not None]
    assert (mine.message_id, mine.shown_seq, mine.text) == (None, 0, "")
    await records.shown(job.id, "c1", "status", 50, 4, "four")
    again = await records.lease_message(job.id, "c1", "status", "n7")
    assert again is not None
    assert (again.message_id, again.shown_seq, again.text) == (50, 4, "four")
    assert await records.lease_message(job.id, "c1", "status", "n7") is not None, "its own lease it may take again"
    assert await records.lease_message(job.id, "c1", "status", "n8") is None
    await store.pool.execute("UPDATE messages SET lease_until = now() - interval '1 s'")
    assert await records.lease_message(job.id, "c1", "status", "n8") is not None
    await records.shown(job.id, "c1", "status", None, 3, "three")
    (kept,) = await records.messages(job.id)
    assert (kept.message_id, kept.shown_seq) == (50, 4)


async def test_a_reply_finds_its_job(store: Store, records: Records) -> None:
    """By what the bot sent, or by what a person wrote; in that chat only."""
    asked = request(chat="c1")
    assert asked.message_id is not None
    job = await new(store, asked=asked)
    await records.lease_message(job.id, "c1", "status", "n1")
    await records.shown(job.id, "c1", "status", 10**6, 1, "Planning")
    assert await records.job_of_message("c1", asked.message_id) == job.id
    assert await records.job_of_message("c1", 10**6) == job.id
    assert await records.job_of_message("c2", 10**6) is None


async def test_lists_and_places_in_the_queue(store: Store) -> None:
    """The newest first, of a project, live ones where asked; a job's place counts those that wait before it."""
    first, second, third = [await new(store) for _ in range(3)]
    assert [await store.queue_place(j.id) for j in (first, second, third)] == [0, 1, 2]
    await held(store, first)
    assert [await store.queue_place(j.id) for j in (second, third)] == [0, 1]
    await store.apply(second, ev.Cancel(by="ann"), actor="ann")
    assert [j.id for j in await store.jobs("shop")] == [third.id, second.id, first.id]
    assert [j.id for j in await store.jobs("shop", live=True)] == [third.id, first.id]
    assert [j.id for j in await store.jobs(limit=1)] == [third.id]
    assert await store.jobs("other") == []


async def test_the_database_refuses_what_the_table_refuses(store: Store) -> None:
    """Unknown states, kinds of events and errands, and ids that are none."""
    job = await new(store)
    for sql in (
        "UPDATE jobs SET state = 'lost' WHERE id = $1",
        "UPDATE jobs SET cleanup = 'maybe' WHERE id = $1",
        "UPDATE jobs SET node = 'Host.Name' WHERE id = $1",
        "UPDATE jobs SET id = 'j' || id WHERE id = $1",
        "UPDATE job_events SET kind = 'lost' WHERE job_id = $1",
        "INSERT INTO errands (job_id, kind) VALUES ($1, 'tidy')",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await store.pool.execute(sql, job.id)


# ── whole ways ────────────────────────────────────────────────────────────────


async def test_a_failed_job_that_is_retried_gets_ready(store: Store) -> None:
    """New place, higher epoch, the plan it has; its old place is cleaned by the errand of the failure."""
    job = await held(store, await at(store, S.SANDBOX_CREATED))
    job = await store.apply(job, ev.GaveUp(failure=BROKEN), actor="w1", epoch=job.lease_epoch)
    assert (job.state, job.cleanup, job.placement) == ("failed", "pending", 1)
    assert job.failure == BROKEN
    failed_at = job.lease_epoch
    (errand,) = await store.open_errands(job.id)
    mine = await store.claim_errand(errand.id, owner="e1", node="n1")
    assert mine is not None
    await store.finish_errand(mine)
    job = await store.apply(job, ev.Noted(facts={"cleanup": "done", "sandbox": None}), actor="envkeeper")
    assert (await store.apply(job, ev.Retry(by="ann"), actor="ann")).state == S.PLANNED
    again = await store.tell(job.id, ev.Retry(by="ann"), actor="ann")
    assert again is not None
    assert again.version == job.version + 1, "the second press is absorbed"
    assert (again.failure, again.cleanup, again.placement, again.node) == (None, None, None, None)
    job = await until(store, again, S.READY_FOR_HUMAN_REVIEW)
    assert (job.proved_sha, job.request_no, job.round) == ("c1", 1, 1)
    assert job.lease_epoch > failed_at
    assert await store.open_errands(job.id) == []


async def test_a_failed_job_goes_on_with_a_reply(store: Store, records: Records) -> None:
    """The reply is its next request, planned anew."""
    job = await held(store, await at(store, S.SANDBOX_CREATED))
    await store.apply(job, ev.GaveUp(failure=BROKEN), actor="w1", epoch=job.lease_epoch)
    told = await store.tell(job.id, ev.FollowUp(by="ann", text="node 20"), actor="ann", request=request("node 20"))
    assert told is not None
    assert (told.state, told.request_no, told.planned_no, told.failure) == ("received", 2, 1, None)
    assert [r.text for r in await records.unread(job.id)] == ["node 20"]


async def test_a_follow_up_is_proved_anew_in_the_same_place(store: Store, records: Records) -> None:
    """Same job, branch, place and pull request; a second proof, and rounds of its own."""
    job = await at(store, S.READY_FOR_HUMAN_REVIEW)
    told = await store.tell(job.id, ev.FollowUp(by="ann", text="also blue"), actor="ann", request=request())
    assert told is not None
    assert (told.state, told.request_no, told.round) == ("received", 2, 0)
    await records.mark_read(job.id, "plan:2", await records.unread(job.id))
    after = await until(store, told, S.READY_FOR_HUMAN_REVIEW, work_sha="c2")
    assert (after.proved_sha, after.work_sha, after.planned_no, after.round) == ("c2", "c2", 2, 1)
    assert (after.branch, after.placement, after.pr and after.pr.number) == (job.branch, job.placement, 7)
    assert after.pr is not None
    assert after.pr.head == "c2"


async def test_a_follow_up_that_fails_is_ready_at_what_was_proved(store: Store, records: Records) -> None:
    """Out of rounds in the second request: never failed, the first proof stands, the sandbox is put back to it."""
    job = await at(store, S.READY_FOR_HUMAN_REVIEW, rounds=2)
    told = await store.tell(job.id, ev.FollowUp(by="ann", text="also blue"), actor="ann", request=request())
    assert told is not None
    await records.mark_read(job.id, "plan:2", await records.unread(job.id))
    job = told
    for _ in range(2):
        job = await until(store, job, S.TESTS_RUNNING, work_sha="c2")
        job = await held(store, job)
        job = await store.apply(job, ev.FellBack(feedback="red"), actor="w1", epoch=job.lease_epoch)
    assert (job.state, job.proved_sha, job.work_sha) == ("ready_for_human_review", "c1", "c1")
    assert job.failure is not None
    assert job.failure.code == "out_of_rounds"
    assert [e.kind for e in await store.open_errands(job.id)] == ["reset_sandbox"]


async def test_ended_jobs_are_whole(store: Store) -> None:
    """However a job ends: no lease, no question, a cleanup that is known, and an errand where there is a place."""
    for event in (ev.Cancel(by="ann"), ev.Merged(), ev.Closed()):
        job = await at(store, S.READY_FOR_HUMAN_REVIEW)
        job = await store.apply(job, event, actor="ann")
        assert State(job.state) in TERMINAL
        assert (job.cleanup, job.lease_owner, job.waiting) == ("pending", None, None)
        assert "cleanup" in {e.kind for e in await store.open_errands(job.id)}
