"""Gates and questions that a handler may put before its work; an answer kept for this commit is not asked for again."""

from __future__ import annotations

from factory_jobs import events as ev

from .work import Work

APPROVE = [["approve", "Go on"], ["reject", "Stop"]]


async def gate(work: Work, kind: str, asks: str, sha: str) -> ev.Asked | None:
    """None where it was approved (a rejection has moved the job already)."""
    if await work.records.decision(work.job.id, kind, sha) == "approve":
        return None
    return ev.Asked(ask=kind, asks=asks, sha=sha, options=APPROVE)


async def plan_gate(work: Work) -> ev.Asked | None:
    """Where the project wants to see the plan first."""
    if "plan" not in work.project.gates:
        return None
    return await gate(work, "gate:plan", "Shall it be built by this plan?", f"request:{work.job.request_no}")
