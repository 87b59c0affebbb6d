"""People and the base branch move while the factory works: nothing of anybody's is lost, and nothing is ever forced."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from factory_forge.forge import PROOF, PullRequest
from factory_forge.forges import Forges
from factory_forge.local import LocalForge
from factory_jobs.job import Job
from whole import Line, Project, heading, rounds

pytestmark = pytest.mark.timeout(400)
WISH = "The heading should say Lines."
TAKE_THEIRS = "sed -i -e '/^<<<<<<< /,/^=======$/d' -e '/^>>>>>>> /d' page.html"


def push(project: Project, directory: Path, branch: str, files: dict[str, str], *, onto: str = "main") -> str:
    """A person's commit on this branch, made of what it holds; where there is no such branch yet, of `onto`."""
    clone = directory / f"person-{len(list(directory.iterdir()))}"
    there = project.git("branch", "--list", branch)
    who = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*args: str) -> str:
        return subprocess.run([*who, *args], env=env, capture_output=True, text=True, check=True).stdout.strip()

    git("clone", "-q", "--branch", branch if there else onto, str(project.repo), str(clone))
    for name, text in files.items():
        (clone / name).write_text(text)
    at = ["-C", str(clone)]
    git(*at, "add", "-A")
    git(*at, "commit", "-q", "-m", "By hand")
    git(*at, "push", "-q", "origin", f"HEAD:refs/heads/{branch}")
    return git(*at, "rev-parse", "HEAD")


def never_forced(project: Project) -> None:
    project.git("config", "receive.denyNonFastForwards", "true")


def page(word: str) -> str:
    return (Path(__file__).parents[2] / "examples/notes/page.html").read_text().replace("<h1>Notes", f"<h1>{word}")


async def forge_of(project: Project) -> LocalForge:
    found = await Forges(project.line.env["FACTORY_PUBLIC_URL"]).connect(str(project.repo))
    assert isinstance(found, LocalForge)
    return found


async def one_pull(project: Project, job: Job) -> PullRequest:
    """The only pull request, at the job's proved commit, with every check passed."""
    forge = await forge_of(project)
    (pull,) = await forge.pulls()
    assert job.pr and (pull.number, pull.head_sha) == (job.pr.number, job.proved_sha)
    found = await forge.statuses(pull.head_sha)
    assert {(s.context, s.state) for s in found} == {(context, "success") for context in PROOF}
    return pull


async def pressed(project: Project, asks: str, button: str) -> None:
    """Answers the question in the chat."""
    asked = await project.shows(asks, within=150)
    await project.ada.press(asked.message_id, button)


def parents(project: Project, sha: str | None) -> list[str]:
    return project.git("log", "-1", "--format=%P", str(sha)).split()


async def test_mine_on_top_of_a_push_in_mid_round(line: Line, tmp_path: Path) -> None:
    """The chat asks; Mine on top merges theirs in and proves both by no further turn of an agent; one pull request, moved
    forward."""
    project = await line.project()
    job = await project.reach(await project.ask(WISH), "ready_for_human_review")
    never_forced(project)
    final = await project.shows("Ready for your review:")
    letters = [
        {"sleep": 8},
        *heading("Letters"),
        {"run": "sed -i 's/criteria: .c1./criteria: [c1, c2]/' .software-factory/scenarios.yaml"},
    ]
    project.play(rounds(letters))  # there is no second round in it: an agent that was called for one would refuse
    await project.ada.type("The heading should say Letters.", reply_to=final.message_id)
    await project.reach(job, "implementation_in_progress", request=2)
    theirs = push(project, tmp_path, str(job.branch), {"CONTRIBUTING.md": "Write a test first.\n"})
    await pressed(project, f"Somebody pushed {theirs[:12]}", "Mine on top")
    both = await project.reach(job, "ready_for_human_review", request=2)
    (first, second) = [r for r in await line.records.rounds(job.id) if r.request_no == 2]
    assert (second.outcome, second.merges, second.commit) == ("merged", theirs, both.proved_sha)
    assert parents(project, both.proved_sha) == [first.commit, theirs]
    assert project.git("rev-parse", str(job.branch)) == both.proved_sha
    assert "<h1>Letters</h1>" in project.git("show", f"{job.branch}:page.html")
    assert project.git("show", f"{job.branch}:CONTRIBUTING.md") == "Write a test first."
    pull = await one_pull(project, both)
    assert job.pr and pull.number == job.pr.number


