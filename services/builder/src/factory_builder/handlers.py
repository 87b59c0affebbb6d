"""On each of builder's states: checkpoint in, one agent round and its commit, suites, push and pull request."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from factory_agents.driver import Turn
from factory_chassis import metrics
from factory_chassis.plan import Plan
from factory_chassis.work import Work
from factory_forge import git as forge_git
from factory_forge.ended import ended as over
from factory_forge.errors import BundleRefused, CheckoutBroken, OwnSecret
from factory_forge.forges import Forges
from factory_forge.inside import GitInside
from factory_jobs import events as ev
from factory_jobs.errors import FactoryError, OutsideError
from factory_jobs.machine import State
from factory_jobs.records import Round
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.contract import Answer, Contract
from factory_sandbox.handle import Handle

from . import checkpoint, feedback, merging, prompt, proof, publish, recorded, turn
from .leaks import Leaks
from .merging import Merging
from .settings import Settings

FAILED_TURNS = frozenset({"model_error", "login_needed", "agent_died", "protocol"})  # the outside's, not the work's


class Handlers:
    def __init__(self, settings: Settings) -> None:
        self.settings, self.forges = settings, Forges.of(settings)
        self.leaks = Leaks({*settings.secrets()} - {*Settings().secrets()})  # a default is no secret

    def by_state(self) -> dict[State, Any]:
        return {
            State.DEV_ENVIRONMENT_READY: self.dev_environment_ready,
            State.IMPLEMENTATION_IN_PROGRESS: self.implementation_in_progress,
            State.TESTS_RUNNING: self.tests_running,
            State.VIDEO_RECORDED: self.video_recorded,
        }

    # ── the job's things ──────────────────────────────────────────────────────

    def _sandbox(self, work: Work) -> Sandbox:
        assert work.job.sandbox is not None
        return Sandbox(Handle.from_dict(work.job.sandbox.handle), node_key(self.settings.node_dir), work.epoch)

    def _git(self, work: Work) -> GitInside:
        assert work.job.branch is not None
        return GitInside(self._sandbox(work), work.job.branch, work.job.base_sha or "")

    def _contract(self, work: Work) -> Contract:
        return Contract(self._sandbox(work), work.stage.write)

    async def _mirror(self, work: Work) -> forge_git.Mirror:
        return await self.forges.mirror(self.settings.node_dir, work.job.repo)

    async def _plan(self, work: Work) -> Plan:
        found = await work.records.plan(work.job.id, work.job.request_no)
        if found is None:
            raise FactoryError("The job has no plan.", code="no_plan")
        return Plan.model_validate(found)

    # ── states ────────────────────────────────────────────────────────────────

    async def dev_environment_ready(self, work: Work) -> ev.Event:
        """Applies the checkpoint where there is one; the app then runs what it holds."""
        if (newer := await self._newer(work)) is not None:
            return newer
        await checkpoint.restore_scenarios(work, self._sandbox(work))
        known = await self._base_changes(work)
        if await checkpoint.apply(work, self._git(work), await self._mirror(work), known=known):
            problem = await self._renew_app(work)
            if problem is not None and not work.job.verify:  # a person's commit is judged in the next state
                work.log.warning("the checkpoint's app does not get ready; the agent is told", why=problem.error)
                said = feedback.environment(problem.verb, problem.error, problem.tail)
                await work.records.put_round(work.job, feedback=said)
        return ev.Done()

    async def implementation_in_progress(self, work: Work) -> ev.Event:
        """One round: the agent's turn, the commit, the app renewed. A round that has its commit needs no agent."""
        job = work.job
        rounds = await work.records.rounds(job.id)
        stand = next((r for r in rounds if (r.request_no, r.round) == (job.request_no, job.round)), None)
        parent = job.work_sha or job.base_sha
        assert parent is not None
        if stand and stand.outcome == "unproved" and stand.parent:
            parent = stand.parent  # a round that was cut short goes on from its tree, as one commit
        if job.verify or (stand and stand.commit and stand.commit == job.work_sha and stand.outcome != "unproved"):
            return await self._after_round(work, job.work_sha or parent)
        git = self._git(work)
        if job.attempt > 1:  # whoever had the round before may have died in the middle of a write
            await git.reset(job.work_sha or parent)
        if job.replay is not None and not job.replay.agent:
            then = await recorded.take(work, git, self._sandbox(work), parent)
            return await self._judge(work, parent, then.commit, then.outcome, then.problem)
        merge = await merging.begin(work, git, await self._mirror(work), parent, rounds)
        if await self._holds_as_it_is(work, merge, rounds):
            if merge is None:
                return await self._after_round(work, parent)
            ended = Turn(stop_reason="merged")
        else:
            ended = await self._turn(work, parent, merge)
        try:
            commit = await self._commit(work, parent, await self._plan(work), ended, merge)
        except CheckoutBroken:
            await work.records.put_round(job, feedback=feedback.NO_REPOSITORY)
            raise
        return await self._judge(work, parent, commit, ended.problem or "", _turn_problem(ended), merge)

    async def _judge(
        self,
        work: Work,
        parent: str,
        commit: str,
        outcome: str,
        problem: str | None,
        merge: Merging | None = None,
    ) -> ev.Event:
        """What a turn that ended so with this commit (`parent`: nothing changed) is worth; then the app is renewed."""
        job = work.job
        if commit != parent and (refused := await self._refused(work, commit, merge)):
            await work.records.put_round(job, outcome="refused", feedback=refused)
            return ev.FellBack(feedback=refused)  # work_sha stays: the next round's commit leaves this one out
        if problem is not None:
            await work.records.put_round(job, outcome=outcome, feedback=problem)
            return ev.FellBack(feedback=problem, facts={"work_sha": commit} if commit != job.base_sha else {})
        if commit == parent:
            said = (
                "Your turn ended and nothing in the repository has changed. Make the change that the request asks for."
            )
            await work.records.put_round(job, outcome="nothing_changed", feedback=said)
            return ev.FellBack(feedback=said)
        await work.noted("the round's commit", work_sha=commit)  # whoever has to go on from here calls no agent again
        return await self._after_round(work, commit)

    async def _holds_as_it_is(self, work: Work, merge: Merging | None, rounds: list[Round]) -> bool:
        """Whether the round before held, and nothing new is asked of an agent: what is merged in needs proof alone."""
        job = work.job
        if job.round == 1 or job.work_sha is None or (merge and merge.merge.conflicts):
            return False
        here = {None, f"round:{job.request_no}.{job.round}"}
        heard = any(r.read_by in here for r in await work.records.requests(job.id))
        return not heard and feedback.before(rounds, job.request_no, job.round) is None

    async def _turn(self, work: Work, parent: str, merge: Merging | None) -> Turn:
        """The agent's turn; on SIGTERM its tree is saved as an unproved checkpoint before the lease is handed back."""
        job, records = work.job, work.records
        preset = turn.preset_of(job.snapshot.get("agent") or "claude")
        plan = await self._plan(work)
        unread = await records.unread(job.id)
        requests = await records.requests(job.id)
        text = prompt.build(
            plan,
            request="\n\n".join(r.text for r in requests if r.read_by == f"plan:{job.request_no}") or plan.problem,
            request_no=job.request_no,
            round_no=job.round,
            rounds_max=job.rounds_max,
            sandbox=job.sandbox,
            feedback=feedback.before(await records.rounds(job.id), job.request_no, job.round),
            steers=[r.text for r in requests if (r.read_by or "").startswith(f"round:{job.request_no}.")]
            + [r.text for r in unread],
            merge=merge.told() if merge else None,
        )
        sandbox = self._sandbox(work)
        work.log.info("agent's turn", agent=preset.label, round=job.round, of=job.rounds_max)
        try:
            cwd = (await sandbox.exec(["pwd", "-P"])).stdout.decode().strip()
            env = {"FACTORY_INSIDE": "1"}
            ended = await turn.take(
                sandbox, preset, cwd, text, minutes=self.settings.agent_minutes, env=env, log=work.stage
            )
        except asyncio.CancelledError:
            if work.stopping == "sigterm":
                await self._save_unproved(work, parent, merge)
            raise
        metrics.AGENT_ROUNDS.labels(ended.problem or "none").inc()
        await records.mark_read(job.id, f"round:{job.request_no}.{job.round}", unread)
        work.log.info(
            "agent's turn ended", stop_reason=ended.stop_reason, problem=ended.problem, tools=ended.tool_calls
        )
        return ended

    async def _save_unproved(self, work: Work, parent: str, merge: Merging | None) -> None:
        async with asyncio.timeout(self.settings.stop_grace / 2):
            git = self._git(work)
            leave = await self._base_changes(work)
            made_of, parents = (merge.given, merge.parents) if merge else (parent, ())
            message = f"Unproved work of round {work.job.round}\n"
            commit = await git.commit(made_of, message, leave=leave, parents=parents)
            if commit.files:
                bundle = await checkpoint.save(work, git, commit.sha)
                await work.records.put_round(
                    work.job, commit=commit.sha, parent=parent, bundle=bundle, outcome="unproved", proved=False
                )
                work.facts["work_sha"] = commit.sha

    async def _commit(self, work: Work, parent: str, plan: Plan, ended: Turn, merge: Merging | None = None) -> str:
        """Setup first (what it changes belongs to the round), then the round's one commit and its checkpoint."""
        git = self._git(work)
        setup = await self._contract(work).run("setup", timeout=1500)
        if not setup.ok:
            work.log.warning("setup fails after the round", why=setup.error)
        first = work.job.round == 1 and work.job.request_no == 1
        title = plan.title if first else f"{plan.title} (round {work.job.round})"
        if merge and ended.stop_reason == "merged":
            title = f"Merge {merge.merge.theirs[:12]} into {work.job.branch}"
        clean = work.redactor.text  # it will be pushed; before it is cut, for half a secret is not found
        said = clean(ended.message.strip())
        message = f"{clean(title)}\n\n{said[:2000]}\n\nFactory-Job: {work.job.id}\n"
        made_of, parents = (merge.given, merge.parents) if merge else (parent, ())
        commit = await git.commit(made_of, message, leave=await self._base_changes(work), parents=parents)
        if commit.sha == parent:
            return parent
        bundle = await checkpoint.save(work, git, commit.sha)
        await work.records.put_round(
            work.job,
            commit=commit.sha,
            parent=parent,
            bundle=bundle,
            outcome=ended.stop_reason or ended.problem or "",
            summary=said[:4000],
            spent={"seconds": round(ended.seconds, 1), "tool_calls": ended.tool_calls},
        )
        await checkpoint.keep_scenarios(work, self._sandbox(work), commit.sha)
        work.log.info("committed", sha=commit.sha[:12], files=len(commit.files))
        return commit.sha

    async def _base_changes(self, work: Work) -> dict[str, str]:
        """What the base's own setup and suites change: no part of a round."""
        assert work.job.base_sha is not None
        return (await work.records.base(work.job.repo, work.job.base_sha) or {}).get("dirt") or {}

    async def _refused(self, work: Work, sha: str, merge: Merging | None = None) -> str | None:
        """What the mirror does not let in, and a merge that is none, said while the agent can still mend it."""
        mirror = await self._mirror(work)
        try:
            await checkpoint.into_mirror(work, mirror, sha)
            await self.leaks.search(mirror, sha)
        except BundleRefused as e:
            return _not_taken(e)
        return await merging.fault(mirror, merge, sha) if merge else None

    async def _after_round(self, work: Work, sha: str) -> ev.Event:
        """The app has to get ready again with the change in it."""
        problem = await self._renew_app(work)
        if problem is not None:
            said = feedback.environment(problem.verb, problem.error, problem.tail)
            await work.records.add_evidence(work.job, sha, "setup", False, {"verb": problem.verb})
            await work.records.put_round(work.job, feedback=said)
            return ev.FellBack(feedback=said, facts={"work_sha": sha})
        await work.records.add_evidence(work.job, sha, "setup", True, {})
        return ev.Done(facts={"work_sha": sha})

    async def _renew_app(self, work: Work) -> Answer | None:
        """setup, restart, status; the first that fails. An app that the agent has stopped is started."""
        contract, sandbox = self._contract(work), work.job.sandbox
        assert sandbox is not None
        low, high = sandbox.ports
        answer = await contract.run("setup", timeout=1500)
        if answer.ok:
            answer = await contract.restart((low, high), work.job.id)
        if answer.ok:
            answer = await contract.run("status", timeout=60)
        return None if answer.ok else _clean(work, answer)

    async def tests_running(self, work: Work) -> ev.Event:
        """All suites at work_sha."""
        job = work.job
        assert job.work_sha is not None and job.base_sha is not None
        base = await work.records.base(job.repo, job.base_sha) or {}
        dirt = sorted(set(await self._git(work).dirt()) - set(base.get("dirt", {})))
        if dirt:
            said = (
                f"Files changed after the round's commit, so that the tests would not be of it: {', '.join(dirt[:20])}. "
                "Undo what you did not mean to change; what the app writes while it runs belongs into .gitignore."
            )
            await work.records.put_round(job, feedback=said)
            return ev.FellBack(feedback=said)
        answer = _clean(work, await self._contract(work).run("test", timeout=1700))
        if proof.broke(answer):
            said = feedback.environment("test", answer.error, answer.tail)
            await work.records.put_round(job, feedback=said)
            return ev.FellBack(feedback=said)
        judged = proof.judge(answer.data.get("suites", []), base.get("suites", []))
        holds = proof.holds(judged)
        await work.records.add_evidence(job, job.work_sha, "suites", holds, {"suites": judged})
        work.log.info("suites", holds=holds, suites={s["suite"]: not s["counts"] for s in judged})
        if holds:
            return ev.Done()
        said = feedback.suites([s for s in judged if s["counts"]])
        await work.records.put_round(job, feedback=said)
        return ev.FellBack(feedback=said)

    async def video_recorded(self, work: Work) -> ev.Event:
        """The risk gate; then exactly work_sha is pushed, and the pull request says what was proved.

        Where git cannot merge it into the base branch as that is by now, a round brings the two together first, while
        there is one left: a person could not merge the pull request either.
        """
        job = work.job
        assert job.work_sha is not None
        forge, mirror = await self.forges.connect(job.repo), await self._mirror(work)
        if job.pr is not None and (ended := over(await forge.pull(job.pr.number))) is not None:
            return ended
        if (newer := await self._newer(work)) is not None:
            return newer
        await mirror.fetch()
        await checkpoint.into_mirror(work, mirror, job.work_sha)
        try:
            await self.leaks.search(mirror, job.work_sha)
        except OwnSecret as e:  # one that was set after the round: it and all that was built on it are made anew
            await work.records.put_round(job, outcome="refused", feedback=_not_taken(e))
            return ev.FellBack(feedback=_not_taken(e), facts={"work_sha": e.before})
        await work.records.put_round(job, feedback="")  # it held: what was said to it before is over
        if not job.verify and job.round < job.rounds_max:
            clash = await merging.clash(work, mirror, job.work_sha)
            if clash is not None:
                return ev.FellBack(feedback=clash)
        return await publish.publish(work, mirror, forge)

    async def _newer(self, work: Work) -> ev.PersonPushed | None:
        """Where the branch has left the person's commit that is being proved: what is there now is what counts, and what
        somebody has taken off it is not put back."""
        job = work.job
        if not job.verify or job.branch is None:
            return None
        tip = await (await self.forges.connect(job.repo)).tip(job.branch)
        return ev.PersonPushed(head=tip) if tip is not None and tip != job.work_sha else None


def _clean(work: Work, answer: Answer) -> Answer:
    """Without secrets, before anything of it is cut: of half a secret nobody knows that it is one."""
    clean = work.redactor
    return replace(answer, data=clean.data(answer.data), stderr=clean.text(answer.stderr))


def _not_taken(e: BundleRefused) -> str:
    """For the agent."""
    return f"Your change cannot be taken: {e.message}. {e.hint}".strip()


def _turn_problem(ended: Turn) -> str | None:
    """Why the round failed whatever it left, in words for the next round; an outside fault is raised instead."""
    if ended.problem is None:
        return None
    if ended.problem in FAILED_TURNS:
        raise OutsideError(f"The agent could not work: {ended.detail or ended.problem}", code=ended.problem)
    if ended.problem == "permission_denied":
        return f"You were not allowed to: {', '.join(ended.denied)}. Find another way."
    return f"Your last turn ended early: {ended.detail or ended.problem}."
