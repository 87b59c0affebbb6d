"""How jobs are shown in a terminal: a line each, a row for machines, a history; and a store is asked for what is meant."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from factory_ctl.demo import Script, _state, summary
from factory_ctl.jobs import _short, as_row, find, line_of, settings_of, timeline
from factory_ctl.up import UpError
from factory_jobs.errors import Failure, NoSuchJob
from factory_jobs.job import Job, Pull, Waiting

NOW = datetime.now(UTC)


def job(job_id: str = "jabcdefghij", state: str = "planned", **more: Any) -> Job:
    facts = {"version": 1, "seq": 1, "project": "pilot", "snapshot": {}, "repo": "/r.git", "title": "Make it red"}
    times = {"next_attempt_at": NOW, "created_at": NOW - timedelta(seconds=90), "entered_at": NOW}
    return Job(**{"id": job_id, "state": state, **facts, **times, **more})


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (90_000, "25 h")],
)
def test_ages_are_short(seconds: float, says: str):
    """Seconds, minutes, hours."""
    assert _short(seconds) == says


def test_a_job_is_a_line():
    """Id, state, round, age, title, and whether it waits; columns stand under one another."""
    asks = Waiting(kind="budget", asks="More?", since=NOW)
    hour = {"created_at": datetime.now(UTC) - timedelta(minutes=60, seconds=5)}
    lines = [line_of(job(**hour)), line_of(job(state="implementation_in_progress", round=3, waiting=asks, **hour))]

    assert lines[0] == f"jabcdefghij  {'planned':32} 60 min  Make it red"
    assert lines[1] == f"jabcdefghij  {'implementation_in_progress r3':32} 60 min  Make it red (waits for an answer)"


def test_a_job_is_a_row_for_machines():
    """What scripts need, of plain data."""
    failure = Failure(blame="repo", code="x", message="no", stage="planned")
    row = as_row(job(pr=Pull(number=7, url="u", head="c"), failure=failure))

    assert (row["id"], row["state"], row["pr"]["number"], row["failure"]["stage"]) == (
        "jabcdefghij",
        "planned",
        7,
        "planned",
    )
    assert row["waiting"] is None and datetime.fromisoformat(row["created_at"]) < NOW
    assert "snapshot" not in row and "sandbox" not in row


class FakeStore:
    """Answers as the store does, from a list."""

    def __init__(self, *jobs: Job, stays: tuple[dict[str, Any], ...] = ()) -> None:
        self.all, self.stays = jobs, list(stays)

    async def get(self, job_id: str) -> Job:
        for one in self.all:
            if one.id == job_id:
                return one
        raise NoSuchJob(job_id)

    async def jobs(self, limit: int = 50) -> list[Job]:
        return list(self.all)

    async def history(self, job_id: str) -> list[dict[str, Any]]:
        return self.stays


class FakeRecords:
    async def all(self, query: str, job_id: str) -> list[dict[str, Any]]:
        return [{"kind": "cleanup", "result": None}, {"kind": "close_pr", "result": "done"}]


async def test_a_job_is_found_by_the_beginning_of_its_id():
    """As long as only one begins so."""
    store: Any = FakeStore(job("jabcdefghij"), job("jabzzzzzzzz"))

    assert (await find(store, "jabcdefghij")).id == "jabcdefghij"
    assert (await find(store, "jabc")).id == "jabcdefghij"
    for unclear in ("jab", "jx", ""):
        with pytest.raises(NoSuchJob):
            await find(store, unclear)


async def test_a_timeline_has_a_line_for_every_stay():
    """When, how long, which, which round and try, who; then what came of it."""
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    stays = (
        {
            "state": "planned",
            "entered": at,
            "left": at + timedelta(seconds=3),
            "round": 0,
            "attempt": 1,
            "actor": "envkeeper@n",
        },
        {
            "state": "tests_running",
            "entered": at,
            "left": at + timedelta(minutes=4),
            "round": 2,
            "attempt": 3,
            "actor": "builder@n",
        },
        {"state": "failed", "entered": at, "left": None, "round": 2, "attempt": 1, "actor": "none"},
    )
    failure = Failure(blame="repo", code="x", message="It ended with 1.", stage="tests_running")
    ended = job(state="failed", failure=failure, pr=Pull(number=7, url="http://here/7", head="c"))
    store: Any = FakeStore(ended, stays=stays)
    records: Any = FakeRecords()

    lines = await timeline(store, records, ended)

    assert lines[0] == "Make it red  (jabcdefghij, failed)"
    assert lines[1] == f"12:00:00      3 s  {'planned':28}  envkeeper@n"
    assert lines[2] == f"12:00:00    4 min  {'tests_running':28} round 2 try 3  builder@n"
    assert lines[4:] == [
        "failed at tests_running: It ended with 1.",
        "errand cleanup: open",
        "errand close_pr: done",
        "pull request: http://here/7",
    ]


def test_where_a_factory_runs_is_read_from_its_directory(tmp_path: Path):
    """Nothing where none was."""
    assert settings_of(tmp_path) == {}
    (tmp_path / "env.json").write_text('{"FACTORY_NATS_URL": "nats://x"}')
    assert settings_of(tmp_path) == {"FACTORY_NATS_URL": "nats://x"}


# ── the demo's words ──────────────────────────────────────────────────────────

RESULT: dict[str, Any] = {
    "state": "ready_for_human_review",
    "rounds": 3,
    "seconds": 61.5,
    "failure": None,
    "pr": {"number": 1, "url": "http://here/pulls/pilot/1", "body_file": "body.md"},
    "preview_url": "http://localhost:4000",
    "preview_status": 200,
    "video": {"path": "video.mp4", "seconds": 23.5, "chapters": [1, 2]},
    "tests": [{"suite": "unit", "passed": 11, "failed": 0, "seconds": 0.51}],
    "review": {"verdict": "approved", "comments": []},
}


def test_the_demos_summary_has_what_it_made():
    """Pull request, preview, video, tests, verdict."""
    assert summary(RESULT) == [
        "",
        "ready_for_human_review after 3 rounds and 61.5 s",
        "  pull request  #1 http://here/pulls/pilot/1  (text: body.md)",
        "  preview       http://localhost:4000 answered 200",
        "  video         video.mp4 (23.5 s, 2 chapters)",
        "  tests         unit: 11 passed, 0 failed, 0.5 s",
        "  review        approved",
    ]


def test_a_demo_that_failed_says_where():
    """And invents nothing that is not there."""
    nothing = {"pr": None, "preview_url": "", "video": None, "tests": [], "review": {"verdict": None, "comments": []}}
    failure = {"stage": "sandbox_created", "message": "It ended with 1."}
    lines = summary(RESULT | nothing | {"state": "failed", "failure": failure})

    assert lines[1:] == [
        "failed after 3 rounds and 61.5 s",
        "  failed at sandbox_created: It ended with 1.",
        "  review        None",
    ]


def test_a_stay_in_the_result_has_times_that_others_read():
    """ISO 8601 in UTC; one that lasts has no end."""
    stay = {"state": "planned", "entered": NOW, "left": None, "actor": "a", "attempt": 1, "round": 0, "messages": []}
    assert _state(stay) == {
        "state": "planned",
        "entered": NOW.isoformat(),
        "left": None,
        "actor": "a",
        "attempt": 1,
        "round": 0,
    }


def test_the_demos_script_is_beside_its_code(tmp_path: Path):
    """The wish and what the agent does about it; the app has to be there."""
    (tmp_path / "examples" / "pilot").mkdir(parents=True)
    script = Script.default(tmp_path)
    assert script.request and script.agent.is_file() and script.repo == tmp_path / "examples" / "pilot"
    with pytest.raises(UpError, match="run `factoryctl demo` in a checkout"):
        Script.default(tmp_path / "elsewhere")
