"""`factoryctl replay` on jobs that came to their pull requests: the same way once more, and nobody outside hears of it.

The factory's services are stopped meanwhile, its servers go on: whatever reaches the outside comes from the replay.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from factory_ctl.embedded import BUCKET, S3, Nats, Postgres
from factory_jobs import db
from factory_jobs.job import Job
from factory_jobs.records import Records
from factory_jobs.store import Store
from whole import FACTORYCTL, Line, Project, Up, heading, line_of, processes_of, rounds, running_factory, running_github

pytestmark = pytest.mark.timeout(400)
WISH = "The heading should say Lines."
TABLES = "jobs job_events requests plans rounds evidence artifacts effects errands decisions messages owned".split()


@dataclass
class Stopped:
    """A factory whose services are stopped, and whose servers run."""

    up: Up
    github: str
    here: Job  # on the local forge, in two rounds
    there: Job  # on GitHub, in one
    repo: Path  # of `here`
    script: Path  # of the agent of `here`

    def command(self, *args: str) -> list[str]:
        return [str(FACTORYCTL), *args, "--data", str(self.up.directory / "factory")]

    def heard(self) -> dict[str, Any]:
        """What reached the outside so far: calls of the Bot API, requests at GitHub, and the local forge as it is."""
        forge = self.repo.with_name(self.repo.name + ".forge.sqlite")
        return {
            "telegram": len(_get(f"{self.up.telegram}/admin/calls")),
            "github": _get(f"{self.github}/_control/journal")["total"],
            "local": hashlib.sha256(forge.read_bytes()).hexdigest(),
            "refs": subprocess.run(
                ["git", "-C", str(self.repo), "for-each-ref"], check=True, capture_output=True, text=True
            ).stdout,
        }

    def said(self) -> list[str]:
        """What a chat was told; a factory that has just come up sets the commands of one chat after the other."""
        unsaid = {"getUpdates", "setMyCommands"}
        return [call["method"] for call in _get(f"{self.up.telegram}/admin/calls") if call["method"] not in unsaid]

    async def run(self, *args: str) -> tuple[int, str, str]:
        command = self.command(*args)
        env = self.up.environment() | self.up.env()
        done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=280)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    async def replay(self, job: Job, *args: str) -> tuple[int, dict[str, Any], str]:
        code, out, err = await self.run("replay", job.id, "--json", *args)
        assert out, err
        return code, json.loads(out), err

    @contextlib.asynccontextmanager
    async def books(self) -> AsyncIterator[tuple[asyncpg.Pool, Store, Records]]:
        pool = await db.connect(self.up.env()["FACTORY_DATABASE_URL"], name="test")
        try:
            yield pool, Store(pool, replay=True), Records(pool)
        finally:
            await pool.close()

    async def rows(self, job_id: str) -> dict[str, list[tuple[Any, ...]]]:
        async with self.books() as (pool, _, _):
            column = {"jobs": "id"}
            return {
                table: sorted(  # a table has no order of its own
                    (
                        tuple(r)
                        for r in await pool.fetch(
                            f"SELECT * FROM {table} WHERE {column.get(table, 'job_id')} = $1", job_id
                        )
                    ),
                    key=repr,
                )
                for table in TABLES
            }

    async def is_gone(self, fork: str) -> None:
        """Nothing of its place is left, and its log tells its row."""
        assert processes_of(fork) == []
        node = self.up.directory / "factory" / "node"
        assert [str(p) for where in ("places", "run", "ledger") for p in (node / where).glob(f"{fork}-*")] == []
        code, out, _ = await self.run("audit", fork, "--wait", "5")
        assert (code, out) == (0, "nothing found\n")


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Postgres, NATS and S3 that outlive the factory; as its settings."""
    data = tmp_path_factory.mktemp("servers")
    postgres, bus, storage = Postgres(data), Nats(data), S3(data)
    with asyncio.Runner() as runner:
        try:
            for server in (postgres, bus, storage):
                runner.run(server.start())
            yield {
                "FACTORY_DATABASE_URL": postgres.url,
                "FACTORY_NATS_URL": bus.url,
                "FACTORY_S3_ENDPOINT": storage.endpoint,
                "FACTORY_S3_BUCKET": BUCKET,
                "FACTORY_S3_ACCESS_KEY": storage.access_key,
                "FACTORY_S3_SECRET_KEY": storage.secret_key,
            }
        finally:
            for server in (storage, bus, postgres):
                runner.run(server.stop())


@pytest.fixture(scope="module")
def stopped(servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stopped]:
    extra = servers | {"FACTORY_PORT_RANGE": "47000-47199"}
    for up in running_factory(tmp_path_factory.mktemp("replay"), extra):
        for github in running_github(up):
            with asyncio.Runner() as runner:
                played = runner.run(_play(up, github))
            assert up.stop() == 130
            yield played


