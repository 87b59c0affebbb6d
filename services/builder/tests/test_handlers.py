"""Builder's states where they decide: what is refused, what goes back, what the next round is told."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from factory_agents.driver import Turn
from factory_builder import checkpoint, feedback
from factory_chassis.plan import Plan
from factory_forge.git import Mirror
from factory_forge.inside import GitInside
from factory_jobs import events as ev
from factory_sandbox.contract import Answer


async def committed(work: Any, clone: Path, inside: GitInside, files: dict[str, str]) -> str:
    for name, text in files.items():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(text)
    made = await inside.commit(work.job.work_sha or work.job.base_sha, "m")
    await work.put_round(work.job, commit=made.sha, bundle=await checkpoint.save(work, inside, made.sha))
    return made.sha


async def test_refused_while_it_can_be_mended(
    work: Any, mirror: Mirror, clone: Path, inside: GitInside, here: Any
) -> None:
    """What the mirror will not take is told after the round, by name; the next round's commit leaves it behind."""
    handlers = here()
    (clone / "way-out").symlink_to("/etc/passwd")
    bad = await committed(work, clone, inside, {"page.py": "x\n"})
    said = await handlers._refused(work, bad)
    assert said is not None
    assert "way-out" in said
    work.job = msgspec.structs.replace(work.job, round=2)
    (clone / "way-out").unlink()
    good = await committed(work, clone, inside, {})
    assert await handlers._refused(work, good) is None
    assert [c.sha for c in await mirror.log(work.job.base_sha, good)] == [good]


GREEN = {"suite": "unit", "ok": True, "failures": [], "passed": 3, "failed": 0}
RED = GREEN | {"ok": False, "failed": 1, "failures": [{"name": "test_a", "message": "1 != 2"}]}
TIMEOUT = {"error": {"code": "timeout", "message": "factory test took longer than 1700 s", "log_tail": "hanging"}}


@pytest.mark.parametrize(
    ("answer", "base", "said"),
    [
        (Answer("test", 0, {"suites": [GREEN]}), [GREEN], None),
        (Answer("test", 1, {"suites": [RED], "error": {"code": "tests_failed"}}), [RED], None),
        (Answer("test", 2, {"error": {"code": "no_suites", "message": "x"}}), [], None),
        (Answer("test", 1, {"suites": [RED]}), [GREEN], "test_a: 1 != 2"),
        (Answer("test", 1, TIMEOUT), [GREEN], "longer than 1700 s"),
        (Answer("test", 1, TIMEOUT), [], "hanging"),
        (Answer("test", 2, {"error": {"code": "no_suites", "message": "x"}}), [GREEN], "`unit` did not run"),
    ],
)
async def test_suites(
    work: Any,
    mirror: Mirror,
    clone: Path,
    inside: GitInside,
    answer: Answer,
    base: list[Any],
    said: str | None,
    here: Any,
) -> None:
    """Green, or red as the base is, goes on; all else goes back with its words, a run without results too."""
    work.base_result = {"suites": base}
    sha = await committed(work, clone, inside, {"page.py": "x\n"})
    work.job = msgspec.structs.replace(work.job, work_sha=sha)
    event = await here(test=answer).tests_running(work)
    if said is None:
        assert isinstance(event, ev.Done)
        assert [(kind, ok) for kind, ok, _ in work.seen] == [("suites", True)]
        return
    assert isinstance(event, ev.FellBack)
    assert said in event.feedback
    assert feedback.before(await work.rounds(""), 1, 2) == event.feedback
    assert not any(ok for _, ok, _ in work.seen)


async def test_no_half_of_a_secret_is_told(work: Any, clone: Path, inside: GitInside, here: Any) -> None:
    """It is taken out before messages and logs are cut: of the other half nobody knows that it is one."""
    sha = await committed(work, clone, inside, {"page.py": "x\n"})
    work.job = msgspec.structs.replace(work.job, work_sha=sha)
    red = RED | {"failures": [{"name": "test_a", "message": work.secret + "y" * (feedback.MESSAGE - 5)}]}
    event = await here(test=Answer("test", 1, {"suites": [red]})).tests_running(work)
    assert isinstance(event, ev.FellBack)
    down = Answer(
        "restart", 3, {"error": {"code": "not_ready", "message": "x"}}, work.secret + "y" * (feedback.TAIL - 5)
    )
    bad = await here(restart=down)._after_round(work, sha)
    for said in (event.feedback, bad.feedback):
        assert "y" in said
        assert work.secret[-5:] not in said


