"""A job's mirror and clone as they are in life, and its records kept in memory."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from factory_agents.driver import Turn
from factory_artifacts.redact import Redactor
from factory_builder.handlers import Handlers
from factory_builder.merging import Merging
from factory_builder.settings import Settings
from factory_chassis.plan import Plan
from factory_forge.git import Mirror
from factory_forge.inside import GitInside
from factory_jobs.job import Job, Sandbox
from factory_jobs.records import Round
from factory_sandbox.contract import Answer
from factory_sandbox.errors import Refused

BRANCH = "factory/jabcdefghi2-add-a-page"
NOW = datetime.now(UTC)


class LocalPlace:
    """The part of a sandbox that git needs, as processes and files of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
        max_output: int = 1 << 20,
    ) -> SimpleNamespace:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "HOME": str(self.root.parent), **(env or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin)
        return SimpleNamespace(code=process.returncode, stdout=out, stderr=err)

    async def read_chunks(self, path: str, offset: int = 0) -> AsyncIterator[bytes]:
        yield (self.root / path).read_bytes()[offset:]

    async def read(self, path: str, *, offset: int = 0, max_bytes: int = 1 << 24) -> bytes:
        if not (self.root / path).is_file():
            raise Refused(f"{path} is not there", code="no-such-file")
        return (self.root / path).read_bytes()[offset : offset + max_bytes]

    async def write(self, path: str, data: bytes | AsyncIterator[bytes], *, mode: int = 0o644) -> int:
        assert isinstance(data, bytes)
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        return (self.root / path).write_bytes(data)


class KeptWork:
    """What handlers use of `Work`: rounds, evidence and artifacts, in memory."""

    def __init__(self, job: Job) -> None:
        self.job, self.records, self.artifacts = job, KeptRecords(self), self
        self.kept: dict[str, bytes] = {}
        self.seen: list[tuple[str, bool, Any]] = []
        self.base_result: dict[str, Any] = {}
        self.project = SimpleNamespace(base=None, gates=[])
        self.decided: list[dict[str, Any]] = []
        self.said: list[SimpleNamespace] = []
        self.public_url = "http://factory:8080"
        self.secret = "correct-horse-battery"
        self.redactor = Redactor([self.secret])
        self.log = SimpleNamespace(info=_unheard, warning=_unheard)
        self._rounds: dict[tuple[int, int], Round] = {}

    async def noted(self, note: str = "", **facts: Any) -> None:
        self.job = msgspec.structs.replace(self.job, **facts)

    async def put_round(self, job: Job, **facts: Any) -> None:
        key = (job.request_no, job.round)
        empty = dict.fromkeys(("commit", "parent", "outcome", "summary", "feedback", "bundle", "merges"))
        fresh = Round(request_no=key[0], round=key[1], proved=False, spent={}, at=NOW, **empty)  # type: ignore[arg-type]
        given = {k: v for k, v in facts.items() if v is not None}
        self._rounds[key] = msgspec.structs.replace(self._rounds.get(key, fresh), **given)

    async def rounds(self, job_id: str) -> list[Round]:
        return [self._rounds[key] for key in sorted(self._rounds)]

    async def decisions(self, job_id: str) -> list[dict[str, Any]]:
        return self.decided

    async def requests(self, job_id: str) -> list[SimpleNamespace]:
        return self.said

    async def base(self, repo: str, sha: str) -> dict[str, Any] | None:
        return self.base_result

    async def add_evidence(self, job: Job, commit: str, kind: str, ok: bool, data: Any) -> None:
        self.seen.append((kind, ok, data))

    async def all_evidence(self, job_id: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(kind=kind, ok=ok, data=data) for kind, ok, data in self.seen]

    async def keep(self, kind: str, name: str, content: Path | bytes, *, commit: str | None = None) -> SimpleNamespace:
        self.kept[name] = content if isinstance(content, bytes) else content.read_bytes()
        return SimpleNamespace(key=name)

    async def plan(self, job_id: str, request_no: int) -> dict[str, Any]:
        return {}

    async def evidence(self, job_id: str, commit: str) -> dict[str, Any]:
        return {}

    async def outside(self, key: str, intent: Any, act: Callable[[], Any], look: Callable[[], Any]) -> Any:
        return msgspec.to_builtins(await look() or await act())

    def may_act(self) -> None:
        """The lease is ours."""

    async def get_bytes(self, key: str) -> bytes:
        return self.kept[key]

    async def get_file(self, key: str, path: Path) -> None:
        path.write_bytes(self.kept[key])


