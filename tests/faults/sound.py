"""What holds after every accident: the books agree with the world, and nobody was told anything twice."""

import asyncio

from factory_chassis.settings import Settings, read
from factory_ctl.audit import audit
from factory_jobs.job import Job
from whole import Line, Project, heading, rounds

WISH = "The heading should say Lines."
READY = "ready_for_human_review"
OUR_FAULTS = {"faulted", "lease_expired", "deadline_passed", "sandbox_lost"}


async def begun(line: Line, count: int, *, sleep: float = 0) -> list[tuple[Project, Job]]:
    """So many jobs, each in a chat and a repo of its own; the agent takes `sleep` seconds."""
    steps = [{"sleep": sleep}, *heading("Lines")] if sleep else heading("Lines")
    projects = [await line.project(rounds(steps)) for _ in range(count)]
    return list(zip(projects, await asyncio.gather(*(p.ask(WISH) for p in projects)), strict=True))


async def all_ready(begun: list[tuple[Project, Job]], *, within: float) -> list[Job]:
    """Every job in a person's hands, in its first round, told once; and nothing for the auditor to find."""
    jobs = await asyncio.gather(*(p.reach(job, READY, within=within) for p, job in begun))
    for (project, _), job in zip(begun, jobs, strict=True):
        assert job.round == 1, "work that was done is not done again"
        assert project.git("rev-parse", str(job.branch)) == job.proved_sha
        await told_once(project)
    await audited(begun[0][0].line)
    return list(jobs)


async def told_once(project: Project) -> None:
    """Status, final word and film; the auditor knows no word of the last two."""
    await project.shows("Ready for your review:", within=60)
    await project.ada.wait_for(lambda m: m.media is not None and m.media.kind == "video", 60)
    said = [m.text for m in await project.ada.read() if m.from_bot]
    assert len(said) == len(set(said)) == 3, said


async def audited(line: Line) -> None:
    found = await audit(read(Settings, line.env), wait=30)
    assert not found, "\n".join(f"{f.kind}: {f.job_id} {f.what}" for f in found)


async def kinds(line: Line, job: Job) -> list[str]:
    return [e["kind"] for e in await line.store.events(job.id)]