async def _play(up: Up, github: str) -> Stopped:
    async for line in line_of(up):
        red = heading("Lines", test="self.fail('not yet')")
        here = await line.project(rounds(red, heading("Lines")))
        there = await line.project_on_github()
        asked = [(p, await p.ask(WISH)) for p in (here, there)]
        first, second = [await p.reach(job, "ready_for_human_review") for p, job in asked]
        assert first.round == 2
        await _told(line, here, there)
        return Stopped(up, github, first, second, here.repo, here.script)
    raise AssertionError("no line")


async def _told(line: Line, *projects: Project) -> None:
    for project in projects:
        await project.shows("Ready for your review:")
        await project.ada.wait_for(lambda m: m.media is not None, 30)
    await line.until(lambda: _nobody_behind(line), 30, "all is said")


async def _nobody_behind(line: Line) -> bool | None:
    return None if await line.records.behind() else True


# ── with the services stopped ─────────────────────────────────────────────────


async def test_a_whole_job_is_replayed_and_nobody_outside_hears_of_it(stopped: Stopped) -> None:
    """Through the same states to the same commits and verdict; the original stays as it is, the fork's place goes."""
    before, rows = stopped.heard(), await stopped.rows(stopped.here.id)
    code, result, said = await stopped.replay(stopped.here)
    assert (code, result["differences"], result["state"]) == (0, [], "ready_for_human_review"), said
    assert stopped.heard() == before
    assert await stopped.rows(stopped.here.id) == rows
    assert [s for s, _ in result["path"]].count("tests_running") == 2 and result["verdict"] == "approved"
    kinds = {key.split(":")[0] for key in result["recorded"]}
    assert kinds >= {"branch", "pull", "review", "status", "message"}
    assert "received" in said and "implementation_in_progress" in said and "round 2" in said
    await stopped.is_gone(result["job"])
    async with stopped.books() as (_, store, records):
        mine = {r.round: r.commit for r in await records.rounds(result["job"])}
        assert mine == {r.round: r.commit for r in await records.rounds(stopped.here.id)}
        messages = await records.recorded(result["job"], "message:")
        assert any("Ready for your review" in m["text"] for m in messages.values())
        fork = await store.get(result["job"])
        assert (fork.state, fork.cleanup, fork.replay_of) == ("cancelled", "done", stopped.here.id)


async def test_a_job_on_github_is_replayed_without_github(stopped: Stopped) -> None:
    """Not one request, of the API or of git."""
    before, rows = stopped.heard(), await stopped.rows(stopped.there.id)
    counted = [call["path"] for call in _get(f"{stopped.github}/_control/journal")["requests"]]
    assert any(path.endswith("/pulls") for path in counted) and any("git-receive-pack" in path for path in counted)
    code, result, said = await stopped.replay(stopped.there)
    assert (code, result["differences"]) == (0, []), said
    assert stopped.heard() == before
    assert await stopped.rows(stopped.there.id) == rows
    await stopped.is_gone(result["job"])


async def test_a_replay_begins_in_the_middle_and_stops_where_it_is_told(stopped: Stopped) -> None:
    """With the round and the commit of then, by way of a fresh place; what comes after the builder nobody takes up."""
    code, result, said = await stopped.replay(stopped.here, "--from", "tests_running", "--to", "builder")
    assert (code, result["differences"], result["stopped"]) == (0, [], True), said
    states = [s for s, _ in result["path"]]
    assert states[0] == "planned" and states[-3:] == [
        "implementation_in_progress",
        "tests_running",
        "browser_validation_running",
    ]
    assert {round_ for _, round_ in result["path"]} == {2}
    assert "recorder@" not in said
    await stopped.is_gone(result["job"])
    async with stopped.books() as (_, _, records):
        assert [r.round for r in await records.rounds(result["job"])] == [1, 2]


async def test_an_agent_that_goes_another_way_is_told_apart(stopped: Stopped) -> None:
    """With `--agent` it is called; where it makes something else, the round and the files are named."""
    kept = stopped.script.read_text()
    line = rounds(heading("Rows", test="self.fail('not yet')"), heading("Rows"))
    stopped.script.write_text(json.dumps(line))
    try:
        before = stopped.heard()
        code, result, said = await stopped.replay(stopped.here, "--from", "received", "--agent")
    finally:
        stopped.script.write_text(kept)
    assert code == 1 and stopped.heard() == before, said
    assert "round 2 of request 1: its commit differs in page.html, test_heading.py" in result["differences"]
    await stopped.is_gone(result["job"])


