"""On `pr_opened` and `review_running`: the second pair of eyes, under an identity of its own."""

from __future__ import annotations

from typing import Any

import msgspec
from factory_chassis.work import Work
from factory_forge import body
from factory_forge import git as forge_git
from factory_forge.basis import Basis, basis_of
from factory_forge.diff import Diff
from factory_forge.ended import ended
from factory_forge.errors import LineNotInDiff
from factory_forge.forge import Forge, LineComment, Status, hidden_marker
from factory_forge.forges import Forges
from factory_jobs import events as ev
from factory_jobs.machine import State

from . import rules, verdict
from .settings import Settings


class Handlers:
    def __init__(self, settings: Settings) -> None:
        self.settings, self.forges = settings, Forges.of(settings)

    def by_state(self) -> dict[State, Any]:
        return {State.PR_OPENED: self.pr_opened, State.REVIEW_RUNNING: self.review_running}

    async def pr_opened(self, work: Work) -> ev.Event:
        """Nothing but the claim: from here on a reviewer has it."""
        return ev.Done()

    async def review_running(self, work: Work) -> ev.Event:
        """Reads the diff as the forge has it, says its verdict, and lets the pull request out of draft."""
        job = work.job
        assert job.pr is not None and job.proved_sha is not None
        forge = await self.forges.connect(job.repo)
        if (over := ended(await forge.pull(job.pr.number))) is not None:
            return over
        mirror = await self.forges.mirror(self.settings.node_dir, job.repo)
        await mirror.fetch()
        basis = await basis_of(mirror, work.project.base, job.proved_sha)
        diff = basis.diff
        plan = await work.records.plan(job.id, job.request_no) or {}
        findings = rules.review(diff, likely=plan.get("files", []), asked=plan.get("problem", ""))
        said = verdict.verdict_of(findings)
        await self._review(work, findings, diff)
        data = {
            "verdict": verdict.WORDS[said],
            "summary": verdict.summary(findings),
            "findings": msgspec.to_builtins(findings),
            "by": "rules",
        }
        await work.records.add_evidence(job, job.proved_sha, "review", said != "request_changes", data)
        await self._refresh(work, forge, mirror, basis, ok=said != "request_changes")
        facts: dict[str, Any] = {"verdict": verdict.WORDS[said]}
        work.log.info("reviewed", verdict=said, findings=len(findings))
        if said == "request_changes":
            feedback = verdict.feedback(findings)
            await work.records.put_round(job, feedback=feedback)
            return ev.FellBack(feedback=feedback, facts=facts)
        work.may_act()
        pull = await forge.mark_ready(job.pr.number)
        facts["pr"] = msgspec.to_builtins(msgspec.structs.replace(job.pr, draft=pull.draft))
        await work.records.put_round(job, proved=True)
        return ev.Done(facts=facts)

    async def _review(self, work: Work, findings: list[rules.Finding], diff: Diff) -> None:
        """One review a commit, found again by its marker."""
        job = work.job
        assert job.pr is not None and job.proved_sha is not None
        reviewer = await self.forges.connect(job.repo, reviewer=True)
        marker = f"review:{job.id}:{job.proved_sha}"

        async def add(comments: list[LineComment]) -> Any:
            return await reviewer.add_review(
                job.pr.number if job.pr else 0,
                sha=job.proved_sha or "",
                verdict=verdict.verdict_of(findings),
                body=verdict.text(findings, job.proved_sha or ""),
                comments=comments,
                marker=marker,
            )

        async def act() -> Any:
            try:
                return await add(verdict.comments(findings, diff))
            except LineNotInDiff as e:  # GitHub shows no lines of very long files; the text names them all
                work.log.warning("reviewed without comments on lines", why=e.message)
                return await add([])

        async def look() -> Any | None:
            mine = [r for r in await reviewer.reviews(job.pr.number if job.pr else 0) if r.author == reviewer.author]
            return next((r for r in mine if hidden_marker(marker) in r.body), None)

        await work.outside(marker, {"number": job.pr.number, "sha": job.proved_sha}, act, look)

    async def _refresh(self, work: Work, forge: Forge, mirror: forge_git.Mirror, basis: Basis, *, ok: bool) -> None:
        """The pull request's text and comment with the verdict in them, and the review's status."""
        job = work.job
        assert job.pr is not None and job.proved_sha is not None
        clean = work.redactor.text
        proof = await body.gather(work.records, job, mirror, basis, work.public_url, clean)
        text = clean(body.render(proof))
        work.may_act()
        if (await forge.pull(job.pr.number)).body != text:
            await forge.update_pull(job.pr.number, body=text)
        await forge.sticky_comment(job.pr.number, body.comment_marker(job.id), clean(body.comment(proof)))
        await work.keep("report", "pull-request.md", text.encode(), commit=job.proved_sha)
        page = f"{work.public_url.rstrip('/')}/jobs/{job.id}"
        state = "success" if ok else "failure"
        status = Status(
            sha=job.proved_sha, context="factory/review", state=state, description="review by rules", url=page
        )
        await forge.set_status(status)
