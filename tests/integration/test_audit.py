"""`factoryctl audit` on a world that is whole: each test makes one thing wrong and gets that finding, and no other."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factory_artifacts.store import ArtifactStore
from factory_chassis.settings import Settings
from factory_ctl.audit import HINTS, Finding, audit
from factory_forge.forge import LineComment
from factory_forge.forges import Forges
from factory_forge.local import LocalForge
from factory_jobs import events as ev
from factory_jobs.job import Job
from factory_jobs.machine import PHASES, State
from factory_jobs.records import Records
from factory_jobs.store import NewRequest, Store
from factory_loopback.telegram import LoopbackTelegram
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.handle import Handle
from factory_sandbox.local import Local, Spec

CHAT = -1001234567890
GIT = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
PORTS = (47980, 47999)


@dataclass
class World:
    """One ready job with everything that belongs to it: branch, pull request, review, place, artifact, message."""

    settings: Settings
    store: Store
    records: Records
    artifacts: ArtifactStore
    telegram: LoopbackTelegram
    repo: Path
    job: Job
    handle: Handle
    shown: int  # the status message

    async def audit(self, job_id: str | None = None, *, wait: float = 0.0, deep: bool = False) -> list[Finding]:
        return await audit(self.settings, job_id, wait=wait, deep=deep)

    async def finds(self, kind: str, *words: str) -> None:
        """Exactly one thing, of this kind, in these words."""
        found = await self.audit()
        assert [f.kind for f in found] == [kind], found
        assert all(w in found[0].what for w in words), found[0].what
        assert found[0].hint == HINTS[kind]

    def git(self, *args: str, stdin: bytes = b"") -> str:
        done = subprocess.run([*GIT, "--git-dir", str(self.repo), *args], input=stdin, capture_output=True, check=True)
        return done.stdout.decode().strip()

    async def forge(self, *, reviewer: bool = False) -> LocalForge:
        forge = await Forges.of(self.settings).connect(str(self.repo), reviewer=reviewer)
        assert isinstance(forge, LocalForge)
        return forge

    async def sql(self, query: str, *args: Any) -> None:
        await self.store.pool.execute(query, *args)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A bare repository whose main has one commit."""
    tree, bare = tmp_path / "seed", tmp_path / "repos" / "shop.git"
    tree.mkdir()
    (tree / "page.html").write_text("<h1>Notes</h1>\n")
    for argv in (
        ["init", "-q", "-b", "main", str(tree)],
        ["-C", str(tree), "add", "-A"],
        ["-C", str(tree), "commit", "-q", "-m", "As it is"],
        ["clone", "-q", "--bare", str(tree), str(bare)],
    ):
        subprocess.run([*GIT, *argv], check=True)
    return bare


@pytest.fixture
async def world(
    pool: Any, postgres_url: str, s3: Any, tmp_path: Path, repo: Path, telegram_server: LoopbackTelegram
) -> AsyncIterator[World]:
    settings = Settings(
        database_url=postgres_url,  # type: ignore[arg-type]
        s3_endpoint=s3.endpoint,
        s3_bucket=s3.bucket,
        s3_access_key=s3.access_key,
        s3_secret_key=s3.secret_key,
        node_dir=tmp_path / "node",
        public_url="http://f.example",
        telegram_api=telegram_server.url,
    )
    (settings.node_dir).mkdir()
    (settings.node_dir / "node").write_text("n1")
    artifacts = ArtifactStore(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key)
    store, records = Store(pool), Records(pool)
    asked = NewRequest(source="t:1", author="Ada (1001)", text="Lines", chat=str(CHAT), message_id=None)
    job = await store.create(project="shop", snapshot={}, repo=str(repo), title="Lines", request=asked)
    assert job is not None
    await records.mark_read(job.id, "plan:1", await records.unread(job.id))
    handle = await _place(settings, records, job.id)
    world = World(settings, store, records, artifacts, telegram_server, repo, job, handle, 0)
    world.job = await _to_ready(world)
    world.shown = await _tell(world)
    yield world
    await Local().destroy(handle)
    artifacts.close()


