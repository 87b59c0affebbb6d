"""What a person meets: from a message to a pull request, further changes, failures, bad input. Each through the chat."""

import asyncio
import subprocess
from pathlib import Path

import aiohttp
import pytest
from factory_loopback.telegram.person import RemotePerson
from whole import BEN, CHATS, EVE, Line, heading, processes_of, rounds

pytestmark = pytest.mark.timeout(300)
WISH = "The heading should say Lines."


async def test_a_message_becomes_a_pull_request_on_a_repo_that_is_not_the_pilot(line: Line) -> None:
    """One good round: branch, commit, tests, video, review, message; what is pushed is what was proved."""
    project = await line.project()
    job = await project.ask(WISH)
    job = await project.reach(job, "ready_for_human_review")
    assert job.pr and job.proved_sha and job.branch and job.round == 1 and job.verdict == "approved"
    assert project.git("rev-parse", job.branch) == job.proved_sha == job.pr.head
    assert "<h1>Lines</h1>" in project.git("show", f"{job.branch}:page.html")
    assert "<h1>Notes</h1>" in project.git("show", "main:page.html")
    final = await project.shows("Ready for your review:")
    assert "unit: 5 passed" in final.text and "approved" in final.text
    video = await project.ada.wait_for(lambda m: m.media is not None, 30)
    assert video.media and video.media.kind == "video" and video.media.duration >= 2
    async with aiohttp.ClientSession() as web:
        for url in (
            job.pr.url,
            f"{line.env['FACTORY_PUBLIC_URL']}/jobs/{job.id}",
            job.sandbox.preview_url if job.sandbox else "",
        ):
            async with web.get(url) as answer:
                assert answer.status == 200, url


async def test_two_jobs_at_once_in_one_repo_do_not_collide(line: Line) -> None:
    """Two wishes in one chat: two branches, two port ranges, two pull requests, both ready."""
    project = await line.project()
    one, two = await project.ask(WISH), await project.ask(WISH + " Please.")
    one, two = await asyncio.gather(
        project.reach(one, "ready_for_human_review", within=240),
        project.reach(two, "ready_for_human_review", within=240),
    )
    assert one.branch != two.branch and one.pr and two.pr and one.pr.number != two.pr.number
    assert one.sandbox and two.sandbox and not set(range(*one.sandbox.ports)) & set(range(*two.sandbox.ports))
    assert one.sandbox.preview_url != two.sandbox.preview_url


async def test_an_app_that_cannot_start_fails_with_stage_log_and_cleanup(line: Line) -> None:
    """The chat names the stage and the log's tail, then the cleanup; nothing is left running."""

    def broken(tree: Path) -> None:
        (tree / "notes.py").write_text("raise SystemExit('no database at all')\n")

    project = await line.project(change=broken)
    job = await project.reach(await project.ask(WISH), "failed")
    assert job.failure and job.failure.stage == "dev_environment_starting" and job.failure.blame == "repo"
    said = await project.shows("Failed:", "dev_environment_starting", "no database at all", "nothing is left running")
    assert said.button("Retry") is not None
    assert processes_of(job.id) == []


async def test_out_of_rounds_offers_more_and_retry_goes_on(line: Line) -> None:
    """Two red rounds end it; Retry gives it two more and it ends well on the same branch."""
    wrong = heading("Lines", test="self.fail('the test that never holds')")
    again = heading("Lines", test="self.fail('and it never holds')")
    project = await line.project(
        rounds(wrong, again, heading("Lines"), expect={2: ["the test that never holds"], 3: ["never holds"]})
    )
    job = await project.reach(await project.ask(WISH), "failed")
    assert job.failure and job.failure.code == "out_of_rounds" and job.round == 2 and job.pr is None
    failed = await project.shows("Failed:", "2 rounds")
    await project.ada.press(failed.message_id, "Retry")
    ready = await project.reach(job, "ready_for_human_review")
    assert ready.id == job.id and ready.branch == job.branch and ready.round == 3


async def test_a_reply_at_ready_is_the_next_change_on_the_same_pull_request(line: Line) -> None:
    """Follow-up: same job, branch and pull request; a second one that fails leads back to the proved commit."""
    project = await line.project()
    job = await project.reach(await project.ask(WISH), "ready_for_human_review")
    first = job.proved_sha
    project.play(
        rounds(
            [
                *heading("Letters"),
                {"run": "sed -i 's/criteria: .c1./criteria: [c1, c2]/' .software-factory/scenarios.yaml"},
            ]
        )
    )
    final = await project.shows("Ready for your review:")
    await project.ada.type("The heading should say Letters instead.", reply_to=final.message_id)
    second = await project.reach(job, "ready_for_human_review", request=2)
    assert second.pr and job.pr and second.pr.number == job.pr.number and second.branch == job.branch
    assert (
        second.proved_sha != first
        and project.git("merge-base", "--is-ancestor", str(first), str(second.proved_sha)) == ""
    )
    wrong = heading("Nothing", test="self.fail('never')")
    project.play(rounds(wrong, heading("Nothing", test="self.fail('never again')")))
    answer = (
        await project.shows("Ready for your review", "Letters")
        if False
        else await project.ada.wait_for(
            lambda m: m.from_bot and "Ready for your review:" in m.text and m.message_id > final.message_id, 30
        )
    )
    await project.ada.type("The heading should say Nothing.", reply_to=answer.message_id)
    third = await project.reach(job, "ready_for_human_review", request=3)
    assert third.proved_sha == second.proved_sha == project.git("rev-parse", str(job.branch))
    assert third.failure and third.failure.code == "out_of_rounds"
    await project.shows("back at the last commit that holds")


