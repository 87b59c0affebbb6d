"""A whole job against GitHub: from a message to a merged pull request, seen through PyGithub and through the chat."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import github as pygithub
import pytest
from github.PullRequest import PullRequest
from whole import FACTORY, PERSON, REVIEWER, Line, heading, processes_of, rounds

pytestmark = pytest.mark.timeout(300)
WISH = "The heading should say Lines. @ada closes #1"
LEFT_IN = {"write": {"path": "looking.py", "text": "def look():\n    breakpoint()\n"}}
T = TypeVar("T")


async def asked(url: str, name: str, what: Callable[[Any], T]) -> T:
    """What Ada sees, or does, on GitHub."""
    auth = pygithub.Auth.Token(PERSON)

    def run() -> T:
        with pygithub.Github(
            base_url=f"{url}/api/v3", auth=auth, seconds_between_requests=0, seconds_between_writes=0
        ) as gh:
            return what(gh.get_repo(name))

    return await asyncio.to_thread(run)


async def test_a_message_becomes_a_reviewed_pull_request_on_github(line: Line, github: str) -> None:
    """Draft with labels, statuses, a deployment and one comment → reviewed on the line by somebody else → ready → merged."""
    project = await line.project_on_github(rounds([*heading("Lines"), LEFT_IN]))
    name = f"acme/{project.name}"
    job = await project.reach(await project.ask(WISH), "ready_for_human_review")
    assert job.pr and job.proved_sha and job.branch and job.sandbox
    no_tokens_in_sandboxes(line, job.id)

    def seen(repo: Any) -> dict[str, Any]:
        pull: PullRequest = repo.get_pull(job.pr.number if job.pr else 0)
        commit = repo.get_commit(job.proved_sha)
        deployments = list(repo.get_deployments(environment=f"factory/{job.id}"))
        return {
            "pull": pull,
            "draft": pull.draft,
            "labels": {label.name: label.color for label in pull.labels},
            "statuses": {s.context: (s.state, s.target_url) for s in commit.get_combined_status().statuses},
            "deployments": [(d.sha, d.transient_environment, next(iter(d.get_statuses()))) for d in deployments],
            "comments": list(pull.get_issue_comments()),
            "reviews": list(pull.get_reviews()),
            "remarks": list(pull.get_review_comments()),
            "events": [e.event for e in pull.get_issue_events()],
            "by": pull.user.login,
        }

    found = await asked(github, name, seen)
    pull = found["pull"]
    assert (pull.head.sha, pull.head.ref, pull.base.ref) == (job.proved_sha, job.branch, "main")
    assert (found["by"], found["draft"]) == ("factory", False) and "ready_for_review" in found["events"]
    assert pull.html_url == job.pr.url == f"{github}/{name}/pull/{pull.number}"
    assert set(found["labels"]) == {"factory-generated", "needs-human-review", f"project:{project.name}", "risk:low"}
    assert found["labels"]["factory-generated"] == "5319e7"
    page = f"{line.env['FACTORY_PUBLIC_URL']}/jobs/{job.id}"
    passed = {f"factory/{stage}": ("success", page) for stage in ("setup", "tests", "browser", "review")}
    assert found["statuses"] == passed
    ((sha, transient, shown),) = found["deployments"]
    assert (sha, transient, shown.state) == (job.proved_sha, True, "success")
    assert shown.environment_url == job.sandbox.preview_url
    (comment,) = found["comments"]
    assert comment.user.login == "factory" and job.proved_sha in comment.body and "**commented**" in comment.body
    (review,) = found["reviews"]
    assert (review.user.login, review.state, review.commit_id) == ("reviewer", "COMMENTED", job.proved_sha)
    (remark,) = found["remarks"]
    assert (remark.path, remark.line, remark.pull_request_review_id) == ("looking.py", 2, review.id)
    for section in ("## Original request", "## Acceptance criteria", "## Video", "## Reviewer", "## Provenance"):
        assert section in pull.body
    assert "@&#8203;ada closes #&#8203;1" in pull.body and "t.me/c/" in pull.body
    await project.shows("Ready for your review:", f"Pull request: #{pull.number}", "commented. 1 warning")

    await asked(github, name, lambda repo: repo.get_pull(pull.number).merge())
    await project.reach(job, "merged")
    gone = await line.until(lambda: hidden(github, name, job.id), 30, "a preview that is not shown any more")
    assert gone == [["inactive", "success"]]
    assert "<h1>Lines</h1>" in project.git("show", "main:page.html")


async def hidden(github: str, name: str, job_id: str) -> list[list[str]] | None:
    """The states of each deployment, newest first, once the newest is inactive."""

    def states(repo: Any) -> list[list[str]]:
        deployments = repo.get_deployments(environment=f"factory/{job_id}")
        return [[status.state for status in deployment.get_statuses()] for deployment in deployments]

    found = await asked(github, name, states)
    return found if found and all(state[0] == "inactive" for state in found) else None


def no_tokens_in_sandboxes(line: Line, job_id: str) -> None:
    """Neither in the environment or arguments of a process in the job's sandbox nor in a file of the node or a log."""
    spellings = {
        s for token in (FACTORY, REVIEWER) for s in (token, quote(token), base64.b64encode(token.encode()).decode())
    }
    found = processes_of(job_id)
    assert found
    for process in found:
        directory = Path("/proc", process.split()[0])
        shown = (directory / "environ").read_bytes() + (directory / "cmdline").read_bytes()
        assert not any(s.encode() in shown for s in spellings), process
    places = line.directory / "factory"
    for file in (*(places / "node").rglob("*"), *(places / "logs").rglob("*")):
        if file.is_file() and file.stat().st_size < 20_000_000:
            held = file.read_bytes()
            assert not any(s.encode() in held for s in spellings), file
