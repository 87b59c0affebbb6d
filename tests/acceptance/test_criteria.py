"""The vision's "Initial acceptance criteria", a test for each line, on three jobs that run at once in one factory.

Two lie in one repository on GitHub, the third fails. People do nothing but type into chats; what came of it is looked at
as a stranger would: through PyGithub, by fetching what is linked, and on the machine itself.
"""

import asyncio
import json
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import aiohttp
import github as pygithub
import imageio_ffmpeg
import pytest
from factory_browser import chromium
from factory_jobs import books
from factory_jobs.job import Job
from factory_loopback.telegram.person import ShownMessage
from playwright.async_api import async_playwright
from whole import ADA, PERSON, Line, Project, Up, heading, line_of, rounds

pytestmark = pytest.mark.timeout(400)
WISH = "The heading should say Lines."
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


@dataclass
class Look:
    """What three jobs have at one moment: by the database, and by the machine."""

    jobs: list[Job]
    owned: dict[str, dict[str, str]]  # job → kind → what
    listeners: dict[str, set[int]]  # job → ports that its processes listen on
    worktrees: dict[str, set[str]]  # job → FACTORY_WORKTREE of its processes
    directories: dict[str, set[Path]]  # job → checkouts that its processes work in
    notes: dict[str, str] = field(default_factory=dict)  # job → its page, each with a note of its own


@dataclass
class Story:
    """What was typed, and what came of it."""

    name: str  # of the repository on GitHub
    jobs: list[Job]  # two that are ready
    failed: Job
    look: Look
    said: ShownMessage  # of the failed one, in its chat
    final: ShownMessage  # of the first, in its chat
    actors: set[str]  # who has moved the first

    @property
    def job(self) -> Job:
        return self.jobs[0]