async def test_a_message_while_the_agent_works_is_heard_in_its_next_round(line: Line) -> None:
    """A steer is answered at once and stands in the next round's prompt."""
    first = [{"sleep": 6}, *heading("Lines", test="self.fail('first round')")]
    project = await line.project(rounds(first, heading("Lines"), expect={2: ["make it friendly"]}))
    job = await project.ask(WISH)
    await project.reach(job, "implementation_in_progress")
    status = await project.status_message(job)
    await project.ada.type("Please make it friendly.", reply_to=status.message_id)
    await project.shows("hears it at the start of its next round")
    job = await project.reach(job, "ready_for_human_review")
    assert job.round == 2 and job.request_no == 1


# ── bad input ─────────────────────────────────────────────────────────────────


async def test_who_is_not_allowed_is_told_so_and_starts_nothing(line: Line) -> None:
    """A stranger in an allowed chat, and anybody in a chat that no project has."""
    project = await line.project()
    async with RemotePerson(line.telegram, CHATS[project.index], EVE) as eve:
        await eve.type(WISH)
        said = await eve.wait_for(lambda m: m.from_bot, 20)
    assert "You may not start work here" in said.text and str(EVE) in said.text
    assert await line.store.jobs(project.name) == []
    async with RemotePerson(line.telegram, EVE, EVE) as alone:
        await alone.type(WISH)
        said = await alone.wait_for(lambda m: m.from_bot, 20)
    assert "not connected to a project" in said.text


async def test_a_member_may_not_cancel_the_job_of_another(line: Line) -> None:
    """The author or an owner decides."""
    project = await line.project(rounds([{"sleep": 60}]))
    job = await project.reach(await project.ask(WISH), "implementation_in_progress")
    async with RemotePerson(line.telegram, CHATS[project.index], BEN) as ben:
        status = await project.status_message(job)
        assert "Only its author or an owner" in await ben.press(status.message_id, "Cancel")
    assert (await line.store.get(job.id)).state == "implementation_in_progress"
    await project.ada.type(f"/cancel {job.id}")
    await project.reach(job, "cancelled", within=10)


def _invalid(tree: Path) -> None:
    (tree / "factory.yaml").write_text("name: notes\nservices:\n  web:\n    comand: python3 notes.py\n")


async def test_an_invalid_contract_is_named_with_its_line(line: Line) -> None:
    """The chat shows file, line and the nearest word."""
    project = await line.project(change=_invalid)
    job = await project.reach(await project.ask(WISH), "failed")
    assert job.failure and job.failure.blame == "repo"
    said = await project.shows("Failed:", "factory.yaml:4", "comand", "command")
    assert "Traceback" not in said.text


async def test_a_repo_that_cannot_be_cloned_is_named(line: Line) -> None:
    """The URL and the reason; no half-made place."""
    project = await line.project()
    subprocess.run(["rm", "-rf", str(project.repo)], check=True)
    job = await project.reach(await project.ask(WISH), "failed")
    await project.shows("Failed:", str(project.repo))
    assert job.placement is None and job.failure and job.failure.stage == "received"
    project.repo.mkdir()  # so that no other test takes this chat


async def test_an_agent_that_is_not_installed_is_named(line: Line) -> None:
    """The command, and what to do about it."""
    project = await line.project()
    project.script.unlink()
    project.script.write_text("this is no script")
    job = await project.reach(await project.ask(WISH), "failed", within=200)
    assert job.failure and job.failure.stage == "implementation_in_progress"
    await project.shows("Failed:", "ended with exit code 2")


async def test_an_agent_that_changes_nothing_is_no_success(line: Line) -> None:
    """Exit 0 and an empty diff: told so in its next round, and at the end the chat says so."""
    nothing: list[dict[str, object]] = [{"run": "true"}]
    project = await line.project(rounds(nothing, nothing, expect={2: ["nothing in the repository has changed"]}))
    job = await project.reach(await project.ask(WISH), "failed")
    assert job.failure and job.failure.code == "out_of_rounds" and job.work_sha is None and job.pr is None
    assert project.git("branch", "--list", "factory/*") == ""
