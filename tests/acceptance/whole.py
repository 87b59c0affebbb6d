"""A whole factory as people run it: `factoryctl up` and a loopback Telegram as processes, one for all tests here.

`line.project(…)` gives a chat of its own with a repo of its own; a test types there and reads what the chat shows.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml
from factory_chassis.settings import Settings, read
from factory_ctl.embedded import free_port
from factory_ctl.jobs import cancel, moving
from factory_jobs import db
from factory_jobs.job import Job
from factory_jobs.records import Records
from factory_jobs.store import Store
from factory_loopback.telegram.person import RemotePerson, ShownMessage

ROOT = Path(__file__).resolve().parents[2]
NOTES = ROOT / "examples" / "notes"
TOKEN = "5000000002:acceptance"
ADA, BEN, EVE = 1001, 1002, 1003  # an owner, a member, nobody here
CHATS = [-1002000000000 - i for i in range(100)]
ON_GITHUB = range(92, 100)  # projects whose repo lies on the loopback GitHub, as acme/p<i>
FACTORY, REVIEWER, PERSON = (
    "ghp_F4ctoryCanary" + "a" * 23,
    "ghp_R3viewerCanary" + "b" * 22,
    "ghp_P3rson" + "c" * 30,
)  # tokens
FACTORYCTL = Path(sys.executable).with_name("factoryctl")
Change = Callable[[Path], None]

HEADING = "<h1>Notes</h1>"
SCENARIO = """\
scenarios:
  - name: The heading says it
    criteria: [c1]
    steps:
      - goto: /
      - expect: {role: heading, name: WORD}
