"""What the forge says of a commit's proof, from its evidence: each check passed, failed, is under way, or never ran."""

from __future__ import annotations

from collections.abc import Mapping

from factory_forge.forge import PROOF, Forge, Status
from factory_jobs.job import Job
from factory_jobs.machine import WORKING, State
from factory_jobs.records import Evidence, Records

KINDS = dict(zip(PROOF, ("setup", "suites", "browser", "review"), strict=True))  # context → kind of evidence


def statuses(job: Job, sha: str, evidence: Mapping[str, Evidence], public_url: str) -> list[Status]:
    """One of each context. The review of a commit that is worked on is still to come, whatever an older one said."""
    proving = State(job.state) in WORKING and job.work_sha == sha
    page = f"{public_url.rstrip('/')}/jobs/{job.id}"
    found = []
    for context, kind in KINDS.items():
        one = evidence.get(kind)
        if proving and kind == "review":
            one = None
        if one is not None:
            state, says = "success" if one.ok else "failure", _says(one)
        elif proving:
            state, says = "pending", _awaited(job, kind)
        else:
            state, says = "error", "did not run on this commit"
        found.append(Status(sha=sha, context=context, state=state, description=says, url=page))
    return found


def _awaited(job: Job, kind: str) -> str:
    if job.verify:
        return "stale: somebody pushed; this commit is being proved"
    return "waiting for the review" if kind == "review" else "under way"


def _says(one: Evidence) -> str:
    match one.kind:
        case "setup":
            return "set up, started and healthy" if one.ok else f"{one.data['verb']} fails"
        case "suites":
            return ", ".join(f"{s['suite']}: {s.get('passed', 0)} passed" for s in one.data["suites"])
        case "browser":
            return f"{sum(bool(r.get('ok')) for r in one.data.get('results', []))} scenarios hold"
    return "review by rules"


async def show(forge: Forge, job: Job, sha: str, records: Records, public_url: str) -> None:
    for status in statuses(job, sha, await records.evidence(job.id, sha), public_url):
        await forge.set_status(status)
