"""Replays on a real Postgres and NATS: what a fork is made of, and that jobs and replays never meet."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest
from factory_chassis.provision import Provisioner
from factory_chassis.service import Service
from factory_chassis.work import Work
from factory_forge.errors import NoSuchBranch, NoSuchPull, NotFastForward
from factory_forge.forge import Deployment, Status
from factory_forge.forges import AUTHOR, REVIEWER
from factory_forge.recording import RecordingForge, RecordingForges
from factory_jobs import current, fold, messages
from factory_jobs import events as ev
from factory_jobs.job import Job
from factory_jobs.machine import OWNED_BY, WORKING, Role, State
from factory_jobs.records import Records
from factory_jobs.replay import CannotReplay
from factory_jobs.store import NewRequest, Store
from factory_notifier.recording import RecordingChat
from factory_telegram.words import Button, Wanted

sys.path.append(str(Path(__file__).parent))

import chassis_role as role

S = State
BRANCH = "factory/{id}-lines"


@pytest.fixture
def replays(pool: asyncpg.Pool) -> Store:
    return Store(pool, replay=True)


async def new(store: Store, repo: str = "/r.git", **snapshot: Any) -> Job:
    asked = NewRequest(source=f"t:{repo}:{id(snapshot)}", author="Ada (1)", text="Lines", chat="7", message_id=70)
    job = await store.create(project="shop", snapshot=snapshot, repo=repo, title="Lines", request=asked)
    assert job is not None
    return job


async def step(store: Store, records: Records, job: Job) -> Job:
    """One state further by its owner, with what it leaves behind; the tests of round 1 are red."""
    if not job.lease_owner:
        held = await store.claim(job.id, [job.state], owner="w1", node="n1")
        assert held is not None, job
        job = held
    here: dict[str, Any] = {}
    event: ev.Event | None = None
    commit = f"{job.request_no}{job.round}" * 20
    match job.state:
        case S.RECEIVED:
            await records.add_plan(job.id, job.request_no, {"title": f"Plan {job.request_no}"})
            await records.mark_read(job.id, f"plan:{job.request_no}", await records.unread(job.id))
            here = {"base_sha": "b" * 40}
        case S.PLANNED if job.placement is None:
            here = {"node": "n1", "placement": 1, "branch": BRANCH.format(id=job.id)}
        case S.WORKTREE_CREATED:
            here = {"sandbox": {"provider": "local", "handle": {}}}
        case S.IMPLEMENTATION_IN_PROGRESS:
            await records.put_round(
                job, commit=commit, parent=job.work_sha or "b" * 40, outcome="end_turn", bundle=commit
            )
            await records.mark_read(job.id, f"round:{job.request_no}.{job.round}", await records.unread(job.id))
            here = {"work_sha": commit}
        case S.TESTS_RUNNING:
            assert job.work_sha
            ok = job.round != 1
            await records.add_evidence(job, job.work_sha, "suites", ok, {"suites": []})
            name = f"{job.request_no}.{job.round}.log"
            await records.add_artifact(
                job,
                kind="log",
                name=name,
                key=f"jobs/{job.id}/{name}",
                sha256="0" * 64,
                size=1,
                content_type="text/plain",
            )
            if not ok:
                await records.put_round(job, feedback="red")
                event = ev.FellBack(feedback="red")
        case S.VIDEO_RECORDED:
            key = f"push:{job.branch}:{job.work_sha}"
            await records.intend(job, key, {"branch": job.branch, "sha": job.work_sha})
            await records.effect_result(job.id, key, {"sha": job.work_sha})
            pull = {
                "number": 3,
                "url": "u",
                "branch": job.branch,
                "base": "main",
                "head_sha": job.work_sha,
                "title": "t",
            }
            pull |= {"body": "", "draft": True, "state": "open", "labels": [], "author": AUTHOR}
            if (await records.intend(job, f"pull:{job.branch}", {"branch": job.branch})).result is None:
                await records.effect_result(job.id, f"pull:{job.branch}", pull)
            here = {"pr": {"number": 3, "url": "u", "head": job.work_sha, "draft": True, "state": "open"}}
        case S.REVIEW_RUNNING:
            await records.put_round(job, proved=True)
            here = {"verdict": "approved"}
    return await store.apply(job, event or ev.Done(facts=here), actor="w1", epoch=job.lease_epoch)


async def until(store: Store, records: Records, job: Job, state: State, request_no: int = 1) -> Job:
    while (job.state, job.request_no) != (state, request_no):
        job = await step(store, records, job)
    return job


async def follow_up(store: Store, job: Job, text: str) -> Job:
    asked = NewRequest(source=f"t:{text}", author="Ada (1)", text=text, chat="7", message_id=71)
    told = await store.tell(job.id, ev.FollowUp(by="Ada", text=text), actor="ada", request=asked)
    assert told is not None
    return told


@pytest.fixture
async def lived(store: Store, records: Records) -> Job:
    """A job with two requests, each of two rounds, the second with a steer in between."""
    job = await until(store, records, await new(store), S.READY_FOR_HUMAN_REVIEW)
    job = await follow_up(store, job, "Bolder")
    job = await until(store, records, job, S.TESTS_RUNNING, 2)
    await follow_up(store, job, "A steer")
    return await until(store, records, await store.get(job.id), S.READY_FOR_HUMAN_REVIEW, 2)


async def everything(pool: asyncpg.Pool, job_id: str) -> dict[str, list[Any]]:
    tables = "jobs job_events requests plans rounds evidence artifacts effects errands decisions messages owned".split()
    column = {"jobs": "id"}
    return {
        t: [tuple(r) for r in await pool.fetch(f"SELECT * FROM {t} WHERE {column.get(t, 'job_id')} = $1", job_id)]
        for t in tables
    }


# ── what a fork is made of ────────────────────────────────────────────────────


async def test_a_fork_of_every_state_is_what_was_known_then(
    store: Store, replays: Store, records: Records, pool: asyncpg.Pool, lived: Job
) -> None:
    """The row and its log agree, what needs a sandbox begins at `planned` without one; the original is as it was."""
    before = await everything(pool, lived.id)
    events = await store.events(lived.id)
    for state in sorted(WORKING):
        fork = await replays.fork(lived, state, actor="me")
        then = [e for e in events if e["to"] == state and e["from"] != state][-1]
        was = fold.as_told(lived, [e for e in events if e["seq"] <= then["seq"]])
        assert (
            fork.replay_of == lived.id and fork.replay and (fork.replay.seq, fork.replay.state) == (then["seq"], state)
        )
        assert fork.state == (state if state in {S.RECEIVED, S.PR_OPENED, S.REVIEW_RUNNING} else S.PLANNED)
        assert (fork.node, fork.placement, fork.sandbox, fork.lease_owner) == (None, None, None, None)
        for column in ("request_no", "planned_no", "round", "work_sha", "proved_sha", "pr", "verdict", "title"):
            assert getattr(fork, column) == getattr(was, column), (state, column)
        assert fold.faults(fork, await replays.events(fork.id)) == []
        assert len(await records.plans(fork.id)) == was.planned_no
        assert len(await records.requests(fork.id)) == 2 + (then["at"] >= (await records.requests(lived.id))[-1].at)
    assert await everything(pool, lived.id) == before


async def test_a_fork_of_the_whole_job_begins_with_its_first_message(
    replays: Store, records: Records, lived: Job
) -> None:
    """Nothing is planned, nothing was read; the base is the one of then, whatever the branch holds by now."""
    fork = await replays.fork(lived, actor="me")
    assert (fork.state, fork.request_no, fork.round, fork.base_sha, fork.branch) == (S.RECEIVED, 1, 0, "b" * 40, None)
    (asked,) = await records.requests(fork.id)
    assert (asked.text, asked.read_by, asked.chat) == ("Lines", None, "7")
    assert await records.job_of_message("7", 70) == lived.id, "nobody's reply finds a replay"
    for nothing in (records.plans, records.rounds, records.all_evidence, records.artifacts, records.effects):
        assert await nothing(fork.id) == []


async def test_a_round_that_had_its_commit_comes_with_it_and_what_was_found_later_does_not(
    store: Store, replays: Store, records: Records, lived: Job
) -> None:
    """From the tests of the second request's last round: that round without its proof, all before it as they ended."""
    fork = await replays.fork(lived, S.TESTS_RUNNING, actor="me")
    rounds = {(r.request_no, r.round): r for r in await records.rounds(fork.id)}
    assert sorted(rounds) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [r.feedback for r in rounds.values()] == ["red", None, "red", None]
    assert [r.proved for r in rounds.values()] == [False, True, False, False]
    assert rounds[2, 2].commit == fork.work_sha
    assert [e.ok for e in await records.all_evidence(fork.id)] == [False, True, False]
    assert [a.name for a in await records.artifacts(fork.id)] == ["1.1.log", "1.2.log", "2.1.log"]
    assert {a.key for a in await records.artifacts(fork.id)} < {a.key for a in await records.artifacts(lived.id)}
    assert len(await records.effects(fork.id)) == 2, "the first request's push and pull request"
    assert [r.read_by for r in await records.requests(fork.id)] == ["plan:1", "plan:2", "round:2.2"]