"""


def heading(word: str, *, test: str = "") -> list[dict[str, Any]]:
    """Steps of an agent that gives the page another heading, with a test and a scenario for it."""
    proof = test or f"self.assertIn('<h1>{word}</h1>', notes.render([]))"
    source = f"import unittest\nimport notes\n\n\nclass Heading(unittest.TestCase):\n    def test_heading(self):\n        {proof}\n"
    return [
        {"run": f"sed -i 's#<h1>.*</h1>#<h1>{word}</h1>#' page.html"},
        {"write": {"path": "test_heading.py", "text": source}},
        {"write": {"path": ".software-factory/scenarios.yaml", "text": SCENARIO.replace("WORD", word)}},
    ]


def rounds(*steps: list[dict[str, Any]], expect: dict[int, list[str]] | None = None) -> dict[str, Any]:
    """A script whose n-th round does the n-th list of steps."""
    listed = []
    for n, do in enumerate(steps, start=1):
        listed.append({"expect": [f"Round {n} of", *(expect or {}).get(n, [])], "say": f"Round {n}.", "do": do})
    return {"rounds": listed}


@dataclass
class Project:
    """A chat, its repo, its agent's script."""

    line: "Line"
    index: int
    repo: Path
    script: Path
    ada: RemotePerson
    seen: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return f"p{self.index}"

    def play(self, script: dict[str, Any]) -> None:
        self.script.write_text(yaml.safe_dump(script, sort_keys=False))

    async def ask(self, text: str) -> Job:
        """Types a wish; the job that came of it."""
        before = {j.id for j in await self.line.store.jobs(self.name)}
        await self.ada.type(text)
        return await self.line.until(lambda: self._new(before), 20, "a job")

    async def _new(self, before: set[str]) -> Job | None:
        fresh = [j for j in await self.line.store.jobs(self.name) if j.id not in before]
        return fresh[0] if fresh else None

    async def reach(self, job: Job, *states: str, within: float = 150, request: int = 0) -> Job:
        """The job in one of these states (of this request or a later one)."""

        now = job

        async def there() -> Job | None:
            nonlocal now
            now = await self.line.store.get(job.id)
            if now.state in {"failed", "cancelled"} and now.state not in states:
                pytest.fail(f"{job.id} is {now.state}: {now.failure}")
            return now if now.state in states and now.request_no >= request else None

        def what() -> str:
            return f"{job.id} in {states}: it is {now.state}, held by {now.lease_owner}, waits {now.waiting}"

        return await self.line.until(there, within, what)

    async def shows(self, *words: str, within: float = 30) -> ShownMessage:
        """The message of the bot that holds all these words."""
        return await self.ada.wait_for(lambda m: m.from_bot and all(w in m.text for w in words), within)

    async def status_message(self, job: Job) -> ShownMessage:
        return await self.shows(job.id)

    def git(self, *args: str) -> str:
        done = subprocess.run(["git", "--git-dir", str(self.repo), *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()


class Line:
    """The running factory, seen from outside."""

    def __init__(
        self, directory: Path, telegram: str, pool: asyncpg.Pool, env: dict[str, str], pids: dict[str, int]
    ) -> None:
        self.directory, self.telegram, self.env, self.pids = directory, telegram, env, pids
        self.pool, self.store, self.records = pool, Store(pool), Records(pool)
        self._people: list[RemotePerson] = []
        self._projects: list[str] = []

    async def project(
        self, script: dict[str, Any] | None = None, *, change: Change | None = None, source: Path = NOTES
    ) -> Project:
        """The next free chat, with a repo made of `source` after `change`."""
        index = next(i for i in range(ON_GITHUB.start) if not (self.directory / "repos" / f"p{i}.git").exists())
        return await self._project(index, make_repo(self.directory, index, source, change), script)

    async def project_on_github(self, script: dict[str, Any] | None = None) -> Project:
        """The next free chat whose repo lies on the loopback GitHub, made of the notes; needs the fixture `github`."""
        index = next(i for i in ON_GITHUB if not (self.directory / "scripts" / f"p{i}.yaml").exists())
        return await self._project(index, self.directory / "repos" / f"p{index}.git", script)

    async def _project(self, index: int, repo: Path, script: dict[str, Any] | None) -> Project:
        ada = RemotePerson(self.telegram, CHATS[index], ADA)
        await ada.__aenter__()
        self._people.append(ada)
        project = Project(self, index, repo, self.directory / "scripts" / f"p{index}.yaml", ada)
        self._projects.append(project.name)
        project.play(script or rounds(heading("Lines")))
        return project

    async def close(self) -> None:
        for person in self._people:
            await person.__aexit__()

    async def cancel_all(self) -> None:
        """Every job of its projects: apps that live on for their previews would take the cores of the next test."""
        async with moving(read(Settings, self.env)) as ctl:
            for name in self._projects:
                for job in await self.store.jobs(name, live=True, limit=50):
                    await cancel(ctl, job)

    @staticmethod
    async def until(look: Callable[[], Any], seconds: float, what: str | Callable[[], str]) -> Any:
        end = time.monotonic() + seconds
        while True:
            if (found := await look()) is not None:
                return found
            if time.monotonic() > end:
                pytest.fail(f"not within {seconds} s: {what if isinstance(what, str) else what()}")
            await asyncio.sleep(0.1)

    def pid(self, service: str) -> int:
        """The service's process now."""
        for pid in pids():
            try:
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                env = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if f"factory_{service}".encode() in argv and str(self.directory).encode() in env:
                return int(pid)
        raise LookupError(service)


def pids() -> list[str]:
    return [p.name for p in Path("/proc").iterdir() if p.name.isdigit()]


def processes_of(job_id: str) -> list[str]:
    """Every living process in a sandbox of this job, by the mark that its environment carries."""
    found = []
    for pid in pids():
        try:
            env = Path(f"/proc/{pid}/environ").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state != "Z" and (f"/places/{job_id}-".encode() in env or job_id in argv):
            found.append(f"{pid} {argv[:100]}")
    return found


def make_repo(directory: Path, index: int, source: Path, change: Change | None) -> Path:
    tree, bare = directory / "seeds" / f"p{index}", directory / "repos" / f"p{index}.git"
    shutil.copytree(source, tree, ignore=shutil.ignore_patterns("__pycache__", ".software-factory"))
    if change:
        change(tree)
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for argv in (
        ["init", "-q", "-b", "main", str(tree)],
        ["-C", str(tree), "add", "-A"],
        ["-C", str(tree), "commit", "-q", "-m", "As it is"],
        ["clone", "-q", "--bare", str(tree), str(bare)],
    ):
        subprocess.run([*git, *argv], check=True, env=env, stdin=subprocess.DEVNULL)
    return bare


def write_projects(directory: Path, github: str) -> Path:
    """Projects for all chats; the second half has the plan gate, and all have two rounds."""
    projects = {}
    for i, chat in enumerate(CHATS):
        command = [sys.executable, "-P", "-m", "factory_loopback.agent", str(directory / "scripts" / f"p{i}.yaml")]
        projects[f"p{i}"] = {
            "chats": [chat],
            "users": {ADA: "owner", BEN: "member"},
            "repo": f"{github}/acme/p{i}" if i in ON_GITHUB else str(directory / "repos" / f"p{i}.git"),
            "agent": {"driver": "acp", "command": command, "label": "Scripted agent"},
            "rounds": 2,
        }
    path = directory / "factory-projects.yaml"
    path.write_text(yaml.safe_dump({"projects": projects}, sort_keys=False))
    return path


class Up:
    """`factoryctl up` as a process that can be killed and started again on the same data."""

    def __init__(self, directory: Path, telegram: str, github: str, extra: dict[str, str]) -> None:
        self.directory, self.telegram, self.github, self.extra = directory, telegram, github, extra
        self.process: subprocess.Popen[bytes] | None = None
        self.chats: subprocess.Popen[bytes] | None = None  # the loopback Telegram
        self.log = directory / "up.log"

    def argv(self) -> list[str]:
        argv = [str(FACTORYCTL), "up", "--data", str(self.directory / "factory")]
        return [*argv, "--projects", str(self.directory / "factory-projects.yaml")]

    def environment(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("FACTORY_") or k == "FACTORY_CHROMIUM"}
        return (
            env
            | {
                "FACTORY_TELEGRAM_TOKEN": TOKEN,
                "FACTORY_TELEGRAM_API": self.telegram,
                "FACTORY_POLL_TIMEOUT": "5",
                "FACTORY_LEASE_SECONDS": "6",
                "FACTORY_SWEEP_AFTER": "2",
                "FACTORY_EDIT_EVERY": "2",
                "FACTORY_FORGE_EVERY": "2",
                "FACTORY_GITHUB_API": f"{self.github}/api/v3",
                "FACTORY_GITHUB_TOKEN": FACTORY,
                "FACTORY_GITHUB_REVIEWER_TOKEN": REVIEWER,
            }
            | self.extra
        )

    def start(self) -> None:
        runs = self._runs() + 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv(), env=self.environment(), stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + 120
        while self._runs() < runs:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the factory does not come up:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def _runs(self) -> int:
        return self.log.read_text().count("the factory runs:") if self.log.exists() else 0

    def kill(self) -> None:
        """All of it at once, as a power cut would: the command, its services, its servers."""
        assert self.process is not None
        for pid in family(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(90)

    def env(self) -> dict[str, str]:
        return json.loads((self.directory / "factory" / "env.json").read_text())


def family(pid: int) -> list[int]:
    """A process and all that it started, itself first."""
    parents: dict[int, list[int]] = {}
    for p in pids():
        try:
            parents.setdefault(int(Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(int(p))
        except OSError:
            continue
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += parents.get(one, [])
    return found


def private(path: Path, *arguments: str) -> str:
    """A command's word for arguments that are to be in no process list."""
    path.touch(mode=0o600)
    path.write_text("\n".join(arguments))
    return f"@{path}"


def start_telegram(directory: Path, token: str = TOKEN, port: int = 0) -> tuple[subprocess.Popen[bytes], str]:
    argv = [sys.executable, "-m", "factory_loopback.telegram", "--data", str(directory / "telegram")]
    argv += ["--port", str(port)]
    argv.append(private(directory / "telegram.arguments", f"--token={token}"))
    for i, chat in enumerate(CHATS):
        argv += ["--chat", f"{chat}=Project {i}"]
    for user, name in ((ADA, "Ada"), (BEN, "Ben"), (EVE, "Eve")):
        argv += ["--user", f"{user}={name}"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=(directory / "telegram.log").open("wb"))
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


def running_github(up: Up, factory: str = FACTORY, reviewer: str = REVIEWER, *more: str) -> Iterator[str]:
    """A loopback GitHub where the factory expects it, with the repos of its projects there; its URL.

    `factory` and `reviewer` are their tokens, `more` further arguments.
    """
    argv = [sys.executable, "-m", "factory_loopback.github", "--port", up.github.rpartition(":")[2]]
    argv += ["--data", str(up.directory / "github")]
    for i in ON_GITHUB:
        argv += ["--repo", f"acme/p{i}={make_repo(up.directory, i, NOTES, None)}"]
    logins = {factory: "factory", reviewer: "reviewer", PERSON: "ada"}
    tokens = [f"--token={token}={login}" for token, login in logins.items()]
    argv.append(private(up.directory / "github.arguments", *tokens, *more))
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=(up.directory / "github.log").open("wb"))
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(10)


def running_factory(directory: Path, extra: dict[str, str]) -> Iterator[Up]:
    for name in ("repos", "scripts", "seeds"):
        (directory / name).mkdir()
    github = f"http://127.0.0.1:{free_port()}"
    write_projects(directory, github)
    telegram, url = start_telegram(directory)
    up = Up(directory, url, github, extra)
    up.chats = telegram
    try:
        up.start()
        yield up
    finally:
        if up.process and up.process.poll() is None:
            up.stop()
        up.chats.terminate()
        up.chats.wait(10)


async def line_of(up: Up) -> AsyncIterator[Line]:
    pool = await db.connect(up.env()["FACTORY_DATABASE_URL"], name="acceptance")
    line = Line(up.directory, up.telegram, pool, up.env(), {})
    yield line
    await line.close()
    await pool.close()
