"""GitHub does what it is asked and answers 502, once for each call that makes something: it is looked for, not done again."""

from collections import Counter
from typing import Any

import aiohttp
import pytest
from outside import LONG
from sound import WISH, all_ready
from whole import Line, heading, rounds

pytestmark = pytest.mark.timeout(400)

# The calls that a job makes something by, shared out to three jobs: a state that meets several waits longer each time.
MAKES = (
    ("POST /repos/{}/pulls", "POST /repos/{}/issues/*/comments", "POST /repos/{}/pulls/*/reviews"),
    ("POST /{}*/git-receive-pack", "POST /repos/{}/labels", "PATCH /repos/{}/issues/*", "PATCH /repos/{}/pulls/*"),
    ("POST /repos/{}/statuses/*", "POST /repos/{}/deployments", "POST /repos/{}/deployments/*/statuses"),
)
READY = "POST /graphql"  # draft → ready: names no repository
LEFT_IN = {"write": {"path": "looking.py", "text": "def look():\n    breakpoint()\n"}}  # so that the review has remarks


@pytest.mark.parametrize("how", ["502", pytest.param("drop", marks=pytest.mark.skipif(not LONG, reason="LONG=1"))])
async def test_what_was_done_is_not_done_again(line: Line, github: str, how: str) -> None:
    """One pull request, one review, one comment, one deployment; no status, label or remark twice."""
    projects = [await line.project_on_github(rounds([*heading("Lines"), LEFT_IN])) for _ in MAKES]
    repos = [f"acme/{p.name}" for p in projects]
    faults = [m.format(repo) for repo, makes in zip(repos, MAKES, strict=True) for m in makes] + [READY]
    async with aiohttp.ClientSession(github) as admin:
        for method, path in (fault.split(" ") for fault in faults):
            await admin.post("/_control/faults", json={"what": f"{how}-after", "method": method, "path": path})
        await all_ready([(p, await p.ask(WISH)) for p in projects], within=300)
        waiting = await (await admin.get("/_control/faults")).json()
        problems = await (await admin.get("/_control/problems")).json()
        there = await (await admin.get("/_control/state")).json()
    assert (waiting, problems) == ([], [])
    for repo in repos:
        once(repo, {name: [one for one in table if one.get("repo") == repo] for name, table in there.items()})


def once(repo: str, there: dict[str, list[dict[str, Any]]]) -> None:
    """What this repository holds."""
    (pull,) = there["pulls"]
    made = {name: len(there[name]) for name in ("reviews", "comments", "line_comments", "deployments")}
    assert made == {"reviews": 1, "comments": 1, "line_comments": 1, "deployments": 1}, repo
    assert pull["draft"] is False
    for name, facts in (
        ("statuses", ("sha", "context", "state", "description")),
        ("deployment_statuses", ("deployment", "state", "environment_url")),
        ("labels", ("name",)),
    ):
        counted = Counter(tuple(one[fact] for fact in facts) for one in there[name])
        assert set(counted.values()) == {1}, (repo, name, counted)