async def test_before_the_round_there_is_none_of_it(replays: Store, records: Records, lived: Job) -> None:
    """From the agent's work of the last round: its commit is not there, its steer unread."""
    fork = await replays.fork(lived, S.IMPLEMENTATION_IN_PROGRESS, actor="me")
    assert (fork.request_no, fork.round) == (2, 2)
    assert [(r.request_no, r.round) for r in await records.rounds(fork.id)] == [(1, 1), (1, 2), (2, 1)]
    assert [r.text for r in await records.unread(fork.id)] == ["A steer"]


async def test_later_answers_to_gates_come_too(
    store: Store, replays: Store, records: Records, pool: asyncpg.Pool
) -> None:
    """Nobody is asked in a replay; another question's answer is part of what came later."""
    job = await until(store, records, await new(store, rounds=5), S.PLANNED)
    for kind in ("gate:plan", "question:push"):
        held = await store.claim(job.id, [job.state], owner="w1", node="n1")
        assert held is not None
        await store.apply(held, ev.Asked(ask=kind, asks="?", sha="s"), actor="w1", epoch=held.lease_epoch)
        answer = "approve" if kind == "gate:plan" else "mine"
        job = await store.answer(job.id, ev.Answered(ask=kind, answer=answer, by="Ada", sha="s"), actor="ada")
    fork = await replays.fork(job, actor="me")
    assert [(d["kind"], d["answer"]) for d in await records.decisions(fork.id)] == [("gate:plan", "approve")]


