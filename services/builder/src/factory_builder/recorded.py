"""A replay's round: what the original's agent made of it, out of its checkpoint, where no agent is called."""

from __future__ import annotations

import msgspec
from factory_chassis.work import Work
from factory_forge.inside import GitInside
from factory_jobs.errors import WorkError
from factory_jobs.records import Round
from factory_sandbox.client import Sandbox

from .checkpoint import SCENARIOS

HELD = frozenset({"end_turn", "merged", "refused", "nothing_changed", ""})  # outcomes that are no fault of the turn


class Recorded(msgspec.Struct, frozen=True):
    """`commit` is the parent where nothing had changed; `problem` what was wrong with the turn, for the next one."""

    commit: str
    outcome: str
    problem: str | None


async def take(work: Work, git: GitInside, sandbox: Sandbox, parent: str) -> Recorded:
    """Puts the checkout and the replay's records to where this round of the original ended. Raises WorkError."""
    job, records = work.job, work.records
    found = await _round(work, parent)
    commit, outcome = found.commit or parent, found.outcome or ""
    work.log.info("round taken from the original", original=job.replay_of, round=job.round, sha=commit[:12])
    if commit != parent and found.bundle:
        await git.apply(await work.artifacts.get_bytes(found.bundle), commit)
        await records.put_round(
            job,
            commit=commit,
            parent=parent,
            bundle=found.bundle,
            outcome=outcome,
            summary=found.summary,
            spent=found.spent,
            merges=found.merges,
        )
        await _scenarios(work, sandbox, commit)
    await records.mark_read(job.id, f"round:{job.request_no}.{job.round}", await records.unread(job.id))
    return Recorded(commit, outcome, None if outcome in HELD else found.feedback or outcome)


async def _round(work: Work, parent: str) -> Round:
    job = work.job
    rounds = await work.records.rounds(job.replay_of or "")
    found = next((r for r in rounds if (r.request_no, r.round) == (job.request_no, job.round)), None)
    here = f"Round {job.round} of request {job.request_no}"
    if found is None or found.outcome in {None, "unproved"}:
        raise WorkError(f"{here} was never ended in {job.replay_of}.", code="not_recorded", hint=HINT)
    if found.commit and found.commit != parent and found.parent != parent:
        began = (found.parent or "nothing")[:12]
        said = f"{here} began at {began} in {job.replay_of}, and begins at {parent[:12]} here."
        raise WorkError(said, code="not_recorded", hint=HINT)
    return found


HINT = "`factoryctl replay --agent` calls the agent."


async def _scenarios(work: Work, sandbox: Sandbox, commit: str) -> None:
    """They are in no commit: those that were kept beside this one."""
    kept = await work.records.all_evidence(work.job.replay_of or "")
    text = next((e.data["text"] for e in reversed(kept) if e.kind == "scenarios" and e.commit == commit), None)
    if text is not None:
        await sandbox.write(SCENARIOS, text.encode())
        await work.records.add_evidence(work.job, commit, "scenarios", True, {"text": text})