async def _place(settings: Settings, records: Records, job_id: str) -> Handle:
    node, directory = settings.node_dir, settings.node_dir / "places" / f"{job_id}-1"
    await records.own(job_id, 1, "n1", "ports", f"{PORTS[0]}-{PORTS[1]}")
    await records.own(job_id, 1, "n1", "clone", str(directory))
    await records.own(job_id, 1, "n1", "sandbox", f"local:{job_id}-1")
    (directory / "checkout").mkdir(parents=True)
    await records.run("put_base", "r", "b", {})
    await records.pool.execute("UPDATE owned SET at = at - interval '5 min'")
    return await Local().create(
        Spec("n1", node, job_id, 1, directory / "checkout", shims={}, env={}, ports=PORTS), epoch=1
    )


async def _to_ready(world: World) -> Job:
    """Through the states, as their owners would."""
    store, job = world.store, world.job
    branch = f"factory/{job.id}-lines"
    base = world.git("rev-parse", "main")
    blob = world.git("hash-object", "-w", "--stdin", stdin=b"<h1>Lines</h1>\n")
    tree = world.git("mktree", stdin=f"100644 blob {blob}\tpage.html\n".encode())
    sha = world.git("commit-tree", tree, "-p", base, "-m", "Lines")
    facts: dict[str, dict[str, Any]] = {
        "received": {"base_sha": base},
        "planned": {"node": "n1", "placement": 1, "branch": branch},
        "worktree_created": {"sandbox": {"provider": "local", "handle": world.handle.as_dict()}},
        "implementation_in_progress": {"work_sha": sha},
    }
    while job.state != State.READY_FOR_HUMAN_REVIEW:
        if not job.lease_owner:
            claimed = await store.claim(job.id, [job.state], owner="w1", node="n1")
            assert claimed is not None
            job = claimed
        if job.state == State.VIDEO_RECORDED:
            facts[job.state] = {"pr": await _published(world, job)}
        if job.state == State.REVIEW_RUNNING:
            await _reviewed(world, job)
        assert PHASES[State(job.state)].to
        job = await store.apply(job, ev.Done(facts=facts.get(job.state, {})), actor="w1", epoch=job.lease_epoch)
    return job


async def _published(world: World, job: Job) -> dict[str, Any]:
    forge, records = await world.forge(), world.records
    assert job.branch and job.work_sha
    await records.intend(job, f"push:{job.branch}:{job.work_sha}", {"branch": job.branch, "sha": job.work_sha})
    world.git("update-ref", f"refs/heads/{job.branch}", job.work_sha)
    await records.effect_result(job.id, f"push:{job.branch}:{job.work_sha}", {"sha": job.work_sha})
    await records.intend(job, f"pull:{job.branch}", {"branch": job.branch, "base": "main"})
    pull = await forge.open_pull(branch=job.branch, base="main", title="Lines", body="It says Lines.")
    await records.effect_result(job.id, f"pull:{job.branch}", msgspec.to_builtins(pull))
    await forge.sticky_comment(pull.number, f"report:{job.id}", "It is under way.")
    stored = await world.artifacts.put_bytes(f"jobs/{job.id}/video.mp4", b"a film", "video/mp4")
    await records.add_artifact(
        job, kind="video", name="video.mp4", key=stored.key, sha256=stored.sha256, size=6, content_type="video/mp4"
    )
    return {"number": pull.number, "url": pull.url, "head": job.work_sha}


async def _reviewed(world: World, job: Job) -> None:
    assert job.pr and job.proved_sha
    key = f"review:{job.id}:{job.proved_sha}"
    await world.records.intend(job, key, {"number": job.pr.number, "sha": job.proved_sha})
    forge = await world.forge(reviewer=True)
    review = await forge.add_review(job.pr.number, sha=job.proved_sha, verdict="approve", body="Good.", marker=key)
    await world.records.effect_result(job.id, key, msgspec.to_builtins(review))


async def _tell(world: World) -> int:
    """The status message, as the notifier would send it."""
    message_id = await _send(world)
    assert await world.records.lease_message(world.job.id, str(CHAT), "status", "n") is not None
    await world.records.shown(world.job.id, str(CHAT), "status", message_id, world.job.seq, "…")
    return message_id