async def test_what_cannot_be_replayed(store: Store, replays: Store, pool: asyncpg.Pool, lived: Job) -> None:
    """A state where nobody works, one that the job was never in, a role that comes too early, a log that is not whole."""
    young = await new(store, "/other.git")
    for job, state, to, words in (
        (lived, S.READY_FOR_HUMAN_REVIEW, None, "nothing is worked on in ready_for_human_review"),
        (young, S.TESTS_RUNNING, None, "has never been in tests_running"),
        (lived, S.TESTS_RUNNING, Role.PLANNER, "planner has nothing to do after planned"),
        (lived, None, Role.PERSON, "person works on no state"),
    ):
        with pytest.raises(CannotReplay, match=words):
            await replays.fork(job, state, to=to, actor="me")
    await pool.execute("DELETE FROM job_events WHERE job_id = $1 AND seq = 4", lived.id)
    with pytest.raises(CannotReplay, match=r"the log of .* is not whole: event 4 is missing"):
        await replays.fork(lived, actor="me")
    assert await replays.jobs() == []


# ── jobs and replays never meet ───────────────────────────────────────────────


async def test_a_store_sees_jobs_or_replays(
    store: Store, replays: Store, records: Records, pool: asyncpg.Pool, lived: Job
) -> None:
    """Hints, claims, sweeps, lists, chats and errands: each finds its own, and nothing of the other."""
    fork = await replays.fork(lived, S.TESTS_RUNNING, actor="me")
    states = sorted(WORKING)
    assert [j.id for j in await replays.due_hints(states)] == [fork.id] and await store.due_hints(states) == []
    assert [j.id for j in await replays.jobs()] == [fork.id] and [j.id for j in await store.jobs()] == [lived.id]
    assert (await replays.queues(states))["planned"][0] == 1 and (await store.queues(states))["planned"][0] == 0
    assert {j for j, *_ in await records.behind()} == {lived.id}
    assert {j for j, *_ in await records.behind(replay=True)} == {fork.id}
    assert await records.job_of_message("7", 71) == lived.id and await store.watched() == [lived]
    assert await store.claim(fork.id, states, owner="w", node="n1") is None
    held = await replays.claim(fork.id, states, owner="w", node="n1")
    assert held is not None
    await store.seen("n1", "envkeeper", "e1")
    await pool.execute("UPDATE jobs SET lease_until = now() - interval '1 h', claimed_at = now() - interval '9 h'")
    assert await store.swept() == []
    assert {e.kind for _, e in await replays.swept()} == {"lease_expired", "deadline_passed"}
    placed = await replays.apply(held, ev.Done(facts={"node": "n1", "placement": 1}), actor="w", epoch=held.lease_epoch)
    assert "sandbox_lost" in {e.kind for _, e in await replays.swept()}, "the envkeeper of jobs is none of its"
    assert await store.swept() == []
    await store.seen("n1", replays.seen_as("envkeeper"), "e2")
    assert "sandbox_lost" not in {e.kind for _, e in await replays.swept()}
    await replays.tell(fork.id, ev.Cancel(by="me"), actor="me")
    await replays.tell(fork.id, ev.Cancel(by="me"), actor="me")
    mine = [e for e in await replays.due_errands(Role.ENVKEEPER) if e.kind == "cleanup"]
    assert len(mine) == 1 and mine[0].replay and await store.due_errands(Role.ENVKEEPER) == []
    assert await store.claim_errand(mine[0].id, owner="w", node="n1") is None
    assert await replays.claim_errand(mine[0].id, owner="w", node="n1") is not None
    await pool.execute("UPDATE jobs SET hinted_at = now()")
    await store.forget_hints()
    hinted = dict(await pool.fetch("SELECT id, hinted_at IS NOT NULL FROM jobs"))
    assert hinted == {lived.id: False, fork.id: True}
    assert placed.id == fork.id


