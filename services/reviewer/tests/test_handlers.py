"""What the reviewer reads and where it comments, on a real local forge whose base branch has moved."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factory_forge.local import LocalForge
from factory_jobs import events as ev
from factory_jobs.job import Job, Pull
from factory_reviewer.handlers import Handlers
from factory_reviewer.settings import Settings

BRANCH = "factory/jabcdefghi2-add-a-page"
NOW = datetime.now(UTC)


class KeptWork:
    """What the handler uses of `Work`, its records and its redactor, in memory."""

    public_url = "http://factory:8080"
    project = SimpleNamespace(base=None)
    redactor = SimpleNamespace(text=lambda text: text)

    def __init__(self, job: Job) -> None:
        self.job, self.records, self.log = job, self, SimpleNamespace(info=self._unheard, warning=self._unheard)
        self.found: dict[str, Any] = {}

    @staticmethod
    def _unheard(event: str, **facts: Any) -> None: ...

    def may_act(self) -> None: ...

    async def outside(self, key: str, intent: Any, act: Any, look: Any) -> Any:
        return await look() or await act()

    async def keep(self, *args: Any, **facts: Any) -> None: ...

    async def put_round(self, job: Job, **facts: Any) -> None: ...

    async def add_evidence(self, job: Job, commit: str, kind: str, ok: bool, data: Any) -> None:
        self.found[kind] = data

    async def plan(self, job_id: str, request_no: int) -> dict[str, Any]:
        return {}

    async def base(self, repo: str, sha: str) -> dict[str, Any]:
        return {}

    async def evidence(self, job_id: str, commit: str) -> dict[str, Any]:
        return {}

    async def requests(self, job_id: str) -> list[Any]:
        return []

    rounds = artifacts = requests


class Person:
    """A clone of the forge's repository; the job's branch is made in it as the factory would have pushed it."""

    def __init__(self, directory: Path) -> None:
        self.clone, self.bare = directory / "person", directory / "origin.git"
        subprocess.run(["git", "init", "-q", "-b", "main", str(self.clone)], check=True)
        self.base = self.commit({"app.py": "one\ntwo\n"})
        subprocess.run(["git", "clone", "-q", "--bare", str(self.clone), str(self.bare)], check=True)
        self.git("remote", "add", "origin", str(self.bare))

    def git(self, *args: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.clone)}
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        done = subprocess.run(["git", "-C", str(self.clone), *who, *args], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: dict[str, str]) -> str:
        for name, text in files.items():
            (self.clone / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def push(self, branch: str) -> str:
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


async def opened(person: Person, head: str) -> tuple[KeptWork, LocalForge]:
    forge = LocalForge(person.bare, "software-factory", "http://factory:8080")
    pull = await forge.open_pull(branch=BRANCH, base="main", title="t", body="b")
    job = Job(
        id="jabcdefghi2",
        state="review_running",
        version=1,
        seq=1,
        project="app",
        snapshot={},
        repo=str(person.bare),
        title="Add a page",
        branch=BRANCH,
        base_sha=person.base,
        work_sha=head,
        proved_sha=head,
        pr=Pull(number=pull.number, url=pull.url, head=head),
        round=1,
        next_attempt_at=NOW,
        created_at=NOW,
        entered_at=NOW,
    )
    return KeptWork(job), forge


def reviewer(tmp_path: Path) -> Handlers:
    return Handlers(Settings(node_dir=tmp_path / "node"))


async def test_a_base_that_was_merged_in_is_not_the_jobs_work(tmp_path: Path, person: Person) -> None:
    """What the base brought is neither judged nor commented on: the forge does not show it, and would refuse."""
    person.git("checkout", "-q", "-b", "job")
    person.commit({"app.py": "one\ntwo\nbreakpoint()\n"})
    person.git("checkout", "-q", "main")
    person.commit({"base.py": "breakpoint()\n", "Dockerfile": "FROM scratch\n"})
    person.push("main")
    person.git("checkout", "-q", "job")
    person.git("merge", "-q", "--no-ff", "-m", "both", "main")
    work, forge = await opened(person, person.push(BRANCH))
    event = await reviewer(tmp_path).review_running(work)  # type: ignore[arg-type]
    assert isinstance(event, ev.Done)
    assert {f["path"] for f in work.found["review"]["findings"]} == {"app.py"}
    (review,) = await forge.reviews(1)
    assert {(c.path, c.line) for c in review.comments} == {("app.py", 3)}
    assert not (await forge.pull(1)).draft


async def test_a_base_that_moved_on_by_itself(tmp_path: Path, person: Person) -> None:
    """What it deleted or changed since does not look like the job's doing."""
    person.git("checkout", "-q", "-b", "job")
    person.commit({"page.py": "x = 1\n", "test_page.py": "def test_page():\n    pass\n"})
    head = person.push(BRANCH)
    person.git("checkout", "-q", "main")
    person.commit({"app.py": "other\n", "test_app.py": "def test_app():\n    pass\n"})
    person.push("main")
    work, forge = await opened(person, head)
    await reviewer(tmp_path).review_running(work)  # type: ignore[arg-type]
    assert work.found["review"]["findings"] == []
    assert "`main` has moved by 1 commit" in (await forge.pull(1)).body


@pytest.mark.parametrize("how", ["merged", "closed"])
async def test_a_pull_request_that_is_over(tmp_path: Path, person: Person, how: str) -> None:
    """Is not reviewed: the job hears what has happened."""
    person.commit({"page.py": "x = 1\n"})
    work, forge = await opened(person, person.push(BRANCH))
    if how == "merged":
        await forge.mark_ready(1)
        await forge.merge_pull(1)
    else:
        await forge.close_pull(1)
    event = await reviewer(tmp_path).review_running(work)  # type: ignore[arg-type]
    assert event.kind == how
    assert await forge.reviews(1) == []
    assert work.found == {}