async def _send(world: World) -> int:
    from factory_telegram.bot import make_bot

    async with make_bot(world.telegram.token, world.telegram.url) as bot:
        text = f"<b>Lines</b>\n<code>{world.job.id}</code> · round 1 of 5\n\nIt works."
        return (await bot.send_message(CHAT, text)).message_id


# ── what is whole ─────────────────────────────────────────────────────────────


async def test_a_whole_world_has_no_findings(world: World) -> None:
    """Nothing is wrong, deep or not, of one job or of all."""
    assert await world.audit(deep=True) == []
    assert await world.audit(world.job.id) == []


async def test_what_is_under_way_is_no_finding(world: World) -> None:
    """A held lease, an intent that has no result yet, a cleanup that is still to be done, a place in the making."""
    store, job = world.store, world.job
    job = await store.apply(job, ev.PersonPushed(head="f" * 40), actor="ada")
    held = await store.claim(job.id, ["planned"], owner="e1", node="n1")
    assert held is not None
    await world.records.intend(held, "pull:another", {"branch": "another", "base": "main"})
    await world.records.own(job.id, 2, "n1", "clone", "/nowhere")
    assert await world.audit() == []
    await store.apply(held, ev.SandboxLost(reason="gone"), actor="e1", epoch=held.lease_epoch)
    assert "cleanup" in {e.kind for e in await store.open_errands(job.id)}
    assert await world.audit() == []


async def test_what_heals_itself_is_no_finding(world: World) -> None:
    """Something that is there in one look and gone in the next."""
    stray = world.settings.node_dir / "places" / "jaaaaaaaaaa-1"
    stray.mkdir()
    looking = asyncio.create_task(world.audit(wait=30))
    await asyncio.sleep(1)
    stray.rmdir()
    assert await looking == []


# ── logs ──────────────────────────────────────────────────────────────────────


async def test_a_deleted_event(world: World) -> None:
    await world.sql("DELETE FROM job_events WHERE job_id = $1 AND seq = 5", world.job.id)
    await world.finds("event", "event 5 is missing")


async def test_the_newest_event_deleted(world: World) -> None:
    await world.sql("DELETE FROM job_events WHERE job_id = $1 AND seq = $2", world.job.id, world.job.seq)
    await world.finds("event", f"event {world.job.seq} is missing")


async def test_a_changed_event(world: World) -> None:
    """What it set is not what the row holds."""
    await world.sql(
        """UPDATE job_events SET data = jsonb_set(data, '{set,work_sha}', '"abc"') WHERE data->'set' ? 'work_sha'"""
    )
    found = await world.audit()
    assert {f.kind for f in found} == {"event"} and "work_sha" in found[0].what


async def test_an_event_that_leads_elsewhere(world: World) -> None:
    await world.sql("""UPDATE job_events SET "to" = 'failed' WHERE job_id = $1 AND seq = 3""", world.job.id)
    await world.finds("event", "event 4 comes from planned", "led to failed")


async def test_a_row_that_was_changed_by_hand(world: World) -> None:
    await world.sql("UPDATE jobs SET base_sha = 'abc' WHERE id = $1", world.job.id)
    await world.finds("event", "base_sha is abc")


# ── the forge ─────────────────────────────────────────────────────────────────


async def test_a_branch_that_was_deleted(world: World) -> None:
    """While its pull request is open; afterwards people may."""
    world.git("update-ref", "-d", f"refs/heads/{world.job.branch}")
    await world.finds("effect", "is not on the forge")
    forge = await world.forge()
    await forge.close_pull(1)
    assert await world.audit() == []


async def test_a_branch_that_was_set_back(world: World) -> None:
    world.git("update-ref", f"refs/heads/{world.job.branch}", "main")
    await world.finds("effect", "does not hold it")


async def test_a_persons_commit_on_top_is_none_of_ours(world: World) -> None:
    tree = world.git("rev-parse", f"{world.job.branch}^{{tree}}")
    theirs = world.git("commit-tree", tree, "-p", str(world.job.proved_sha), "-m", "Mine")
    world.git("update-ref", f"refs/heads/{world.job.branch}", theirs)
    assert await world.audit() == []