async def test_a_replay_counts_to_no_limit_and_waits_for_none(store: Store, replays: Store, records: Records) -> None:
    limits = {"limits": {"jobs": 1}}
    job = await until(store, records, await new(store, **limits), S.READY_FOR_HUMAN_REVIEW)
    other = await until(store, records, await new(store, x=1, **limits), S.SANDBOX_CREATED)
    assert other.node == "n1"
    fork = await replays.fork(job, S.TESTS_RUNNING, actor="me")
    held = await replays.claim(fork.id, [S.PLANNED], owner="w", node="n1", node_limit=1)
    assert held is not None, "the repo and the node are full"
    await replays.apply(held, ev.Done(facts={"node": "n1", "placement": 1}), actor="w", epoch=held.lease_epoch)
    await store.tell(other.id, ev.Cancel(by="ada"), actor="ada")
    third = await until(store, records, await new(store, y=1, **limits), S.PLANNED)
    assert await store.claim(third.id, [S.PLANNED], owner="w", node="n1", node_limit=1) is not None


async def test_a_replay_up_to_a_service_stops_there(store: Store, replays: Store, records: Records, lived: Job) -> None:
    """Whoever comes next neither hints nor takes it; work that falls back to the same service goes on."""
    fork = await replays.fork(lived, to=Role.BUILDER, actor="me")
    fork = await until(replays, records, fork, S.TESTS_RUNNING)
    fork = await step(replays, records, fork)
    assert (fork.state, fork.round, fork.stopped) == (S.IMPLEMENTATION_IN_PROGRESS, 2, False)
    fork = await until(replays, records, fork, S.BROWSER_VALIDATION_RUNNING)
    assert fork.stopped and fork.lease_owner is None
    assert await replays.due_hints(OWNED_BY[Role.RECORDER]) == []
    assert await replays.claim(fork.id, OWNED_BY[Role.RECORDER], owner="w", node="n1") is None


async def test_hints_of_replays_have_a_stream_of_their_own(nats_url: str) -> None:
    """Each role's consumers of both kinds hear their own; a stream that has drifted is put right."""
    client = await nats.connect(nats_url)
    js = client.jetstream()
    try:
        for replay in (False, True):
            for role_ in (Role.ENVKEEPER, Role.PLANNER, "notifier"):
                provisioner = Provisioner(js, role_, "n1", replay=replay)
                assert await provisioner.ensure() is (role_ is Role.ENVKEEPER)
        subjects = [
            messages.job_subject(S.PLANNED, None, "j1", replay=replay) for replay in (False, True)
        ] + [messages.errand_subject("cleanup", "n1", "j1", replay=replay) for replay in (False, True)]  # fmt: skip
        for subject in subjects:
            await js.publish(subject, b"{}")
        heard = {
            stream: {c.name: c.num_pending for c in await js.consumers_info(stream)}
            for stream in (messages.STREAM, messages.REPLAY_STREAM)
        }
        each = {"envkeeper-n1": 1, "envkeeper-n1-errands": 1, "planner": 0}
        assert heard == {"JOBS": each | {"notifier": 1}, "REPLAY": each | {"notifier": 2}}
        drifted = (await js.stream_info("REPLAY")).config
        drifted.subjects = ["factory.replay.planned.>"]
        await js.update_stream(drifted)
        assert await Provisioner(js, Role.PLANNER, "n1", replay=True).ensure() is False
        assert (await js.stream_info("REPLAY")).config.subjects == ["factory.replay.>"]
    finally:
        await client.close()