async def test_dirt(work: Any, mirror: Mirror, clone: Path, inside: GitInside, here: Any) -> None:
    """What changed after the commit goes back before any suite runs; what the base changes too does not."""
    sha = await committed(work, clone, inside, {"page.py": "x\n"})
    work.job = msgspec.structs.replace(work.job, work_sha=sha)
    (clone / "app.py").write_text("rewritten by setup\n")
    work.base_result = {"dirt": await inside.changes(), "suites": []}
    handlers = here(test=Answer("test", 0, {"suites": [GREEN]}))
    assert isinstance(await handlers.tests_running(work), ev.Done)
    (clone / "late.py").write_text("x\n")
    event = await handlers.tests_running(work)
    assert isinstance(event, ev.FellBack)
    assert "late.py" in event.feedback
    assert "app.py" not in event.feedback


@pytest.mark.parametrize("verify", [False, True])
async def test_a_checkpoint_whose_app_does_not_start(
    work: Any, mirror: Mirror, clone: Path, inside: GitInside, verify: bool, remote: Path, here: Any
) -> None:
    """The agent is told at its next turn; where a person's commit is to be proved there is no agent to tell."""
    sha = await committed(work, clone, inside, {"page.py": "x\n"})
    await inside.reset(work.job.base_sha)
    work.job = msgspec.structs.replace(work.job, work_sha=sha, round=2, verify=verify, repo=str(remote))
    down = Answer("restart", 3, {"error": {"code": "not_ready", "message": "web is not ready"}})
    event = await here(restart=down).dev_environment_ready(work)
    assert isinstance(event, ev.Done)
    assert await inside.head() == sha
    told = feedback.before(await work.rounds(""), 1, 2)
    assert told is None if verify else told is not None and "web is not ready" in told


async def test_after_a_round_the_app_has_to_get_ready(
    work: Any, mirror: Mirror, clone: Path, inside: GitInside, here: Any
) -> None:
    """The commit is kept either way; an app that does not come up is the next round's first thing to mend."""
    sha = await committed(work, clone, inside, {"page.py": "x\n"})
    good = await here()._after_round(work, sha)
    assert isinstance(good, ev.Done)
    assert good.facts == {"work_sha": sha}
    down = Answer("status", 3, {"error": {"code": "not_ready", "message": "web died", "log_tail": "Traceback"}})
    bad = await here(status=down)._after_round(work, sha)
    assert isinstance(bad, ev.FellBack)
    assert bad.facts == {"work_sha": sha}
    assert "web died" in bad.feedback
    assert "Traceback" in bad.feedback


async def test_a_rounds_commit(work: Any, mirror: Mirror, clone: Path, inside: GitInside, here: Any) -> None:
    """Holds the agent's work and not what the base's setup changes; title, words and job are in its message, no secret."""
    (clone / "app.py").write_text("rewritten by setup\n")
    work.base_result = {"dirt": await inside.changes()}
    (clone / "page.py").write_text("x\n")
    plan = Plan(title="Add a page", problem="x", scope="x", criteria=[])
    ended = Turn(stop_reason="end_turn", message=f"I added a page with {work.secret}.", tool_calls=2)
    sha = await here()._commit(work, work.job.base_sha, plan, ended)
    (made,) = await work.rounds("")
    assert (made.commit, made.parent, made.summary) == (sha, work.job.base_sha, "I added a page with •••.")
    assert await here()._refused(work, sha) is None
    (commit,) = await mirror.log(work.job.base_sha, sha)
    assert commit.subject == "Add a page"
    assert commit.body.strip() == "I added a page with •••.\n\nFactory-Job: jabcdefghi2"
    assert [f.path for f in (await mirror.diff(work.job.base_sha, sha)).files] == ["page.py"]


async def test_a_round_that_leaves_nothing(
    work: Any, mirror: Mirror, clone: Path, inside: GitInside, here: Any
) -> None:
    """No commit, and no row that claims one."""
    plan = Plan(title="Add a page", problem="x", scope="x", criteria=[])
    assert await here()._commit(work, work.job.base_sha, plan, Turn(stop_reason="")) == work.job.base_sha
    assert await work.rounds("") == []