async def test_a_pull_request_that_is_gone(world: World) -> None:
    """Its review with it; the comment is no effect."""
    _records(world, "DELETE FROM reviews", "DELETE FROM comments", "DELETE FROM pulls")
    found = await world.audit()
    assert [f.kind for f in found] == ["effect", "effect"]
    assert any("pull request #1" in f.what for f in found) and any("review" in f.what for f in found)


async def test_a_review_that_is_gone(world: World) -> None:
    _records(world, "DELETE FROM reviews")
    await world.finds("effect", "the review of")


async def test_an_effect_that_nobody_wrote_down(world: World) -> None:
    """The same from the other side: pull request, push and review without their rows."""
    for key, words in (("pull:", "was opened by no job"), ("push:", "no job pushed it"), ("review:", "made by no job")):
        await world.sql("CREATE TEMP TABLE IF NOT EXISTS kept (LIKE effects)")
        taken = await world.store.pool.fetch("DELETE FROM effects WHERE key LIKE $1 RETURNING *", f"{key}%")
        await world.finds("outside", words)
        await world.store.pool.executemany(
            "INSERT INTO effects VALUES ($1, $2, $3, $4, $5, $6, $7)", [tuple(r) for r in taken]
        )
    assert await world.audit() == []


async def test_a_stray_branch(world: World) -> None:
    """By the name of a job that never was, and by one that is none."""
    for branch in ("factory/jzzzzzzzzzz-other", "factory/by-hand"):
        world.git("update-ref", f"refs/heads/{branch}", "main")
        await world.finds("outside", branch)
        world.git("update-ref", "-d", f"refs/heads/{branch}")


async def test_a_stray_pull_request(world: World) -> None:
    branch = "factory/jzzzzzzzzzz-other"
    world.git("update-ref", f"refs/heads/{branch}", str(world.job.proved_sha))
    forge = await world.forge()
    await forge.open_pull(branch=branch, base="main", title="By hand", body="")
    found = await world.audit()
    assert [(f.kind, f.job_id) for f in found] == [("outside", "jzzzzzzzzzz")] * 2
    assert await world.audit(world.job.id) == [], "of one job alone nothing else is said"


async def test_two_pull_requests_of_one_branch(world: World) -> None:
    forge = await world.forge()
    await forge.close_pull(1)
    assert world.job.branch
    await forge.open_pull(branch=world.job.branch, base="main", title="Again", body="")
    await world.finds("double", "#1, #2")


async def test_a_review_and_a_comment_of_no_job(world: World) -> None:
    reviewer = await world.forge(reviewer=True)
    sha = str(world.job.proved_sha)
    remark = [LineComment(path="page.html", line=1, body="Hm.")]
    await reviewer.add_review(1, sha=sha, verdict="comment", body="Hm.", comments=remark, marker="review:j:x")
    await world.finds("outside", "review review:j:x")
    _records(world, "DELETE FROM reviews WHERE marker = 'review:j:x'")
    await (await world.forge()).sticky_comment(1, "report:jzzzzzzzzzz", "Not mine.")
    await world.finds("outside", "comment report:jzzzzzzzzzz")


async def test_an_effect_of_a_kind_that_nobody_can_look_for(world: World) -> None:
    """An audit that could not look says so."""
    await world.records.intend(world.job, "letter:ada", {"to": "ada"})
    await world.finds("unseen", "effect letter:ada")


async def test_a_forge_that_does_not_answer(world: World) -> None:
    """Likewise."""
    world.repo.rename(world.repo.with_name("away.git"))
    await world.finds("unseen", str(world.repo))


def _records(world: World, *statements: str) -> None:
    """On the local forge's own records."""
    import sqlite3

    db = sqlite3.connect(world.repo.with_name(world.repo.name + ".forge.sqlite"))
    with db:
        for statement in statements:
            db.execute(statement)
    db.close()


def _started(argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, **options)


# ── the machine ───────────────────────────────────────────────────────────────


