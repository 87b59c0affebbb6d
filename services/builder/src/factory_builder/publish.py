"""Push and pull request: exactly the proved commit, the text from records, statuses pending until the review."""

from __future__ import annotations

from typing import Any

from factory_chassis import asking
from factory_chassis.work import Work
from factory_forge import body, risk
from factory_forge.basis import basis_of
from factory_forge.diff import Diff
from factory_forge.errors import NotFastForward
from factory_forge.forge import Deployment, Forge, PullRequest, preview_of
from factory_forge.git import Mirror
from factory_jobs import events as ev
from factory_jobs.job import Job

from .statuses import statuses


async def publish(work: Work, mirror: Mirror, forge: Forge) -> ev.Event:
    """Risk gate → push → pull request → labels, statuses, comment, preview. Each can be done again and happens once."""
    job = work.job
    assert job.work_sha and job.branch
    basis = await basis_of(mirror, work.project.base, job.work_sha)
    if not job.verify and (gate := await _risk_gate(work, basis.diff)) is not None:
        return gate
    try:
        await _push(work, mirror, forge)
    except NotFastForward as e:
        return _somebody_pushed(e)
    clean = work.redactor.text
    proof = await body.gather(work.records, job, mirror, basis, work.public_url, clean)
    text = clean(body.render(proof))
    pull = await _pull(work, forge, basis.name, text, body.labels(proof))
    work.may_act()
    await forge.set_labels(pull.number, body.labels(proof, pull.labels))
    for status in statuses(job, job.work_sha, proof.evidence, work.public_url):
        await forge.set_status(status)
    await forge.sticky_comment(pull.number, body.comment_marker(job.id), clean(body.comment(proof)))
    await _show_preview(job, forge)
    await work.keep("report", "pull-request.md", text.encode(), commit=job.work_sha)
    work.log.info("pull request", number=pull.number, url=pull.url, head=pull.head_sha[:12])
    facts = {"number": pull.number, "url": pull.url, "head": job.work_sha, "draft": pull.draft, "state": pull.state}
    return ev.Done(facts={"pr": facts})


async def _risk_gate(work: Work, diff: Diff) -> ev.Asked | None:
    """Risky diffs stop here until a person allows them, where the project has the gate."""
    risky = risk.gated(risk.assess(diff))
    if not risky or "risk" not in work.project.gates:
        return None
    named = "; ".join(f"{r.path} {r.says}" for r in risky[:5])
    return await asking.gate(
        work, "gate:risk", f"This change is risky: {named}. Shall it be pushed?", work.job.work_sha or ""
    )


async def _push(work: Work, mirror: Mirror, forge: Forge) -> None:
    job = work.job
    assert job.work_sha and job.branch

    async def act() -> dict[str, Any]:
        await forge.push(mirror, job.work_sha or "", job.branch or "")
        return {"sha": job.work_sha}

    async def look() -> dict[str, Any] | None:
        return {"sha": job.work_sha} if await forge.tip(job.branch or "") == job.work_sha else None

    await work.outside(f"push:{job.branch}:{job.work_sha}", {"branch": job.branch, "sha": job.work_sha}, act, look)


async def _pull(work: Work, forge: Forge, base: str, text: str, labels: list[str]) -> PullRequest:
    """One pull request a job, by its branch; a later proof refreshes its text."""
    job = work.job
    assert job.branch

    async def act() -> PullRequest:
        title = work.redactor.text(job.title)
        return await forge.open_pull(branch=job.branch or "", base=base, title=title, body=text, labels=labels)

    async def look() -> PullRequest | None:
        found = await forge.find_pull(job.branch or "")
        return found if found and found.state == "open" else None

    made = await work.outside(f"pull:{job.branch}", {"branch": job.branch, "base": base}, act, look)
    pull = await forge.pull(made["number"])
    if pull.body != text:
        work.may_act()
        pull = await forge.update_pull(pull.number, body=text)
    return pull


async def _show_preview(job: Job, forge: Forge) -> None:
    """Where the app runs with this commit."""
    assert job.work_sha
    if job.sandbox is None or not job.sandbox.preview_url:
        return
    says, url = f"request {job.request_no}, round {job.round}", job.sandbox.preview_url
    where = preview_of(job.id)
    await forge.deploy(Deployment(sha=job.work_sha, environment=where, state="success", url=url, description=says))


def _somebody_pushed(e: NotFastForward) -> ev.Asked:
    return ev.Asked(
        ask="question:push",
        asks=f"Somebody pushed {e.theirs[:12]} to {e.branch} while I worked. What shall stand?",
        sha=e.theirs,
        options=[["mine", "Mine on top"], ["theirs", "Theirs"]],
    )
