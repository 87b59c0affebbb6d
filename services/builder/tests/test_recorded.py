"""A round of a replay: out of the original's checkpoint, without an agent; what cannot be taken says so."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from factory_builder.checkpoint import SCENARIOS
from factory_builder.recorded import take
from factory_forge.inside import GitInside
from factory_jobs import events as ev
from factory_jobs.errors import WorkError
from factory_jobs.job import Replay
from factory_sandbox.contract import Answer

pytestmark = pytest.mark.usefixtures("clone")
AS_THEN = Replay(seq=1, state="received")


class Original:
    """The records of the job that is replayed, beside those of the replay itself."""

    def __init__(self, work: Any) -> None:
        self._work, self.then, self.kept, self.read = work, [], [], []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    async def rounds(self, job_id: str) -> list[Any]:
        return self.then if job_id == "joriginalab" else await self._work.rounds(job_id)

    async def all_evidence(self, job_id: str) -> list[Any]:
        return self.kept if job_id == "joriginalab" else await self._work.all_evidence(job_id)

    async def unread(self, job_id: str) -> list[str]:
        return ["a steer"]

    async def mark_read(self, job_id: str, by: str, requests: list[str]) -> None:
        self.read.append((by, requests))


@pytest.fixture
async def replayed(work: Any, inside: GitInside, clone: Path) -> Any:
    """The work on a replay whose original had one round: a page, and scenarios beside it."""
    (clone / "page.html").write_text("<h1>Lines</h1>")
    commit = await inside.commit(work.job.base_sha, "The round\n")
    bundle = clone.parent / "round.bundle"
    await inside.bundle_to(bundle, work.job.base_sha, commit.sha)
    work.kept["then.bundle"] = bundle.read_bytes()
    await work.put_round(
        work.job,
        commit=commit.sha,
        parent=work.job.base_sha,
        bundle="then.bundle",
        outcome="end_turn",
        summary="Did it.",
    )
    original = Original(work)
    original.then, work._rounds = await work.rounds(""), {}
    original.kept = [SimpleNamespace(kind="scenarios", commit=commit.sha, ok=True, data={"text": "scenarios: []\n"})]
    work.job = msgspec.structs.replace(work.job, replay_of="joriginalab", replay=AS_THEN)
    work.records = original
    await inside.reset(work.job.base_sha)
    return work


def ends(replayed: Any, **facts: Any) -> None:
    replayed.records.then = [msgspec.structs.replace(replayed.records.then[0], **facts)]


async def test_a_round_is_what_it_was(replayed: Any, here: Callable[..., Any], clone: Path) -> None:
    """The same commit in the checkout and in the records, the app renewed, no agent called; its messages are read."""
    handlers = here()
    event = await handlers.implementation_in_progress(replayed)
    commit = replayed.records.then[0].commit
    assert event == ev.Done(facts={"work_sha": commit}) and handlers.turns == 0
    assert replayed.job.work_sha == commit and (clone / "page.html").read_text() == "<h1>Lines</h1>"
    assert (clone / SCENARIOS).read_text() == "scenarios: []\n"
    (mine,) = await replayed.rounds("")
    assert (mine.commit, mine.bundle, mine.outcome, mine.summary) == (commit, "then.bundle", "end_turn", "Did it.")
    assert replayed.records.read == [("round:1.1", ["a steer"])]
    assert ("scenarios", True, {"text": "scenarios: []\n"}) in replayed.seen


async def test_an_app_that_does_not_get_ready_falls_back_in_a_replay_too(
    replayed: Any, here: Callable[..., Any]
) -> None:
    """What is found about a round is found anew."""
    broken = Answer("restart", 1, {"error": {"code": "x", "message": "it broke"}})
    event = await here(restart=broken).implementation_in_progress(replayed)
    assert isinstance(event, ev.FellBack) and event.facts == {"work_sha": replayed.records.then[0].commit}


async def test_a_turn_that_changed_nothing_or_went_wrong_does_so_again(replayed: Any, here: Callable[..., Any]) -> None:
    ends(replayed, commit=None, bundle=None, outcome="nothing_changed")
    event = await here().implementation_in_progress(replayed)
    assert isinstance(event, ev.FellBack) and "nothing in the repository has changed" in event.feedback
    ends(replayed, outcome="max_tokens", feedback="Your last turn ended early: max_tokens.")
    event = await here().implementation_in_progress(replayed)
    assert isinstance(event, ev.FellBack) and event.feedback == "Your last turn ended early: max_tokens."


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"round": 2}, "Round 1 of request 1 was never ended in joriginalab."),
        ({"outcome": "unproved"}, "was never ended"),
        ({"outcome": None}, "was never ended"),
        ({"parent": "f" * 40}, "began at ffffffffffff in joriginalab, and begins at"),
    ],
)
async def test_a_round_that_cannot_be_taken_says_so(
    replayed: Any, inside: GitInside, facts: dict[str, Any], says: str
) -> None:
    """And how an agent is called instead."""
    ends(replayed, **facts)
    with pytest.raises(WorkError, match=says) as caught:
        await take(replayed, inside, inside.place, replayed.job.base_sha)  # type: ignore[arg-type]
    assert "--agent" in caught.value.hint


async def test_with_agent_the_agent_is_called(replayed: Any, here: Callable[..., Any], clone: Path) -> None:
    replayed.job = msgspec.structs.replace(replayed.job, replay=msgspec.structs.replace(AS_THEN, agent=True))
    handlers = here()
    handlers.agent = lambda told: (clone / "page.html").write_text("<h1>Rows</h1>") and None
    event = await handlers.implementation_in_progress(replayed)
    assert isinstance(event, ev.Done) and handlers.turns == 1
    assert event.facts["work_sha"] != replayed.records.then[0].commit