@pytest.fixture(scope="module")
def story(factory_up: Up, github: str, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Three wishes are typed, the agents wait until all three have their apps, and all go to their ends."""
    go = tmp_path_factory.mktemp("criteria") / "go"

    async def told() -> Story:
        async with opened(factory_up) as line:
            return await _told(line, go)

    return asyncio.run(told())


opened = asynccontextmanager(line_of)


async def _told(line: Line, go: Path) -> Story:
    wait = {"run": f"until [ -e {go} ]; do sleep 0.2; done; rm -f notes.json"}
    red = [wait, *heading("Lines", test="self.fail('this is not it')")]
    again = heading("Lines", test="self.fail('the heading is not what was asked for')")
    good = await line.project_on_github(rounds([wait, *heading("Lines")]))
    bad = await line.project(rounds(red, again))
    jobs = [await good.ask(WISH), await good.ask(f"{WISH} In the second job, too."), await bad.ask(WISH)]
    look = await line.until(lambda: _at_once(line, jobs), 90, "three jobs at once")
    go.touch()
    one, two, failed = await asyncio.gather(
        good.reach(jobs[0], "ready_for_human_review", within=240),
        good.reach(jobs[1], "ready_for_human_review", within=240),
        bad.reach(jobs[2], "failed", within=240),
    )
    events = await line.store.events(one.id)
    return Story(
        name=f"acme/{good.name}",
        jobs=[one, two],
        failed=failed,
        look=look,
        said=await bad.shows("Failed:", "Cleanup: done"),
        final=await _final(good, one),
        actors={e["actor"].partition("@")[0] for e in events},
    )


async def _final(project: Project, job: Job) -> ShownMessage:
    number = job.pr.number if job.pr else 0
    return await project.shows("Ready for your review:", f"#{number}")


async def _at_once(line: Line, jobs: list[Job]) -> Look | None:
    """Once each has its app: who has what, and a note put into each app."""
    now = [await line.store.get(j.id) for j in jobs]
    if not all(j.sandbox and j.sandbox.urls and j.state in WORKING for j in now):
        return None
    kept = (await books.read(line.pool)).owned
    owned = {j.id: {o.kind: o.ref for o in kept if o.job_id == j.id} for j in now}
    listeners, worktrees, directories = {}, {}, {}
    seen = await _seen(line)
    for job in now:
        mine = [p["pid"] for p in seen["processes"] if p["place"] == f"{job.id}-{job.placement}"]
        listeners[job.id] = {p["port"] for p in seen["listeners"] if p["pid"] in mine}
        worktrees[job.id] = {w for pid in mine if (w := _variable(pid, "FACTORY_WORKTREE"))}
        directories[job.id] = {d for pid in mine if (d := _works_in(pid)) and d.name == "checkout"}
    look = Look(now, owned, listeners, worktrees, directories)
    async with aiohttp.ClientSession() as web:
        for job in now:
            assert job.sandbox
            async with web.post(job.sandbox.urls[0]["url"], data={"note": f"of {job.id}"}) as answer:
                look.notes[job.id] = await answer.text()
    return look


WORKING = {"dev_environment_ready", "implementation_in_progress"}


async def _seen(line: Line) -> dict[str, Any]:
    """Processes and listeners of all places, by envkeeper's own look at /proc."""
    argv = [sys.executable, "-m", "factory_envkeeper.seen", line.env["FACTORY_NODE_DIR"]]
    asked = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    return json.loads((await asked.communicate())[0])


def _variable(pid: int, name: str) -> str:
    try:
        found = re.search(rf"(?:^|\0){name}=([^\0]*)".encode(), Path(f"/proc/{pid}/environ").read_bytes())
    except OSError:
        return ""
    return found[1].decode() if found else ""


def _works_in(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


@pytest.fixture(scope="module")
def pull(story: Story, github: str) -> Iterator[Any]:
    """The first job's pull request as Ada sees it on GitHub."""
    auth = pygithub.Auth.Token(PERSON)
    with pygithub.Github(base_url=f"{github}/api/v3", auth=auth, seconds_between_requests=0) as gh:
        yield gh.get_repo(story.name).get_pull(story.job.pr.number if story.job.pr else 0)


def section(pull: Any, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", pull.body, re.S | re.M)
    assert found, pull.body
    return found[1]


async def fetched(url: str) -> tuple[bytes, str]:
    """The content, and its type."""
    async with aiohttp.ClientSession() as web, web.get(url) as answer:
        assert answer.status == 200, (url, answer.status)
        return await answer.read(), answer.content_type


# ── the lines ─────────────────────────────────────────────────────────────────


def test_a_telegram_message_in_the_project_chat_creates_a_github_pr_without_manual_cli_intervention(
    story: Story, pull: Any, github: str
) -> None:
    """Nothing but a message was typed; nobody but the factory's services has moved the job; the chat links the PR."""
    job = story.job
    assert (pull.state, pull.user.login, pull.draft, pull.merged) == ("open", "factory", False, False)
    assert (pull.head.ref, pull.head.sha, pull.base.ref) == (job.branch, job.proved_sha, "main")
    assert WISH in pull.body and pull.title == WISH.rstrip(".")
    changed = {f.filename: f.patch for f in pull.get_files()}
    assert set(changed) == {"page.html", "test_heading.py"} and "+    <h1>Lines</h1>" in changed["page.html"]
    assert story.actors == {f"Ada ({ADA})", "planner", "envkeeper", "builder", "recorder", "reviewer"}
    assert f'<a href="{github}/{story.name}/pull/{pull.number}">#{pull.number}</a>' in story.final.html


async def test_the_pr_includes_a_working_preview_link_for_that_branch(story: Story, pull: Any, factory_up: Up) -> None:
    """The link in the text is the deployment's, shows the change, and is answered by a process of this job's checkout."""
    link = re.search(r"https?://\S+", section(pull, "Preview"))
    assert link
    (deployment,) = pull.base.repo.get_deployments(environment=f"factory/{story.job.id}")
    assert (deployment.sha, next(iter(deployment.get_statuses())).environment_url) == (pull.head.sha, link[0])
    page, kind = await fetched(link[0])
    assert kind == "text/html" and b"<h1>Lines</h1>" in page and f"of {story.job.id}".encode() not in page
    port = int(link[0].rstrip("/").rpartition(":")[2])
    async with opened(factory_up) as line:
        (listener,) = [each for each in (await _seen(line))["listeners"] if each["port"] == port]
        assert listener["place"] == f"{story.job.id}-{story.job.placement}"
        checkout = _works_in(listener["pid"])
        assert checkout and checkout.parent.name == listener["place"]
        head = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        branch = subprocess.run(["git", "-C", checkout, "branch", "--show-current"], capture_output=True, text=True)
        assert (head.stdout.strip(), branch.stdout.strip()) == (pull.head.sha, pull.head.ref)


async def test_the_pr_includes_a_video_or_screenshot_proving_that_the_feature_was_opened_and_tested(
    story: Story, pull: Any, tmp_path: Path
) -> None:
    """Both: a film that plays anywhere and in which something happens, and a picture of the page as the preview shows it."""
    shown = section(pull, "Video")
    film, picture = tmp_path / "film.mp4", tmp_path / "picture.png"
    (video,) = re.findall(r"\((http\S+\.mp4)\)", shown)
    content, kind = await fetched(video)
    film.write_bytes(content)
    assert kind == "video/mp4" and boxes(content).index("moov") < boxes(content).index("mdat")
    said = subprocess.run([FFMPEG, "-i", film], capture_output=True, text=True, check=False).stderr
    assert re.search(r"Stream #0:0.*: Video: h264 .*\(avc1.*yuv420p", said), said
    hours, minutes, seconds = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said).groups()  # type: ignore[union-attr]
    long = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    assert long > 1 and f"{long:.0f} s" in shown
    first, later = frame(film, at=0), frame(film, at=long / 2)
    assert difference(first, later) > 1

    pictures = re.findall(r"screenshot: \[[^]]*\]\((http\S+\.png)\)", shown)
    assert pictures
    content, kind = await fetched(pictures[-1])
    picture.write_bytes(content)
    assert kind == "image/png" and content.startswith(b"\x89PNG\r\n\x1a\n")
    size = struct.unpack(">II", content[16:24])
    assert story.job.sandbox
    right, wrong = await photographs(story.job.sandbox.preview_url, size, tmp_path)
    taken = frame(picture)
    assert difference(taken, frame(right)) < difference(frame(right), frame(wrong)) / 4


def boxes(content: bytes) -> list[str]:
    """The names of an MP4's outermost parts, in their order (ISO/IEC 14496-12)."""
    found, at = [], 0
    while at + 8 <= len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        found.append(name.decode("latin-1"))
        at += size if size > 1 else struct.unpack(">Q", content[at + 8 : at + 16])[0] if size else len(content)
    return found


def frame(path: Path, at: float = 0) -> bytes:
    """A picture as 8-bit grey, 320 × 240."""
    argv = [FFMPEG, "-v", "error", "-ss", f"{at}", "-i", path, "-frames:v", "1", "-vf", "scale=320:240,format=gray"]
    return subprocess.run([*argv, "-f", "rawvideo", "-"], capture_output=True, check=True).stdout


def difference(one: bytes, other: bytes) -> float:
    """Mean, of 0 to 255."""
    assert len(one) == len(other) == 320 * 240
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


async def photographs(url: str, size: tuple[int, int], directory: Path) -> tuple[Path, Path]:
    """The page now, and the same with the heading that it had before."""
    right, wrong = directory / "right.png", directory / "wrong.png"
    async with async_playwright() as p:
        browser = await p.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": size[0], "height": size[1]})
        await page.goto(url)
        await page.screenshot(path=right)
        await page.evaluate("document.querySelector('h1').textContent = 'Notes'")
        await page.screenshot(path=wrong)
        await browser.close()
    return right, wrong


def test_a_second_review_bot_leaves_a_review_and_a_check_on_the_pr(story: Story, pull: Any) -> None:
    """By another account than the author's, at exactly the commit that the pull request holds."""
    (review,) = pull.get_reviews()
    assert review.user.login == "reviewer" != pull.user.login
    assert (review.state, review.commit_id) == ("APPROVED", pull.head.sha) and "Approved" in review.body
    (status,) = [
        s for s in pull.base.repo.get_commit(pull.head.sha).get_combined_status().statuses if "review" in s.context
    ]
    assert (status.context, status.state) == ("factory/review", "success")
    assert "**approved**" in section(pull, "Reviewer")


def test_multiple_jobs_run_concurrently_without_port_docker_project_database_or_branch_collisions(
    story: Story, github: str
) -> None:
    """While three apps run: leased and really used ports, worktree ids (by which Compose projects are named), checkouts,
    what each app has stored, and branches; two of the three are changes to one repository."""
    look = story.look
    ids = [job.id for job in look.jobs]
    assert len({job.repo for job in look.jobs}) == 2 and len({job.branch for job in look.jobs}) == 3
    for job in look.jobs:
        assert job.sandbox and look.listeners[job.id] and look.listeners[job.id] <= set(range(*job.sandbox.ports))
        assert look.worktrees[job.id] == {job.id}
        (checkout,) = look.directories[job.id]
        assert str(checkout).startswith(f"{look.owned[job.id]['clone']}/")
        assert [f"of {other}" in look.notes[job.id] for other in ids] == [other == job.id for other in ids]
    for one, other in combinations(look.jobs, 2):
        assert one.sandbox and other.sandbox
        assert not set(range(*one.sandbox.ports)) & set(range(*other.sandbox.ports))
        assert not set(look.owned[one.id].values()) & set(look.owned[other.id].values())
        assert not look.directories[one.id] & look.directories[other.id]
    assert {"ports", "clone", "sandbox"} <= set(look.owned[ids[0]])

    first, second = story.jobs
    assert first.pr and second.pr and first.pr.number != second.pr.number and first.branch != second.branch
    auth = pygithub.Auth.Token(PERSON)
    with pygithub.Github(base_url=f"{github}/api/v3", auth=auth, seconds_between_requests=0) as gh:
        heads = {p.number: (p.head.ref, p.head.sha) for p in gh.get_repo(story.name).get_pulls()}
    assert heads == {job.pr.number: (job.branch, job.proved_sha) for job in story.jobs if job.pr}


async def test_a_failed_job_reports_the_failing_stage_logs_and_cleanup_status_back_to_telegram(
    story: Story, factory_up: Up
) -> None:
    """In one message; the linked log is of that stage and holds what went wrong; nothing of the job is left."""
    said, failure = story.said, story.failed.failure
    assert failure and f"({failure.stage})" in said.text and failure.stage == "tests_running"
    assert "the heading is not what was asked for" in said.text
    assert "Cleanup: done, nothing is left running" in said.text and said.button("Retry")
    (link,) = re.findall(r'<a href="([^"]+)">The whole log</a>', said.html)
    log, kind = await fetched(link)
    assert kind == "text/plain" and "/tests_running." in link and b"test_heading" in log
    async with opened(factory_up) as line:
        found = await books.read(line.pool, story.failed.id)
        assert found.owned == [] and found.jobs[story.failed.id].cleanup == "done"
        seen = await _seen(line)
        assert not [p for p in seen["processes"] if p["place"].startswith(story.failed.id)]
        assert not [p for p in seen["places"] if p.startswith(story.failed.id)]
