"""A replay's options as words, its end as lines, and where it went another way than its original."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from factory_ctl import compare
from factory_ctl.replay import Options, Replay, options_of, summary
from factory_forge.errors import NoSuchRef
from factory_jobs.job import Job, Waiting
from factory_jobs.job import Replay as Marks
from factory_jobs.machine import Role, State
from factory_jobs.records import Round
from factory_jobs.replay import CannotReplay

NOW = datetime.now(UTC)


def job(state: str = "ready_for_human_review", *, seq: int = 1, begins: str = "received", **more: Any) -> Job:
    facts: dict[str, Any] = {"version": 1, "seq": 1, "project": "p", "snapshot": {}, "repo": "r", "title": "t"}
    facts |= {"next_attempt_at": NOW, "created_at": NOW, "entered_at": NOW, "replay_of": "jabcdefghij"}
    facts["replay"] = Marks(seq=seq, state=begins, states=more.pop("states", []))
    return Job(**{"id": "jforkforkfo", "state": state, **facts, **more})


def events(*states: str, **verdicts: str) -> list[dict[str, Any]]:
    """A log that goes through these states; `state:round`, and a verdict that is set on entering one."""
    found, before, round_ = [], None, 0
    for seq, word in enumerate(states, start=1):
        state, _, number = word.partition(":")
        round_ = int(number or round_)
        kind = "created" if before is None else "fell_back" if state == before else "done"
        data = {"round": round_, "request_no": 1, "attempt": 1, "set": {"round": round_}}
        if state in verdicts:
            data["set"]["verdict"] = verdicts[state]
        found.append({"seq": seq, "kind": kind, "from": before, "to": state, "epoch": 0, "data": data})
        before = state
    return found


LINE = (
    "received",
    "planned",
    "implementation_in_progress:1",
    "tests_running",
    "review_running",
    "ready_for_human_review",
)


def round_(commit: str | None, number: int = 1) -> Round:
    empty: dict[str, Any] = dict.fromkeys(("parent", "outcome", "summary", "feedback", "bundle"))
    return Round(request_no=1, round=number, commit=commit, proved=False, spent={}, at=NOW, **empty)


class Trees:
    """A mirror in which commits differ in what is given."""

    def __init__(self, *paths: str, knows: bool = True) -> None:
        self.paths, self.knows = paths, knows

    async def diff(self, one: str, other: str) -> Any:
        if not self.knows:
            raise NoSuchRef(ref=other, where="the mirror")
        return SimpleNamespace(files=[SimpleNamespace(path=p) for p in self.paths])


async def compared(then: Any, fork: Job, now: Any, rounds: Any = ((), ()), mirror: Any = None) -> list[str]:
    return await compare.differences(then, fork, now, rounds, mirror or Trees())


async def test_the_same_way_is_no_difference() -> None:
    """What the original met afterwards is none of it, nor how the replay came to where it begins."""
    later = events(*LINE, "received", "planned", ready_for_human_review="approved")
    assert await compared(later, job(verdict="approved"), events(*LINE)) == []
    fork = job(seq=4, begins="tests_running", verdict="approved")
    assert await compared(later, fork, events("planned:1", "implementation_in_progress", *LINE[3:])) == []


async def test_the_first_step_apart_is_named() -> None:
    """With its round; one way that ends earlier too; a verdict."""
    back = events(*LINE[:4], "implementation_in_progress:2", *LINE[3:])
    assert await compared(back, job(), events(*LINE)) == [
        "step 5: review_running in round 1, it was implementation_in_progress in round 2"
    ]
    failed = events(*LINE[:3], "failed")
    assert await compared(events(*LINE), job("failed"), failed) == [
        "step 4: failed in round 1, it was tests_running in round 1"
    ]
    assert await compared(events(*LINE), job(), events(*LINE[:5])) == [
        "step 6: the end, it was ready_for_human_review in round 1"
    ]
    said = await compared(events(*LINE, ready_for_human_review="approved"), job(verdict="commented"), events(*LINE))
    assert said == ["verdict: commented, it was approved"]


async def test_where_it_was_to_stop_is_no_difference() -> None:
    """The original went on, with a verdict that the replay does not come to."""
    states = ["received", "planned", "implementation_in_progress", "tests_running"]
    fork = job("review_running", states=states)
    assert fork.stopped
    assert await compared(events(*LINE, ready_for_human_review="approved"), fork, events(*LINE[:5])) == []


async def test_commits_are_compared_by_what_they_hold() -> None:
    """Another commit of the same tree is none; a round that only one has is in the states already."""
    log = events(*LINE)
    pair = ([round_("a"), round_("b", 2)], [round_("x"), round_("b", 2), round_("c", 3)])
    assert await compared(log, job(), log, pair, Trees()) == []
    assert await compared(log, job(), log, pair, Trees("page.html")) == [
        "round 1 of request 1: its commit differs in page.html"
    ]
    (many,) = await compared(log, job(), log, pair, Trees(*"abcdefg"))
    assert many.endswith("differs in a, b, c, d, e and 2 more")
    (unknown,) = await compared(log, job(), log, pair, Trees(knows=False))
    assert "cannot be told" in unknown


def test_options_are_words() -> None:
    assert options_of(None, None, agent=False, wait_for=[], debug=[]) == Options()
    given = options_of("tests_running", "builder", agent=True, wait_for=["planner", "builder"], debug=["builder"])
    assert given == Options(State.TESTS_RUNNING, Role.BUILDER, True, {"planner": (), "builder": ("-m", "pdb")})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"state": "tests"}, "tests is no state; states are: received,"),
        ({"to": "notifier"}, "notifier works on no state; stop after one of: planner,"),
        ({"debug": ["console"]}, "console has no part in a replay; those that have: planner,"),
    ],
)
def test_words_that_mean_nothing(words: dict[str, Any], says: str) -> None:
    """They are refused before anything is made, with those that do."""
    with pytest.raises(CannotReplay, match=says):
        options_of(**{"state": None, "to": None, "agent": False, "wait_for": [], "debug": []} | words)


@pytest.mark.parametrize(
    ("row", "over"),
    [
        ({"state": "ready_for_human_review"}, True),
        ({"state": "failed"}, True),
        ({"state": "planned"}, False),
        ({"state": "planned", "waiting": Waiting(kind="gate:plan", asks="?", since=NOW)}, True),
        ({"state": "browser_validation_running", "states": ["received"]}, True),
        ({"state": "browser_validation_running", "states": ["received"], "lease_owner": "builder"}, False),
    ],
)
def test_when_it_is_over(row: dict[str, Any], over: bool) -> None:
    """Nobody works, nobody is to go on, or a person is asked; whoever holds it is waited for."""
    assert Replay._over(job(**row)) is over


def test_the_end_as_lines() -> None:
    """Where it came to, what was recorded, what differs; why it went no further."""
    result = {"job": "jf", "of": "jo", "state": "planned", "stopped": True, "waiting": None, "failure": None}
    result |= {"recorded": ["pull:1", "message:7:status", "message:7:final"], "differences": []}
    assert summary(result) == [
        "jf came to planned, where it stops: nobody goes on with it",
        "recorded instead of done: 1 pull, 2 message",
        "as jo went",
    ]
    asks = summary(result | {"stopped": False, "waiting": "Shall it?", "failure": "It broke.", "recorded": []})
    assert asks[1:4] == [
        "it asks, and nobody is asked in a replay: Shall it?", "failed: It broke.", "recorded instead of done: nothing",
    ]  # fmt: skip
    assert summary(result | {"differences": ["step 2"]})[-1] == "differs: step 2"
    assert msgspec.json.encode(result)