# ── what stands in for the outside ────────────────────────────────────────────


class Repo:
    """A bare repository whose branch main has moved on since the job began, and the mirror that fetched it before."""

    def __init__(self, directory: Path) -> None:
        self.path, self.tree, self.node = directory / "shop.git", directory / "tree", directory / "node"
        subprocess.run(["git", "init", "-q", "-b", "main", str(self.tree)], check=True)
        self.base = self.commit("base")
        subprocess.run(["git", "clone", "-q", "--bare", str(self.tree), str(self.path)], check=True)

    def commit(self, text: str) -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        (self.tree / "page.html").write_text(text)
        self.git("add", "-A")
        self.git(*who, "commit", "-q", "-m", text)
        return self.git("rev-parse", "HEAD")

    def git(self, *args: str) -> str:
        done = subprocess.run(["git", "-C", str(self.tree), *args], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def push(self) -> None:
        self.git("push", "-q", str(self.path), "main")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path)


@pytest.fixture
async def fork(store: Store, replays: Store, records: Records, lived: Job) -> AsyncIterator[Job]:
    """Of the second request's push: the first one's pull request is open."""
    fork = await replays.fork(lived, S.VIDEO_RECORDED, actor="me")
    token = current.job_id.set(fork.id)
    yield fork
    current.job_id.reset(token)


async def test_the_forge_of_a_replay_knows_what_was_done_by_then(postgres_url: str, fork: Job) -> None:
    """The branch at what was pushed first, the pull request as the row had it."""
    forge = RecordingForge(AUTHOR, "http://f", postgres_url)
    assert fork.pr and fork.branch
    assert await forge.tip(fork.branch) == fork.pr.head == "12" * 20
    (pull,) = await forge.pulls()
    assert (pull.number, pull.head_sha, pull.state, pull.draft) == (3, fork.pr.head, "open", fork.pr.draft)
    assert await forge.find_pull(fork.branch) == pull and await forge.find_pull("factory/other-x") is None
    assert await forge.issues() == [] and await forge.look() is None
    with pytest.raises(NoSuchPull):
        await forge.pull(4)


async def test_the_forge_of_a_replay_records(
    postgres_url: str, replays: Store, records: Records, lived: Job, repo: Repo
) -> None:
    """Push, pull request, review, comment, status, preview: each is there for who looks next, once however often."""
    fork = await replays.fork(lived, actor="me")
    current.job_id.set(fork.id)
    forges = RecordingForges("http://f/", postgres_url)
    forge, reviewer = await forges.connect("/r"), await forges.connect("/r", reviewer=True)
    assert (forge.author, reviewer.author) == (AUTHOR, REVIEWER)
    branch, mirror = BRANCH.format(id=fork.id), await _fetched(repo)
    with pytest.raises(NoSuchBranch):
        await forge.open_pull(branch=branch, base="main", title="t", body="b")
    sha = repo.commit("lines")
    repo.push()
    await mirror.fetch()
    for _ in range(2):
        await forge.push(mirror, sha, branch)
        pull = await forge.open_pull(branch=branch, base="main", title="t", body="b", labels=["x", "x"])
    assert (pull.number, pull.head_sha, pull.labels, pull.url) == (1, sha, ["x"], f"http://f/jobs/{fork.id}")
    with pytest.raises(NotFastForward):
        await forge.push(mirror, repo.base, branch)
    for _ in range(2):
        review = await reviewer.add_review(1, sha=sha, verdict="approve", body="Good.", marker="review:a")
        comment = await forge.sticky_comment(1, "report", "First")
    again = await forge.sticky_comment(1, "report", "Second")
    assert await forge.reviews(1) == [review] and await forge.comments(1) == [again] and again.id == comment.id
    await forge.set_status(Status(sha=sha, context="factory/tests", state="pending"))
    await forge.set_status(Status(sha=sha, context="factory/tests", state="success"))
    assert [(s.context, s.state) for s in await forge.statuses(sha)] == [("factory/tests", "success")]
    await forge.deploy(Deployment(sha=sha, environment="e", state="success"))
    assert [d.state for d in await forge.deployments(sha)] == ["success"]
    await forge.update_pull(1, body="c")
    assert not (await forge.mark_ready(1)).draft
    await forge.close_pull(1)
    found = await forge.pull(1)
    assert (found.state, found.body, found.title) == ("closed", "c", "t")
    assert (await forge.reopen_pull(1)).state == "open" and (await forge.set_labels(1, [])).labels == []
    assert {k.split(":")[0] for k in await records.recorded(fork.id)} == {
        "branch", "pull", "review", "comment", "status", "deployment",
    }  # fmt: skip


