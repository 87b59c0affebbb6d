"""The composed factory, tried out: two jobs, a container stopped in the middle, a node killed, no token to be seen.

`scripts/test-compose` runs it. Writes var/compose/result.json; ends with 0 where all held, or where there is no engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from engine import Engine, NoEngine, engine
from factory_loopback.telegram.person import RemotePerson
from images import Images
from leaks import found
from stack import ADA, CHATS, ROOT, Stack, until

RESULT = ROOT / "var" / "compose" / "result.json"
BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


class Story:
    """One after the other; each step asserts what it is about."""

    def __init__(self, engine: Engine, stack: Stack) -> None:
        self.engine, self.stack = engine, stack
        self.seconds: dict[str, float] = {}
        self.facts: dict[str, Any] = {}
        self._telegram = ""

    async def tell(self) -> None:
        await self._timed("up", asyncio.to_thread(self.stack.up))
        self._telegram = f"http://127.0.0.1:{self.stack.port('telegram', 8090)}"
        self.all_run()
        one = await self._timed("job one, its builder stopped in the middle", self.job_with_a_stopped_builder())
        await self._timed("preview, pages and video of job one", self.evidence(one))
        await self._timed("job two, its node killed in the middle", self.job_with_a_killed_node())
        self.memory()
        await self._timed("tokens looked for", asyncio.to_thread(self.no_token_is_seen))

    async def _timed(self, what: str, work: Any) -> Any:
        say(f"{what} …")
        began = time.monotonic()
        done = await work
        self.seconds[what] = round(time.monotonic() - began, 1)
        return done

    def all_run(self) -> None:
        """As many as were asked for; none of ours as root, with a capability, or with a root file system to write on."""
        stack = self.stack
        assert len(stack.inspect("planner", "{{.Id}}")) == 3 and len(stack.inspect("reviewer", "{{.Id}}")) == 2
        form = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.Privileged}}"
        for service in "intake planner envkeeper builder recorder reviewer notifier console".split():
            assert set(stack.inspect(service, form)) == {"10001:10001 true [ALL] false"}, service

    # ── job one ───────────────────────────────────────────────────────────────

    async def job_with_a_stopped_builder(self) -> dict[str, Any]:
        """SIGTERM in the agent's round: the builder leaves in good order, and goes on with the job when it is back."""
        stack = self.stack
        async with RemotePerson(self._telegram, CHATS["one"], ADA) as ada:
            job_id = await self._ask(ada, "The heading should say Lines.")
            await self._under_way("one")
            began = time.monotonic()
            stack.compose("stop", "builder")
            self.seconds["the builder's end"] = round(time.monotonic() - began, 1)
            assert stack.inspect("builder", "{{.State.ExitCode}}") == ["0"]
            left = await stack.job(job_id)
            assert (left["state"], left["lease_owner"]) == ("implementation_in_progress", None)
            say("builder stopped in its round; started again")
            stack.compose("start", "builder")
            job = await self._ready(job_id)
            assert (job["placement"], job["round"], job["verdict"]) == (1, 1, "approved")
            await ada.wait_for(lambda m: m.from_bot and "Ready for your review" in m.text, 60)
            await ada.wait_for(lambda m: m.media is not None and m.media.kind == "video", 60)
        return job

    async def evidence(self, job: dict[str, Any]) -> None:
        """From the machine that the containers run on, as a person there would look at it."""
        preview = await asyncio.to_thread(get, job["sandbox"]["preview_url"])
        assert b"<h1>Lines</h1>" in preview, preview[:500]
        page = (await asyncio.to_thread(get, job["pr"]["url"])).decode()
        videos = re.findall(r"/a/[a-z0-9]+/[0-9a-f]{64}/[\w.-]+\.mp4", page)
        assert videos, "the pull request's page shows no video"
        video = await asyncio.to_thread(get, self.stack.public_url + videos[0])
        assert video[4:8] == b"ftyp", video[:20]
        branch = subprocess.run(
            ["git", "-c", "safe.directory=*", "--git-dir", str(self.stack.directory / "repos/notes.git"), "rev-parse", job["branch"]],
            capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        assert branch == job["proved_sha"] == job["pr"]["head"]
        self.facts |= {
            "preview": job["sandbox"]["preview_url"],
            "pull request": job["pr"]["url"],
            "video bytes": len(video),
        }

    # ── job two ───────────────────────────────────────────────────────────────

    async def job_with_a_killed_node(self) -> None:
        """SIGKILL to envkeeper's container in the second round: its sandboxes are gone, and the job is placed anew from the
        checkpoint of its first. What was proved stays proved."""
        stack = self.stack
        async with RemotePerson(self._telegram, CHATS["two"], ADA) as ada:
            job_id = await self._ask(ada, "The heading should say Jottings.")
            await self._under_way("two")
            before = await stack.job(job_id)
            assert (before["placement"], before["round"]) == (1, 2)
            stack.compose("kill", "envkeeper")
            say("envkeeper killed in the agent's second round; started again")
            stack.compose("start", "envkeeper")
            job = await self._ready(job_id)
            assert (job["placement"], job["round"]) == (2, 2)
            preview = await asyncio.to_thread(get, job["sandbox"]["preview_url"])
            assert b"<h1>Jottings</h1>" in preview, preview[:500]
        first = next(j for j in await stack.jobs() if j["id"] != job_id)
        assert first["state"] == "ready_for_human_review"

    async def _ask(self, ada: RemotePerson, wish: str) -> str:
        known = {j["id"] for j in await self.stack.jobs()}
        await ada.type(wish)
        say(f"Ada types: {wish}")

        async def new() -> str | None:
            return next((j["id"] for j in await self.stack.jobs() if j["id"] not in known), None)

        return await until(new, 30, "a job")

    async def _under_way(self, marker: str) -> None:
        """The agent has begun the step in which it lingers."""

        async def look() -> bool:
            return await asyncio.to_thread(self.stack.has, "envkeeper", f"/tmp/{marker}")

        await until(look, 120, "the agent's turn")

    async def _ready(self, job_id: str) -> dict[str, Any]:
        seen = ""

        async def look() -> dict[str, Any] | None:
            nonlocal seen
            job = await self.stack.job(job_id)
            if job["state"] != seen:
                seen = job["state"]
                say(f"  {job_id} {seen}")
            assert seen not in {"failed", "cancelled"}, job["failure"]
            return job if seen == "ready_for_human_review" else None

        return await until(look, 240, f"{job_id} is ready")

    # ── the rest ──────────────────────────────────────────────────────────────

    def memory(self) -> None:
        """As the engine counts it: with what the processes have in files' pages."""
        form = "{{.Name}} {{.MemUsage}}"
        lines = self.engine.run(
            "stats", "--no-stream", "--format", form, *self.stack.containers(all=False)
        ).splitlines()
        used = {line.split()[0].removeprefix(f"{self.stack.project}-"): line.split()[1] for line in lines}
        self.facts["memory"] = dict(sorted(used.items()))
        say("memory: " + ", ".join(f"{name} {size}" for name, size in sorted(used.items())))

    def no_token_is_seen(self) -> None:
        directory = self.stack.directory / "secrets"
        secret = "telegram_token github_token github_reviewer_token api_token postgres_password s3_secret_key".split()
        leaks = found(
            self.engine, self.stack, self.stack.images.names(), {n: (directory / n).read_text().strip() for n in secret}
        )
        assert not leaks, "\n".join(leaks)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def main() -> int:
    options = argparse.ArgumentParser(prog="scripts/test-compose", description=__doc__)
    options.add_argument("--keep", action="store_true", help="leave it running until Enter, before it is taken down")
    asked = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken down then, too
    result: dict[str, Any] = {"holds": False}
    try:
        with ExitStack() as undo:
            play(undo, result, keep=asked.keep)
    except NoEngine as e:
        print(f"test-compose: skipped: {e}")
        return 0
    except subprocess.CalledProcessError as e:
        result["failed"] = f"{' '.join(e.cmd)}: {e.returncode}\n{(e.stderr or e.stdout or '')[-4000:]}"
    except (AssertionError, TimeoutError, subprocess.TimeoutExpired):
        result["failed"] = traceback.format_exc(limit=-3)
    if "failed" in result:
        say(f"FAILED: {result['failed']}")
    result["seconds"]["in all"] = round(time.monotonic() - BEGAN, 1)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    say(f"{'all held' if result['holds'] else 'it did not hold'}; {RESULT.relative_to(ROOT)}")
    return 0 if result["holds"] else 1


def play(undo: ExitStack, result: dict[str, Any], *, keep: bool) -> None:
    """Everything that is made is on `undo`, so it goes whatever happens."""
    result["seconds"] = {}
    dock = undo.enter_context(engine(say))
    images = Images(dock, str(os.getpid()), say)
    undo.callback(images.remove)
    images.build()
    result["seconds"] |= {f"image {name}": seconds for name, seconds in images.seconds.items()}
    result |= {"stood in for": images.stood_in, "megabytes": images.megabytes()}
    began = time.monotonic()
    result["contract"] = contract(dock, images)
    result["seconds"]["the contract's Compose services"] = round(time.monotonic() - began, 1)
    directory = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="factory-compose-")))
    directory.chmod(0o755)
    stack = Stack(dock, images, directory)
    stack.prepare()
    undo.callback(taken_down, stack, result)
    story = Story(dock, stack)
    try:
        asyncio.run(story.tell())
        result["holds"] = True
    finally:
        result["seconds"] |= story.seconds
        result |= story.facts
        if not result["holds"]:
            logs = ROOT / "var" / "compose" / "logs.txt"
            logs.parent.mkdir(parents=True, exist_ok=True)
            logs.write_text(stack.compose("logs", "--no-color", "--timestamps"))
            say(f"the containers' logs: {logs.relative_to(ROOT)}")
        if keep:
            input(f"{stack.public_url}  {story._telegram}/chat/{CHATS['one']}  Enter takes it down. ")


def contract(dock: Engine, images: Images) -> str:
    """`factory` with services of Compose files, in this engine; pytest's own last line. Skipped is not passed."""
    say("the contract's Compose services …")
    env = dock.env | {"TEST_COMPOSE": "1", "TEST_COMPOSE_IMAGE": images.env["BASE_IMAGE"]}
    argv = [sys.executable, "-m", "pytest", "libs/contract/tests/test_compose_engine.py", "-p", "no:cacheprovider"]
    done = subprocess.run(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    last = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0 and " passed" in last, done.stdout[-4000:]
    say(f"  {last}")
    return last


def taken_down(stack: Stack, result: dict[str, Any]) -> None:
    began = time.monotonic()
    stack.down()
    result["seconds"]["down"] = round(time.monotonic() - began, 1)
    left = stack.containers()
    result["holds"] = result["holds"] and not left
    say(f"taken down; containers left: {len(left)}")


if __name__ == "__main__":
    sys.exit(main())
