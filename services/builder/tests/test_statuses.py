"""What the forge says of a commit, and the errands by which it is said beside a job's state."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factory_builder.errands import NOT_NOW, Errands
from factory_builder.statuses import statuses
from factory_forge.forges import Forges
from factory_forge.local import LocalForge
from factory_jobs.job import Job, Pull
from factory_jobs.records import Evidence
from factory_jobs.store import Errand

SHA = "a" * 40
NOW = datetime.now(UTC)
SUITES = {"suites": [{"suite": "unit", "passed": 5}, {"suite": "api", "passed": 2}]}


def found(**ok: bool) -> dict[str, Evidence]:
    data: dict[str, Any] = {
        "suites": SUITES,
        "browser": {"results": [{"ok": True}, {"ok": False}]},
        "review": {},
        "setup": {"verb": "restart"},
    }
    facts: dict[str, Any] = {"id": 1, "commit": SHA, "epoch": 1, "request_no": 1, "round": 1, "at": NOW}
    return {kind: Evidence(kind=kind, ok=good, data=data[kind], **facts) for kind, good in ok.items()}


HELD = found(setup=True, suites=True, browser=True)


@pytest.mark.parametrize(
    ("state", "verify", "evidence", "says"),
    [
        # at the push: the review is to come, whatever one of this commit has said before
        ("video_recorded", False, HELD, ["success", "success", "success", "pending"]),
        ("video_recorded", False, HELD | found(review=False), ["success", "success", "success", "pending"]),
        # a person's commit, from the push to its end
        ("planned", True, {}, ["pending"] * 4),
        ("tests_running", True, found(setup=True, suites=True), ["success", "success", "pending", "pending"]),
        ("ready_for_human_review", False, found(setup=False), ["failure", "error", "error", "error"]),
        ("ready_for_human_review", False, found(setup=True, suites=False), ["success", "failure", "error", "error"]),
        ("ready_for_human_review", False, HELD | found(browser=False), ["success", "success", "failure", "error"]),
        ("failed", True, {}, ["error"] * 4),
        # the review gave up
        ("ready_for_human_review", False, HELD, ["success", "success", "success", "error"]),
        ("ready_for_human_review", False, HELD | found(review=True), ["success"] * 4),
    ],
)
def test_statuses(work: Any, state: str, verify: bool, evidence: dict[str, Evidence], says: list[str]) -> None:
    """Each check of a commit, at each time."""
    job = msgspec.structs.replace(work.job, state=state, verify=verify, work_sha=SHA)
    given = statuses(job, SHA, evidence, "http://factory/")
    assert [s.context for s in given] == ["factory/setup", "factory/tests", "factory/browser", "factory/review"]
    assert [s.state for s in given] == says
    assert {s.url for s in given} == {f"http://factory/jobs/{job.id}"}
    for status in given:
        if status.state == "pending" and verify:
            assert status.description.startswith("stale: somebody pushed")


def test_words(work: Any) -> None:
    """Of what has run: how much of it."""
    job = msgspec.structs.replace(work.job, state="video_recorded", work_sha=SHA)
    setup, tests, browser, review = statuses(job, SHA, HELD, "http://factory")
    assert setup.description == "set up, started and healthy"
    assert tests.description == "unit: 5 passed, api: 2 passed"
    assert browser.description == "1 scenarios hold"
    assert review.description == "waiting for the review"


def test_another_commit_of_the_job(work: Any) -> None:
    """What nobody works on is not pending, though the job is under way."""
    job = msgspec.structs.replace(work.job, state="tests_running", work_sha="b" * 40)
    assert {s.state for s in statuses(job, SHA, {}, "http://factory")} == {"error"}


# ── errands ───────────────────────────────────────────────────────────────────


def errand(kind: str, **data: Any) -> Errand:
    facts = {"id": 1, "job_id": "jabcdefghi2", "node": None, "lease_epoch": 1, "attempt": 1, "hinted_at": None}
    return Errand(kind=kind, data=data, hint_no=1, **facts)  # type: ignore[arg-type]


@pytest.fixture
async def pulled(work: Any, remote: Path) -> tuple[Job, LocalForge]:
    """A job that was cancelled with its pull request open."""
    forge = LocalForge(remote, "software-factory", "http://factory")
    base = await forge.tip("main")
    made = await forge.repository.commit_tree(await _tree(forge), [base or ""], "x", "a", "a@localhost")
    await forge.repository._at([], "update-ref", f"refs/heads/{work.job.branch}", made)
    pull = await forge.open_pull(branch=work.job.branch, base="main", title="t", body="b")
    job = msgspec.structs.replace(
        work.job,
        state="cancelled",
        repo=str(remote),
        work_sha=made,
        pr=Pull(number=pull.number, url=pull.url, head=made),
    )
    return job, forge


async def _tree(forge: LocalForge) -> str:
    return (await forge.repository._at([], "rev-parse", "refs/heads/main^{tree}")).stdout.decode().strip()


@pytest.fixture
def chores(work: Any) -> Errands:
    chores = Errands(Forges("http://factory"), "http://factory")
    chores.records = work
    return chores


async def test_close(chores: Errands, pulled: tuple[Job, LocalForge]) -> None:
    """Closed, and again to the same effect."""
    job, forge = pulled
    for _ in range(2):
        assert await chores.close_pr(errand("close_pr", number=1), job) == "closed"
    assert (await forge.pull(1)).state == "closed"


async def test_close_of_one_that_was_merged(chores: Errands, pulled: tuple[Job, LocalForge]) -> None:
    """Nothing is left to do."""
    job, forge = pulled
    await forge.mark_ready(1)
    await forge.merge_pull(1)
    assert await chores.close_pr(errand("close_pr", number=1), job) == "merged"


@pytest.mark.parametrize("state", ["ready_for_human_review", "planned", "merged"])
async def test_a_late_close(chores: Errands, pulled: tuple[Job, LocalForge], state: str) -> None:
    """It was done and opened again by a person, or somebody merged: an errand that is tried again leaves it alone."""
    job, forge = pulled
    said = await chores.close_pr(errand("close_pr", number=1), msgspec.structs.replace(job, state=state))
    assert said == NOT_NOW
    assert (await forge.pull(1)).state == "open"


async def test_set_statuses(chores: Errands, pulled: tuple[Job, LocalForge]) -> None:
    """Pending when a push begins to be proved, and what is so when it has ended."""
    job, forge = pulled
    sha = job.work_sha or ""
    proving = msgspec.structs.replace(job, state="planned", verify=True)
    assert await chores.set_statuses(errand("set_statuses", sha=sha), proving) == "done"
    assert {s.state for s in await forge.statuses(sha)} == {"pending"}
    over = msgspec.structs.replace(job, state="ready_for_human_review")
    assert await chores.set_statuses(errand("set_statuses", sha=sha), over) == "done"
    assert {s.state for s in await forge.statuses(sha)} == {"error"}


async def test_statuses_that_nobody_needs(chores: Errands, pulled: tuple[Job, LocalForge]) -> None:
    """Of a job that has ended, and of a commit that the forge has lost."""
    job, _ = pulled
    assert await chores.set_statuses(errand("set_statuses", sha=job.work_sha), job) == NOT_NOW
    live = msgspec.structs.replace(job, state="ready_for_human_review")
    assert "does not know" in await chores.set_statuses(errand("set_statuses", sha="1" * 40), live)
