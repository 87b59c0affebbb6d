"""What people do at the forge and after the end: a push, a merge, closed and opened again, replies. Told in the chat each time."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from factory_forge.forge import PROOF, PullRequest
from factory_forge.forges import Forges
from factory_forge.local import LocalForge
from factory_jobs.job import Job
from whole import Line, Project, heading, processes_of, rounds

pytestmark = pytest.mark.timeout(400)
WISH = "The heading should say Lines."


class Ann:
    """A person with a clone of the project's repo and an account on its forge."""

    def __init__(self, project: Project, directory: Path) -> None:
        self.project, self.clone = project, directory / "ann"

    def git(self, *args: str) -> str:
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
        env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", *who, *args], env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def checkout(self, branch: str) -> None:
        self.git("clone", "-q", "--branch", branch, str(self.project.repo), str(self.clone))

    def push(self, file: str, text: str) -> str:
        (self.clone / file).write_text(text)
        at = ["-C", str(self.clone)]
        self.git(*at, "add", "-A")
        self.git(*at, "commit", "-q", "-m", f"Add {file}")
        self.git(*at, "push", "-q", "origin", "HEAD")
        return self.git(*at, "rev-parse", "HEAD")

    def merge(self, branch: str) -> None:
        """At a terminal, without the forge."""
        at = ["-C", str(self.clone)]
        self.git(*at, "fetch", "-q")
        self.git(*at, "checkout", "-q", "main")
        self.git(*at, "merge", "-q", "--no-ff", "-m", f"Merge {branch}", f"origin/{branch}")
        self.git(*at, "push", "-q", "origin", "main")

    async def forge(self) -> LocalForge:
        found = await Forges(self.project.line.env["FACTORY_PUBLIC_URL"]).connect(str(self.project.repo))
        assert isinstance(found, LocalForge)
        return found


async def ready(project: Project, text: str = WISH) -> Job:
    job = await project.reach(await project.ask(text), "ready_for_human_review")
    assert job.pr and job.proved_sha and job.branch
    return job


async def pull_of(ann: Ann, job: Job) -> PullRequest:
    assert job.pr is not None
    return await (await ann.forge()).pull(job.pr.number)


async def test_a_persons_push_is_proved_and_a_merge_ends_it(line: Line, tmp_path: Path) -> None:
    """Their commit goes through suites, browser and review on the same pull request, by no agent; merged by git it is
    over, cleaned up, and a reply is a new job."""
    project = await line.project()
    job = await ready(project)
    ann = Ann(project, tmp_path)
    ann.checkout(str(job.branch))
    theirs = ann.push("CONTRIBUTING.md", "Write a test first.\n")

    said = await project.shows("👤", theirs[:12], "I prove that commit")
    again = await proved(line, job, theirs)
    assert again.pr and job.pr and (again.pr.number, again.pr.head) == (job.pr.number, theirs)
    assert (again.request_no, again.round, again.verify, again.verdict) == (1, job.round, False, "approved")
    found = await line.records.evidence(job.id, theirs)
    assert {kind for kind, one in found.items() if one.ok} >= {"suites", "browser", "review"}
    assert {(s.context, s.state) for s in await (await ann.forge()).statuses(theirs)} == {(c, "success") for c in PROOF}
    assert theirs[:12] in (await pull_of(ann, again)).body
    final = await project.ada.wait_for(
        lambda m: m.from_bot and "Ready for your review:" in m.text and m.message_id > said.message_id, 30
    )

    ann.merge(str(job.branch))
    await project.reach(job, "merged", within=30)
    await project.shows("Merged", f"#{again.pr.number}", "nothing is left running")
    assert not processes_of(job.id)
    assert (await line.store.get(job.id)).cleanup == "done"

    before = {j.id for j in await line.store.jobs(project.name)}
    await project.ada.type("The heading should say Words.", reply_to=final.message_id)
    new = await line.until(lambda: project._new(before), 20, "a new job")
    assert new.title == "The heading should say Words" and (await line.store.get(job.id)).state == "merged"
    await project.ada.type(f"/cancel {new.id}")
    await project.reach(new, "cancelled", within=20)


async def proved(line: Line, job: Job, sha: str) -> Job:
    """Ready with this commit."""

    async def there() -> Job | None:
        now = await line.store.get(job.id)
        assert now.failure is None
        return now if (now.state, now.proved_sha) == ("ready_for_human_review", sha) else None

    return await line.until(there, 150, f"{sha[:12]} is proved")


async def test_closed_opened_again_and_merged_under_a_further_change(line: Line, tmp_path: Path) -> None:
    """Closed is cancelled and cleaned; opened again it is ready at its proved commit; a merge while more is under way
    says that this is not in it."""
    project = await line.project()
    job = await ready(project)
    ann = Ann(project, tmp_path)
    assert job.pr is not None
    await (await ann.forge()).close_pull(job.pr.number)
    await project.reach(job, "cancelled", within=30)
    ended = await project.shows("Cancelled", "(closed)", "Open it again", "nothing is left running")
    assert not processes_of(job.id)

    await (await ann.forge()).reopen_pull(job.pr.number)
    back = await proved(line, job, str(job.proved_sha))
    assert (back.work_sha, back.sandbox, back.request_no) == (job.proved_sha, None, 1)
    opened = await project.shows("🔓", f"#{job.pr.number}", "is open again")
    assert opened.message_id > ended.message_id

    project.play(rounds([{"sleep": 60}, *heading("Letters")]))
    await project.ada.type("The heading should say Letters.", reply_to=opened.message_id)
    await project.reach(job, "implementation_in_progress", request=2)
    await asyncio.sleep(2)  # into the middle of it
    assert processes_of(job.id)
    ann.checkout("main")
    ann.merge(str(job.branch))
    await project.reach(job, "merged", within=30)
    await project.shows("Merged", "What was still under way is not in it", "nothing is left running")
    assert not processes_of(job.id)
    assert (await pull_of(ann, job)).head_sha == job.proved_sha == project.git("rev-parse", str(job.branch))
    assert "<h1>Lines</h1>" in project.git("show", "main:page.html")