async def test_a_stray_process_in_a_living_place(world: World) -> None:
    """By its mark or by its directory; what the sandbox itself runs is held."""
    sandbox = Sandbox(world.handle, node_key(world.settings.node_dir.resolve()), 1)
    place = world.settings.node_dir.resolve() / "places" / f"{world.job.id}-1"
    async with await sandbox.spawn(["sleep", "600"]):
        assert await world.audit() == []
        for env, cwd in (
            (os.environ | {"SANDBOX_PLACE": str(place)}, "/"),
            (dict(os.environ), str(place / "checkout")),
        ):
            stray = _started(["sleep", "601"], env=env, cwd=cwd)
            await world.finds("process", str(stray.pid), "sleep 601")
            stray.kill()
            stray.wait()


async def test_a_process_that_outlived_its_place(world: World) -> None:
    place = world.settings.node_dir.resolve() / "places" / "jzzzzzzzzzz-1"
    stray = _started(["sleep", "602"], env=os.environ | {"SANDBOX_PLACE": str(place)})
    await world.finds("process", "jzzzzzzzzzz-1")
    stray.kill()
    stray.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_stranger_on_a_leased_port(world: World, host: str) -> None:
    code = f"import socket; s = socket.socket(socket.AF_INET6 if ':' in {host!r} else socket.AF_INET); " + (
        f"s.bind(({host!r}, {PORTS[0] + 3})); s.listen(); print(flush=True); import time; time.sleep(600)"
    )
    stranger = _started([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    if not stranger.stdout.readline():
        pytest.skip(f"no {host} here")
    await world.finds("port", f"port {PORTS[0] + 3} is leased", str(stranger.pid))
    stranger.kill()
    stranger.wait()


async def test_an_app_on_its_own_port_is_no_stranger(world: World) -> None:
    sandbox = Sandbox(world.handle, node_key(world.settings.node_dir.resolve()), 1)
    argv = ["python3", "-m", "http.server", str(PORTS[0]), "--bind", "127.0.0.1"]
    async with await sandbox.spawn(argv):
        for _ in range(100):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", PORTS[0])
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.1)
        assert await world.audit() == []


async def test_two_leases_on_one_port(world: World) -> None:
    await world.sql("INSERT INTO owned (job_id, placement, node, kind, ref) VALUES ($1, 2, 'n1', 'ports', $2)",
                    world.job.id, f"{PORTS[1]}-{PORTS[1] + 19}")  # fmt: skip
    await world.finds("port", "have leased the same ports")


async def test_a_place_without_an_owner(world: World) -> None:
    """A directory, and a line of the node's own ledger."""
    stray = world.settings.node_dir / "places" / "jzzzzzzzzzz-2"
    stray.mkdir()
    await world.finds("place", "jzzzzzzzzzz-2", "directory")
    stray.rmdir()
    Local().reserve("n1", world.settings.node_dir, "jzzzzzzzzzz", 3)
    await world.finds("place", "jzzzzzzzzzz-3", "ledger")


async def test_a_sandbox_that_died(world: World) -> None:
    """Its row says that it lives."""
    record = msgspec.json.decode((world.settings.node_dir / "run" / f"{world.job.id}-1.json").read_bytes())
    os.kill(record["server"]["pid"], signal.SIGKILL)
    await world.finds("owned", "its server does not run")


async def test_a_place_that_is_not_there(world: World) -> None:
    """Removed by hand: clone and sandbox are named."""
    await Local().destroy(world.handle)
    found = await world.audit()
    assert [f.kind for f in found] == ["owned", "owned"]


async def test_a_row_that_nobody_needs(world: World) -> None:
    """The job lives elsewhere, and no errand is on its way."""
    await world.sql("INSERT INTO owned (job_id, placement, node, kind, ref, at) VALUES ($1, 7, 'n1', 'ports', '1-2', "
                    "now() - interval '5 min')", world.job.id)  # fmt: skip
    await world.finds("owned", "needs it no more")


async def test_another_nodes_rows_are_looked_at_there(world: World) -> None:
    await world.sql("INSERT INTO owned (job_id, placement, node, kind, ref, at) VALUES ($1, 7, 'n2', 'clone', '/x', "
                    "now() - interval '5 min')", world.job.id)  # fmt: skip
    assert await world.audit() == []


# ── the artifact store, the line, the chat ────────────────────────────────────


async def test_an_object_that_is_gone_or_changed(world: World) -> None:
    """By size in every audit, by content in a deep one."""
    key = f"jobs/{world.job.id}/video.mp4"
    await world.artifacts.put_bytes(key, b"a fil", "video/mp4")
    await world.finds("artifact", "holds 5 bytes")
    await world.artifacts.put_bytes(key, b"a pilm", "video/mp4")
    assert await world.audit() == []
    (deep,) = await world.audit(deep=True)
    assert deep.kind == "artifact" and "other bytes" in deep.what
    await world.sql("UPDATE artifacts SET key = 'jobs/nothing'")
    await world.finds("artifact", "not in the artifact store")


async def test_an_artifact_store_that_does_not_answer(world: World) -> None:
    world.settings = world.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    await world.finds("unseen", "the artifact store")


async def test_a_lease_that_nobody_renews(world: World) -> None:
    job = await world.store.apply(world.job, ev.PersonPushed(head="f" * 40), actor="ada")
    await world.store.claim(job.id, ["planned"], owner="dead", node="n1")
    await world.sql("UPDATE jobs SET lease_until = now() - interval '5 min'")
    await world.finds("lease", "dead renews no longer")


async def test_a_job_that_nobody_hints(world: World) -> None:
    await world.store.apply(world.job, ev.PersonPushed(head="f" * 40), actor="ada")
    await world.sql("UPDATE jobs SET entered_at = now() - interval '5 min', next_attempt_at = now() - interval '5 min'")
    await world.finds("hint", "planned: it is due")


async def test_an_errand_that_nobody_hints(world: World) -> None:
    await world.sql("INSERT INTO errands (job_id, kind, next_attempt_at) VALUES ($1, 'close_pr', now() - interval '5 min')",
                    world.job.id)  # fmt: skip
    await world.finds("hint", "errand close_pr")


async def test_a_chat_that_shows_less_than_there_is(world: World) -> None:
    await world.sql("UPDATE messages SET shown_seq = 3")
    assert await world.audit() == [], "it is young"
    await world.sql("UPDATE job_events SET at = at - interval '5 min'")
    await world.finds("chat", "shows event 3")


async def test_a_second_status_message(world: World) -> None:
    """Another message that names the job is none."""
    from factory_telegram.bot import make_bot

    async with make_bot(world.telegram.token, world.telegram.url) as bot:
        await bot.send_message(CHAT, f"Ready for your review: Lines ({world.job.id})")
    assert await world.audit() == []
    again = await _send(world)
    await world.finds("double", f"message {again}", f"it has {world.shown}")


async def test_a_message_that_is_gone(world: World) -> None:
    await world.sql("UPDATE messages SET message_id = 4242")
    found = await world.audit()
    assert [f.kind for f in found] == ["double", "effect"], "the one that stands there is known to nobody"


# ── the command ───────────────────────────────────────────────────────────────


async def test_the_command(world: World) -> None:
    """0 and a word where nothing is wrong; 1 and a line each where something is; JSON for machines; one job alone."""
    s = world.settings
    env = os.environ | {
        "FACTORY_DATABASE_URL": s.database_url.get_secret_value(),
        "FACTORY_S3_ENDPOINT": s.s3_endpoint,
        "FACTORY_S3_BUCKET": s.s3_bucket,
        "FACTORY_S3_ACCESS_KEY": s.s3_access_key,
        "FACTORY_S3_SECRET_KEY": s.s3_secret_key.get_secret_value(),
        "FACTORY_NODE_DIR": str(s.node_dir),
    }

    async def run(*args: str) -> tuple[int, str]:
        argv = [str(Path(sys.executable).with_name("factoryctl")), "audit", "--wait", "0", *args]
        done = await asyncio.to_thread(subprocess.run, argv, env=env, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    assert await run() == (0, "nothing found\n")
    await world.sql("DELETE FROM job_events WHERE job_id = $1 AND seq = 5", world.job.id)
    code, said = await run()
    assert code == 1 and f"event     {world.job.id}  event 5 is missing" in said and "1 finding" in said
    code, said = await run("--json", world.job.id[:6])
    assert code == 1 and msgspec.json.decode(said)["findings"][0]["kind"] == "event"
    assert (await run("jzzzzzzzzzz"))[0] == 2