async def _fetched(repo: Repo) -> Any:
    from factory_forge.forges import Forges

    mirror = await Forges("http://f").mirror(repo.node, str(repo.path))
    await mirror.fetch()
    return mirror


async def test_mirrors_of_a_replay_stay_as_they_are(
    postgres_url: str, pool: asyncpg.Pool, fork: Job, repo: Repo
) -> None:
    """Nothing is fetched, and the base branch stands where the job began."""
    await _fetched(repo)
    moved = repo.commit("moved on")
    repo.push()
    await pool.execute("UPDATE jobs SET base_sha = $2 WHERE id = $1", fork.id, repo.base)
    mirror = await RecordingForges("http://f", postgres_url).mirror(repo.node, str(repo.path))
    await mirror.fetch()
    assert await mirror.resolve("main") == repo.base
    found = await _fetched(repo)
    assert await found.resolve("main") == moved
    assert await mirror.resolve("main") == repo.base, "where somebody else has fetched since"
    assert await mirror.resolve(moved) == moved


async def test_the_chat_of_a_replay_records(records: Records, fork: Job, tmp_path: Path) -> None:
    """A message a kind, edited in place; its number is none that a chat gives."""
    chat = RecordingChat(records)
    first = await chat.show(7, None, Wanted(kind="status", text="a", buttons=(Button("Cancel", "x"),)), reply_to=None)
    second = await chat.film(7, Wanted(kind="video:1", text="b"), tmp_path / "v.mp4", {}, reply_to=None)
    assert first < 0 and second < 0 and first != second
    assert await chat.show(7, first, Wanted(kind="status", text="c"), reply_to=None) == first
    kept = await records.recorded(fork.id, "message:")
    assert [m["text"] for m in kept.values()] == ["c", "b"] and kept["message:7:video:1"]["video"] == "v.mp4"


# ── services ──────────────────────────────────────────────────────────────────


async def test_services_take_their_own(store: Store, postgres_url: str, nats_url: str, s3: Any, tmp_path: Path) -> None:
    """A planner beside one for replays: the job is planned by the one, its replay by the other; each under its name."""
    access = {"endpoint": s3.endpoint, "bucket": s3.bucket, "access_key": s3.access_key, "secret_key": s3.secret_key}
    servers = {"database_url": postgres_url, "nats_url": nats_url} | {f"s3_{k}": v for k, v in access.items()}
    worked: list[tuple[bool, str, str]] = []

    def planner(replay: bool) -> Service:
        async def received(work: Work) -> ev.Event:
            worked.append((replay, work.job.id, current.job_id.get()))
            return ev.Done(facts={"title": "Planned"})

        given = role.settings(servers, tmp_path / "node", replay=replay)
        return Service("planner", given, role=Role.PLANNER, handlers={S.RECEIVED: received})

    real, other = planner(False), planner(True)
    async with role.running(real), role.running(other):
        job = await role.new_job(store)
        await role.until(lambda: (False, job.id, job.id) in worked)
        fork = await other.store.fork(await store.get(job.id), actor="me")
        await role.until(lambda: (True, fork.id, fork.id) in worked)
        assert {r["role"] for r in await store.pool.fetch("SELECT role FROM nodes")} == {"planner", "replay:planner"}
        late = await role.new_job(store, "Another")
        await role.until(lambda: (False, late.id, late.id) in worked)
    assert [w[0] for w in worked] == [False, True, False]


@pytest.mark.parametrize("name", ["intake", "console"])
async def test_a_service_that_has_no_part_in_a_replay_says_so(name: str, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "FACTORY_NODE_DIR": str(tmp_path), "FACTORY_TELEGRAM_TOKEN": "1:x"}
    (tmp_path / "projects.yaml").write_text("projects: {p: {chats: [1], users: {1: owner}, repo: /r}}")
    env["FACTORY_PROJECTS"] = str(tmp_path / "projects.yaml")
    argv = [sys.executable, "-m", f"factory_{name}", "--replay"]
    done = await asyncio.to_thread(subprocess.run, argv, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (78, f"configuration: --replay: {name} has no part in a replay\n")
