"""After a placement is gone the forge shows no link to it; what the forge does not allow keeps no cleanup from being done."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from factory_envkeeper.errands import Errands
from factory_forge.errors import CheckoutBroken, ForgeAway, NotPermitted
from factory_forge.forge import Deployment
from factory_forge.inside import GitInside
from factory_jobs import events as ev
from factory_jobs.job import Job, Pull, Sandbox

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PULL = Pull(number=1, url="http://factory/pulls/1", head="b" * 40)
AWAY = ForgeAway(host="github.com", repo="a/b", does="show a deployment", reason="502", retry_after=0.0)
REFUSED = NotPermitted(host="github.com", repo="a/b", variable="X", does="y", needs="Deployments: write", reason="no")


def job(**facts: Any) -> Job:
    given: dict[str, Any] = {"state": "ready_for_human_review", "pr": PULL, "placement": 2} | facts
    times = dict.fromkeys(("next_attempt_at", "created_at", "entered_at"), NOW)
    facts_of_all = {"version": 1, "seq": 1, "project": "desk", "snapshot": {}, "repo": "/srv/desk.git", "title": "x"}
    return Job(id="jabcdefghi2", **facts_of_all, **times, **given)


class Outside:
    """The forge, the store and the places, as far as cleanup goes."""

    def __init__(self, row: Job, error: Exception | None = None) -> None:
        self.row, self.error, self.deployed, self.removed = row, error, [], []

    async def connect(self, repo: str) -> "Outside":
        return self

    async def deploy(self, deployment: Deployment) -> None:
        if self.error:
            raise self.error
        self.deployed.append(deployment)

    async def get(self, job_id: str) -> Job:
        return self.row

    async def remove(self, job_id: str, placement: int) -> None:
        self.removed.append(placement)


async def cleaned(outside: Outside, placement: int = 2) -> str:
    errands = Errands(outside)  # type: ignore[arg-type]
    errands.places, errands.line = outside, SimpleNamespace(store=outside)  # type: ignore[assignment]
    errand = SimpleNamespace(data={"placement": placement})
    return await errands.cleanup(errand, outside.row)  # type: ignore[arg-type]


async def test_a_preview_that_is_gone() -> None:
    """Of the commit that the pull request holds, in the job's environment."""
    outside = Outside(job())
    assert await cleaned(outside) == "done"
    assert outside.removed == [2]
    assert outside.deployed == [Deployment(sha="b" * 40, environment="factory/jabcdefghi2", state="inactive")]


@pytest.mark.parametrize("facts", [{"pr": None}, {"placement": 3}])
async def test_a_preview_that_is_not_gone(facts: dict[str, Any]) -> None:
    """There is none without a pull request, and a newer place has its own."""
    outside = Outside(job(**facts))
    assert await cleaned(outside) == "done"
    assert outside.removed == [2] and outside.deployed == []


async def test_a_forge_that_does_not_answer() -> None:
    """The errand is tried again; removing twice is removing once."""
    with pytest.raises(ForgeAway):
        await cleaned(Outside(job(), AWAY))


async def test_a_forge_that_does_not_allow_it() -> None:
    """Said, and done all the same."""
    assert "Deployments: write" in await cleaned(Outside(job(), REFUSED))


async def test_a_checkout_that_cannot_be_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work that was dropped has broken its repository: the place is given up, and rebuilt when it is needed."""
    place = Sandbox(provider="local", handle={}, ports=[2000, 2019])
    row = job(proved_sha="b" * 40, base_sha="a" * 40, branch="factory/jabcdefghi2-x", sandbox=place)
    told: list[ev.Event] = []

    async def apply(job: Job, event: ev.Event, *, actor: str) -> Job:
        told.append(event)
        return job

    async def gone(self: GitInside, sha: str) -> None:
        raise CheckoutBroken("The checkout's repository is gone or broken.")

    monkeypatch.setattr(GitInside, "reset", gone)
    errands = Errands(Outside(row))  # type: ignore[arg-type]
    errands.places = SimpleNamespace(open=lambda facts, epoch: None)  # type: ignore[assignment]
    errands.line = SimpleNamespace(apply=apply)  # type: ignore[assignment]
    errand = SimpleNamespace(data={"sha": "b" * 40})
    assert await errands.reset_sandbox(errand, row) == "the place is given up"  # type: ignore[arg-type]
    assert told == [ev.SandboxLost(reason="The checkout's repository is gone or broken.")]