async def test_a_service_under_a_debugger(stopped: Stopped) -> None:
    """The command is shown; the replay waits until somebody has given it, and the others do their part."""
    command = stopped.command("replay", stopped.here.id, "--json", "--from", "tests_running", "--to", "builder")
    env = stopped.up.environment() | stopped.up.env()
    run = await asyncio.create_subprocess_exec(
        *command, "--debug", "builder", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert run.stderr is not None and run.stdout is not None
    lines: list[str] = []
    while not (lines and " -m pdb -m factory_builder --replay" in lines[-1]):
        lines.append((await asyncio.wait_for(run.stderr.readline(), 60)).decode())
        assert lines[-1], lines
    kept = Path(lines[-1].split()[1])
    assert kept.stat().st_mode & 0o077 == 0, "the settings hold secrets"
    bare = {"PATH": os.environ["PATH"], "HOME": str(stopped.up.directory)}
    mine = subprocess.Popen(["sh", "-c", lines[-1]], env=bare, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    try:
        assert mine.stdin is not None and mine.stdout is not None
        mine.stdin.write("continue\n")
        mine.stdin.flush()
        out, err = await asyncio.wait_for(run.communicate(), 120)
    finally:
        _end(mine)
    result = json.loads(out)
    assert (run.returncode, result["differences"], result["stopped"]) == (0, [], True), err.decode()
    assert not kept.exists()
    await stopped.is_gone(result["job"])


def _end(process: subprocess.Popen[str]) -> None:
    """The shell and what it started."""
    from whole import family

    for pid in family(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    process.communicate(timeout=60)


async def test_a_replay_that_was_killed_is_ended_by_the_next(stopped: Stopped) -> None:
    """Its services end with it, its place goes when somebody replays again, and nobody takes it up."""
    command = stopped.command("replay", stopped.here.id, "--json")
    env = stopped.up.environment() | stopped.up.env()
    run = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert run.stderr is not None
    killed = run.stderr.readline().split()[0]
    try:
        await Line.until(partial(_has_a_place, stopped, killed), 60, "its place")
    finally:
        run.kill()
        run.communicate()
    await asyncio.sleep(10)  # `YOUNG`: who has just made one may not have marked it yet
    code, result, said = await stopped.replay(stopped.here, "--from", "review_running")
    assert (code, result["differences"]) == (0, []), said
    assert f"{killed} was left behind by a replay that was killed; it is ended" in said
    await stopped.is_gone(killed)
    async with stopped.books() as (_, store, _):
        assert (await store.get(killed)).state == "cancelled"


async def _has_a_place(stopped: Stopped, fork: str) -> bool | None:
    return True if processes_of(fork) else None


async def test_words_that_mean_nothing_are_sentences(stopped: Stopped) -> None:
    for args, says in (
        (("--from", "tests"), "tests is no state"),
        (("--from", "merged"), "nothing is worked on in merged"),
        (("--to", "notifier"), "notifier works on no state"),
        (("--from", "review_running", "--to", "builder"), "builder has nothing to do after review_running"),
        (("--debug", "intake"), "intake has no part in a replay"),
    ):
        code, out, err = await stopped.run("replay", stopped.here.id, *args)
        assert (code, out) == (2, "") and says in err and err.count("\n") == 1, err


# ── beside a factory that works ───────────────────────────────────────────────


async def test_a_running_factory_takes_no_notice(stopped: Stopped) -> None:
    """Its services leave the replay alone, its chat is silent, its lists do not show it; the audit finds nothing."""
    stopped.up.start()
    try:
        async for line in line_of(stopped.up):
            for job in (stopped.here, stopped.there):  # their places went with the factory's stop
                await line.until(partial(_settled, line, job), 60, "the lost place is noted")
            said = stopped.said()
            code, result, out = await stopped.replay(stopped.there, "--from", "review_running")
            assert (code, result["differences"]) == (0, []), out
            async with stopped.books() as (_, store, _):
                actors = {e["actor"] for e in await store.events(result["job"])}
            live = {str(line.pid(name)) for name in ("reviewer", "builder", "envkeeper", "notifier")}
            assert not live & {actor.rpartition(".")[2] for actor in actors}
            assert stopped.said() == said
            assert result["job"] not in {j.id for j in await line.store.jobs(limit=500)}
        code, listed, _ = await stopped.run("jobs", "--all")
        assert code == 0 and result["job"] not in listed
        code, listed, _ = await stopped.run("jobs", "--all", "--replays")
        assert code == 0 and result["job"] in listed and stopped.here.id not in listed
        code, found, _ = await stopped.run("audit", "--wait", "30")
        assert (code, found) == (0, "nothing found\n")
    finally:
        stopped.up.stop()


async def _settled(line: Line, job: Job) -> bool | None:
    now = await line.store.get(job.id)
    quiet = not await line.store.open_errands(job.id) and not await line.records.behind()
    return True if now.placement is None and quiet else None