class KeptRecords:
    """The same by the name `records`, where artifacts are rows."""

    def __init__(self, work: KeptWork) -> None:
        self._work = work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    async def artifacts(self, job_id: str) -> list[Any]:
        return []


class InHere(Handlers):
    """The handlers with this machine's git for a sandbox, and the contract's answers given."""

    def __init__(self, mirror: Mirror, inside: GitInside, **answers: Answer) -> None:
        super().__init__(Settings())
        self.mirror, self.inside, self.answers = mirror, inside, answers
        self.agent: Callable[[str], None] | None = None  # what it does in its turn, told of the merge
        self.turns = 0

    def _git(self, work: Any) -> GitInside:
        return self.inside

    def _sandbox(self, work: Any) -> Any:
        return self.inside.place

    async def _mirror(self, work: Any) -> Mirror:
        return self.mirror

    def _contract(self, work: Any) -> Any:
        async def run(verb: str, timeout: float) -> Answer:
            return self.answers.get(verb, Answer(verb, 0, {}))

        async def restart(ports: tuple[int, int], worktree: str) -> Answer:
            return await run("restart", 1)

        return SimpleNamespace(run=run, restart=restart)

    async def _turn(self, work: Any, parent: str, merge: Merging | None) -> Turn:
        assert self.agent is not None, "an agent was called where none is needed"
        self.turns += 1
        self.agent(merge.told() if merge else "")
        return Turn(stop_reason="end_turn", message="I did it.")

    async def _plan(self, work: Any) -> Plan:
        return Plan(title="Add a page", problem="x", scope="x", criteria=[])


def _unheard(event: str, **facts: Any) -> None:
    """A log line: its facts have to be named apart from the event."""


def git(directory: Path, *args: str) -> str:
    command = ["git", "-C", str(directory), "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *args]
    env = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    return subprocess.run(command, check=True, env=env, capture_output=True, text=True).stdout.strip()


@pytest.fixture(name="git")
def git_fixture() -> Callable[..., str]:
    """git as a person runs it."""
    return git


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A person's repository with one commit."""
    work = tmp_path / "person"
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "app.py").write_text("1\n")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "first")
    return work


@pytest.fixture
def remote(tmp_path: Path, person: Path) -> Path:
    """The bare repository that the person and the factory share."""
    bare = tmp_path / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(person), str(bare)], check=True)
    git(person, "remote", "add", "origin", str(bare))
    return bare


@pytest.fixture
async def mirror(tmp_path: Path, person: Path) -> Mirror:
    mirror = await Mirror.open(tmp_path / "mirror.git", str(person))
    await mirror.fetch()
    return mirror


@pytest.fixture
def work(person: Path) -> KeptWork:
    job = Job(
        id="jabcdefghi2",
        state="implementation_in_progress",
        version=1,
        seq=1,
        project="app",
        snapshot={},
        repo=str(person),
        title="Add a page",
        branch=BRANCH,
        base_sha=git(person, "rev-parse", "HEAD"),
        sandbox=Sandbox(provider="local", handle={}, ports=[2000, 2019]),
        round=1,
        next_attempt_at=NOW,
        created_at=NOW,
        entered_at=NOW,
    )
    return KeptWork(job)


@pytest.fixture
async def clone(tmp_path: Path, mirror: Mirror, work: KeptWork) -> Path:
    assert work.job.base_sha
    await mirror.clone_for_job(tmp_path / "job/checkout", work.job.base_sha, BRANCH)
    return tmp_path / "job/checkout"


@pytest.fixture
def git_in(work: KeptWork) -> Callable[[Path], GitInside]:
    """The factory's git in a clone."""
    return lambda clone: GitInside(LocalPlace(clone), BRANCH, work.job.base_sha or "")


@pytest.fixture
def inside(clone: Path, git_in: Callable[[Path], GitInside]) -> GitInside:
    return git_in(clone)


@pytest.fixture
def here(mirror: Mirror, inside: GitInside) -> Callable[..., InHere]:
    """The handlers, with what the contract answers by verb; where nothing is given, all is well."""
    return lambda **answers: InHere(mirror, inside, **answers)