async def test_mine_on_top_with_a_conflict(line: Line, tmp_path: Path) -> None:
    """The agent gets both sides and brings them together; that it has stopped the app on its way is no matter."""
    mend: list[dict[str, Any]] = [{"run": TAKE_THEIRS}, {"run": "factory stop"}, *heading("Lines")]
    script = rounds(
        [{"sleep": 8}, *heading("Lines")],
        mend,
        expect={2: ["# Two lines of work", "somebody has pushed", r"- page\.html"]},
    )
    project = await line.project(script)
    never_forced(project)
    job = await project.reach(await project.ask(WISH), "implementation_in_progress")
    theirs = push(project, tmp_path, str(job.branch), {"page.html": page("Words"), "notes.md": "x\n"})
    await pressed(project, f"Somebody pushed {theirs[:12]}", "Mine on top")
    both = await project.reach(job, "ready_for_human_review")
    (first, second) = await line.records.rounds(job.id)
    assert parents(project, both.proved_sha) == [first.commit, theirs]
    assert second.commit == both.proved_sha
    text = project.git("show", f"{job.branch}:page.html")
    assert "<h1>Lines</h1>" in text and "<<<<" not in text and ">>>>" not in text
    assert project.git("show", f"{job.branch}:notes.md") == "x"
    assert "<<<<" not in project.git("log", "-p", "--first-parent", f"main..{job.branch}")
    await one_pull(project, both)


async def test_theirs_is_proved_by_no_agent_and_mended_when_asked(line: Line, tmp_path: Path) -> None:
    """Their red commit is the person's to decide about; the round that mends it builds on it."""
    red = {
        "test_theirs.py": "import unittest\nimport notes\n\n\nclass Theirs(unittest.TestCase):\n"
        "    def test_theirs(self):\n        self.assertIn('<h1>Lines</h1>', notes.render([]))\n"
    }
    script = rounds([{"sleep": 8}, *heading("Lines")], heading("Lines"), expect={2: ["test_theirs", "Mend this first"]})
    project = await line.project(script)
    never_forced(project)
    job = await project.reach(await project.ask(WISH), "implementation_in_progress")
    theirs = push(project, tmp_path, str(job.branch), red)
    await pressed(project, f"Somebody pushed {theirs[:12]}", "Theirs")
    stopped = await project.reach(job, "ready_for_human_review")
    assert (stopped.work_sha, stopped.pr, stopped.verify) == (theirs, None, False)
    forge = await forge_of(project)

    async def said() -> bool | None:
        states = {s.context: s.state for s in await forge.statuses(theirs)}
        told = {
            "factory/setup": "success",
            "factory/tests": "failure",
            "factory/browser": "error",
            "factory/review": "error",
        }
        return True if states == told else None

    await line.until(said, 30, "the checks of theirs say what is so")
    await pressed(project, "does not hold", "Mend it")
    ready = await line.until(lambda: _proved(line, job), 150, "ready with a proved commit")
    assert parents(project, ready.proved_sha) == [theirs]
    assert project.git("rev-parse", str(job.branch)) == ready.proved_sha
    await one_pull(project, ready)


async def _proved(line: Line, job: Job) -> Job | None:
    now = await line.store.get(job.id)
    return now if now.state == "ready_for_human_review" and now.proved_sha else None


async def test_a_base_that_conflicts_is_brought_in_before_the_push(line: Line, tmp_path: Path) -> None:
    """One more round; the pull request shows this job's change alone, and a person can merge it."""
    mend: list[dict[str, Any]] = [{"run": TAKE_THEIRS}, *heading("Lines")]
    script = rounds(
        [{"sleep": 8}, *heading("Lines")], mend, expect={2: ["The base branch, which has moved", r"- page\.html"]}
    )
    project = await line.project(script)
    never_forced(project)
    job = await project.reach(await project.ask(WISH), "implementation_in_progress")
    base = job.base_sha
    tip = push(project, tmp_path, "main", {"page.html": page("Words"), "notes.md": "x\n"})
    ready = await project.reach(job, "ready_for_human_review")
    assert (ready.round, ready.base_sha) == (2, base)
    (first, _) = await line.records.rounds(job.id)
    assert parents(project, ready.proved_sha) == [first.commit, tip]
    pull = await one_pull(project, ready)
    assert "`page.html`" in pull.body and "notes.md" not in pull.body and "has moved" not in pull.body
    await (await forge_of(project)).merge_pull(pull.number)
    await project.reach(job, "merged", within=30)
    assert "<h1>Lines</h1>" in project.git("show", "main:page.html")


async def test_an_agent_that_deletes_its_repository(line: Line) -> None:
    """The place is lost and made anew; the same round begins again, and the agent is told why."""
    project = await line.project(rounds([{"run": "rm -rf .git"}]))
    job = await project.ask(WISH)

    async def lost() -> Job | None:
        now = await line.store.get(job.id)
        return now if now.losses else None

    gone = await line.until(lost, 100, "the place is lost")
    assert gone.round == 1
    project.play(rounds(heading("Lines"), expect={1: [r"checkout's `\.git` was deleted"]}))
    ready = await project.reach(job, "ready_for_human_review")
    assert (ready.round, ready.losses) == (1, 0)
    assert ready.placement and ready.placement > 1
    await one_pull(project, ready)
