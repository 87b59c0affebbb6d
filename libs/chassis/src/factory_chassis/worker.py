"""The worker loop of a role: hint, claim, ack, work, apply; and on with the next state while the role keeps it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
import structlog
from factory_artifacts.errors import ArtifactError
from factory_artifacts.redact import Redactor
from factory_artifacts.store import ArtifactStore
from factory_jobs import current, messages
from factory_jobs import events as ev
from factory_jobs.errors import TAIL, Failure, IllegalMove, JobError, Stale, StoreError
from factory_jobs.ids import is_job_id
from factory_jobs.job import Job
from factory_jobs.machine import NODE_ROLES, OWNED_BY, PHASES, WORKING, Role, State
from factory_jobs.store import Errand
from faststream.nats import NatsMessage
from nats.errors import Error as NatsError

from . import failpoints, metrics
from .line import Line
from .logs import StageLog, stage_log
from .outage import POSTGRES_AWAY
from .renewal import Renewal
from .work import Work

log = structlog.get_logger()

Handler = Callable[[Work], Awaitable[ev.Event]]
HintT = TypeVar("HintT", messages.Hint, messages.ErrandHint)
ErrandHandler = Callable[[Errand, Job], Awaitable[str]]
REFUSED = 1.0  # seconds before a hint that came while we stop is given out again: at once it would come back to us
AWAY = 5.0  # the same for one that came while Postgres was away
SAID = 500  # characters of an error that nobody has put into words
ERRAND_AGAIN = 120.0  # seconds at most before an errand that failed is tried again


class Worker:
    """Works on the jobs of one role with the handlers it is given, one for each state that the role owns."""

    def __init__(
        self,
        role: Role,
        handlers: Mapping[State, Handler],
        errands: Mapping[str, ErrandHandler],
        *,
        line: Line,
        artifacts: ArtifactStore,
        redactor: Redactor,
        renewal: Renewal,
        owner: str,
        node: str | None,
        public_url: str,
        node_limit: int | None = None,
        may_claim: Callable[[], Awaitable[bool]] | None = None,
        grace: float = 20,
    ) -> None:
        missing = set(OWNED_BY[role]) - set(handlers)
        assert not missing, f"{role} has no handler for {missing}"
        self.role, self.handlers, self.errands = role, dict(handlers), dict(errands)
        self.line, self.artifacts, self.redactor, self.renewal = line, artifacts, redactor, renewal
        self.owner, self.public_url, self.node_limit, self.grace = owner, public_url, node_limit, grace
        self.node = node if role in NODE_ROLES else None  # the others work on jobs of every node
        self.may_claim = may_claim
        self._errands: set[asyncio.Task[None]] = set()
        self.stopping = False
        self.bad_messages = 0
        # by job and epoch: a job may come back while its old handler still cleans up
        self._running: dict[tuple[str, int], tuple[Work, asyncio.Task[ev.Event]]] = {}

    # ── hints ─────────────────────────────────────────────────────────────────

    async def on_hint(self, message: NatsMessage) -> None:
        """Claims, acks, works. Late, repeated and foreign hints claim nothing and are acked."""
        hint = await self._decoded(message, messages.Hint)
        if hint is None:
            return
        if self.stopping:
            await message.nack(delay=REFUSED)
            return
        await failpoints.reached(f"{self.role}.before_claim", hint.job_id)
        asked, job = time.monotonic(), None
        try:
            job = await self._claim(hint.job_id)
            metrics.CLAIMS.labels("refused" if job is None else "taken").inc()
        except POSTGRES_AWAY as e:
            metrics.CLAIMS.labels("postgres_away").inc()
            log.warning("not claimed: Postgres does not answer", job_id=hint.job_id, why=repr(e))
            await message.nack(delay=AWAY)
            return
        await self._ack(message)
        if job is not None:
            await self._work_on(job, asked)

    async def _decoded(self, message: NatsMessage, kind: type[HintT]) -> HintT | None:
        """None where it is no message of ours: then it is acked, counted and logged."""
        try:
            hint = messages.decode(message.body, kind)
            assert isinstance(hint, kind)
            if not is_job_id(hint.job_id):
                raise messages.BadMessage("its job_id is none")
            if isinstance(hint, messages.ErrandHint) and not 0 < hint.errand < 1 << 63:
                raise messages.BadMessage("its errand is none")
        except messages.BadMessage as e:
            self.bad_messages += 1
            metrics.BAD_MESSAGES.inc()
            log.warning("bad message dropped", why=str(e), subject=message.raw_message.subject)
            await self._ack(message)
            return None
        return hint

    @staticmethod
    async def _ack(message: NatsMessage) -> None:
        """A lost ack only brings the hint again; what was claimed is worked on."""
        try:
            await message.ack()
        except (NatsError, OSError) as e:
            log.warning("not acked", why=repr(e))

    async def _claim(self, job_id: str) -> Job | None:
        if self.may_claim is not None and not await self.may_claim():
            return None
        states = OWNED_BY[self.role]
        return await self.line.store.claim(job_id, states, owner=self.owner, node=self.node, node_limit=self.node_limit)

    async def _work_on(self, job: Job, asked: float) -> None:
        """State after state while the lease is kept; it was asked for at `asked` (monotonic)."""
        self.renewal.hold(job.id, job.lease_epoch, since=asked)
        epoch = job.lease_epoch
        structlog.contextvars.bind_contextvars(job_id=job.id)
        current.job_id.set(job.id)
        try:
            while job.lease_epoch == epoch and job.lease_owner is not None and State(job.state) in self.handlers:
                await failpoints.reached(f"{self.role}.{job.state}.claimed", job.id)
                if self.stopping:
                    await self._hand_back(job)
                    return
                done = await self._one_state(job)
                if done is None:
                    return
                job = done
        finally:
            self.renewal.drop(job.id, epoch)
            structlog.contextvars.unbind_contextvars("job_id")

    async def _one_state(self, job: Job) -> Job | None:
        """The row after this state, or None where it is no longer ours."""
        work = Work(
            job,
            actor=self.owner,
            line=self.line,
            artifacts=self.artifacts,
            redactor=self.redactor,
            renewal=self.renewal,
            public_url=self.public_url,
            stage=StageLog(),
        )
        with metrics.WORKING.labels(job.state).track_inprogress(), metrics.STATE_SECONDS.labels(job.state).time():
            log.info("began", state=job.state, attempt=job.attempt, round=job.round)
            event = await self._outcome(work)
            if event is None:
                metrics.OUTCOMES.labels(job.state, "fenced").inc()
                return None  # nothing of ours is written any more
            log.info("ended", state=job.state, outcome=event.kind)
            after = await self._apply(work, event, await self._keep_log(work))
            metrics.OUTCOMES.labels(job.state, event.kind if after else "unwritten").inc()
            return after

    async def _outcome(self, work: Work) -> ev.Event | None:
        """Runs the handler in a task of its own, so that it alone is cancelled; None where the job is not ours now.

        What is logged meanwhile is the stage's log.
        """
        token = stage_log.set(work.stage)
        task = asyncio.ensure_future(self._handled(self.handlers[State(work.job.state)], work))
        self._running[work.job.id, work.epoch] = (work, task)
        deadline = asyncio.get_running_loop().call_later(
            PHASES[State(work.job.state)].within, self._cancel, work, task, "deadline"
        )
        try:
            return await task
        except asyncio.CancelledError:
            if work.stopping is None:
                raise
            return self._stopped(work)
        except Exception as e:  # noqa: BLE001 - each kind has its outcome, and what nobody knows is logged with its trace
            if work.stopping is None:
                return self._broke(work, e)
            log.warning("it broke while it was ended", why=repr(e))
            return self._stopped(work)
        finally:
            stage_log.reset(token)
            deadline.cancel()
            self._running.pop((work.job.id, work.epoch), None)
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await asyncio.wait_for(task, self.grace)

    @staticmethod
    def _cancel(work: Work, task: asyncio.Task[ev.Event], why: str) -> None:
        """Ends the handler; who is fenced stays fenced."""
        if work.stopping != "fenced":
            work.stopping = why
        task.cancel()

    def _stopped(self, work: Work) -> ev.Event | None:
        """The outcome of a handler that was ended from outside."""
        if work.stopping == "sigterm":
            return ev.HandedBack(facts=work.facts)
        if work.stopping == "deadline":
            return ev.Faulted(
                failure=self._ours(work, "deadline", "It took longer than its deadline."), facts=work.facts
            )
        log.warning("fenced", state=work.job.state)
        return None

    def _broke(self, work: Work, error: Exception) -> ev.Event | None:
        """Whose error it is decides what follows; None where the job is somebody else's now."""
        if isinstance(error, Stale):
            log.warning("the row is no longer ours", why=str(error))
            return None
        if isinstance(error, JobError):
            log.warning("stage failed", code=error.code, why=error.message)
            failure = error.failure(work.job.state)
            if error.retry:
                return ev.Faulted(failure=failure, delay=error.retry_after, facts=work.facts)
            return ev.GaveUp(failure=failure, facts=work.facts)
        code = getattr(error, "code", None)  # members that know of no jobs have errors of their own, with stable codes
        if code == "fenced":
            log.warning("the sandbox serves somebody else", why=str(error))
            return None
        if code == "sandbox-lost" and (work.job.sandbox or work.job.placement is not None):
            log.warning("the sandbox is lost", why=str(error))
            return ev.SandboxLost(reason=str(error))
        log.exception("stage broke", why=repr(error))
        failure = self._ours(work, code if isinstance(code, str) else "bug", f"{type(error).__name__}: {error}")
        if _passes(error):
            failure = msgspec.structs.replace(failure, blame="outside")
        return ev.Faulted(failure=failure, facts=work.facts)

    def _ours(self, work: Work, code: str, message: str) -> Failure:
        """A failure that nobody has put into words: what the stage said last goes with it."""
        clean = self.redactor.text  # before anything is cut: half a secret is not found
        tail = clean(work.stage.tail(10 * TAIL))[-TAIL:]
        return Failure(blame="factory", code=code, message=clean(message)[:SAID], stage=work.job.state, log_tail=tail)

    async def _handled(self, handler: Handler, work: Work) -> ev.Event:
        await failpoints.reached(f"{self.role}.{work.job.state}.working", work.job.id)
        return await handler(work)

    async def _keep_log(self, work: Work) -> str:
        """The stage's log goes to the artifact store; its link, or nothing where it is empty or could not be kept."""
        if not (said := work.stage.text()):
            return ""
        name = f"{work.job.state}.r{work.job.round}.a{work.job.attempt}.log"
        try:
            return work.url(await work.keep("log", name, said.encode(errors="replace"), patient=False), name)
        except (ArtifactError, StoreError, *POSTGRES_AWAY) as e:
            log.warning("the stage's log could not be kept", why=repr(e))
            return ""

    async def _apply(self, work: Work, event: ev.Event, log_url: str) -> Job | None:
        """Writes the outcome; while Postgres is away it waits, for the work is done and must not be lost."""
        await failpoints.reached(f"{self.role}.{work.job.state}.before_apply", work.job.id)
        unsure = False
        while True:
            event = self._told(event, log_url)
            try:
                return await self.line.apply(work.job, event, actor=self.owner, epoch=work.epoch)
            except IllegalMove as e:
                log.error("the handler's outcome is none of this state", outcome=event.kind, why=str(e))
                event = ev.Faulted(failure=self._ours(work, "illegal_outcome", str(e)))
            except StoreError as e:
                if unsure and (written := await self._still_ours(work)):
                    return written
                log.warning("outcome not written", why=str(e), outcome=event.kind)
                return None
            except POSTGRES_AWAY as e:
                unsure = True  # it may have been written, and only the answer was lost
                log.warning("outcome waits for Postgres", why=repr(e))
                if self.stopping:
                    return None
                await asyncio.sleep(1)

    def _told(self, event: ev.Event, log_url: str) -> ev.Event:
        """As it may be shown: without secrets, a failure with the link to its log."""
        clean = self.redactor.text
        match event:
            case ev.Faulted(failure=failure) | ev.GaveUp(failure=failure):
                failure = msgspec.structs.replace(
                    failure,
                    message=clean(failure.message),
                    hint=clean(failure.hint),
                    log_tail=clean(failure.log_tail),
                    log_url=failure.log_url or log_url,
                )
                return msgspec.structs.replace(event, failure=failure)
            case ev.FellBack(feedback=feedback):
                return msgspec.structs.replace(event, feedback=clean(feedback), log_url=event.log_url or log_url)
            case ev.SandboxLost(reason=reason):
                return msgspec.structs.replace(event, reason=clean(reason))
        return event

    async def _still_ours(self, work: Work) -> Job | None:
        """The row, where it has moved on under our own lease: then we have moved it."""
        job = await self.line.store.get(work.job.id)
        return job if (job.lease_owner, job.lease_epoch) == (self.owner, work.epoch) else None

    # ── stopping ──────────────────────────────────────────────────────────────

    def fenced(self, job_id: str, epoch: int) -> None:
        """Somebody else holds the job now: end the handler and what it started. Call from the loop."""
        if running := self._running.get((job_id, epoch)):
            self._cancel(*running, "fenced")

    def report(self) -> dict[str, Any]:
        """For `/health`; called from its thread."""
        return {"working": sorted(job_id for job_id, _ in list(self._running)), "bad_messages": self.bad_messages}

    async def on_control(self, control: messages.Control) -> None:
        """The row has changed under its holder: whoever has a lower epoch is out."""
        for job_id, epoch in list(self._running):
            if job_id == control.job_id and epoch < control.epoch:
                self.fenced(job_id, epoch)

    async def stop(self) -> None:
        """No new claims; every handler saves what it can and its lease is handed back; errands may end in that time."""
        self.stopping = True
        handlers = [task for _, task in self._running.values()]
        for work, task in list(self._running.values()):
            self._cancel(work, task, "sigterm")
        if parts := [*handlers, *self._errands]:
            await asyncio.wait(parts, timeout=self.grace)
        for errand in list(self._errands):
            errand.cancel()
        if self._errands:
            await asyncio.wait(self._errands, timeout=2)

    async def _hand_back(self, job: Job) -> None:
        """What was claimed, or moved on to, while we stop is begun by somebody else."""
        try:
            await self.line.apply(job, ev.HandedBack(), actor=self.owner, epoch=job.lease_epoch)
        except (StoreError, *POSTGRES_AWAY) as e:
            log.warning("not handed back; its lease runs out", why=repr(e))

    # ── errands ───────────────────────────────────────────────────────────────

    async def on_errand(self, message: NatsMessage) -> None:
        """The same for work beside the state."""
        hint = await self._decoded(message, messages.ErrandHint)
        if hint is None:
            return
        if self.stopping:
            await message.nack(delay=REFUSED)
            return
        errand = None
        try:
            errand = await self.line.store.claim_errand(hint.errand, owner=self.owner, node=self.node)
        except POSTGRES_AWAY as e:
            log.warning("errand not claimed: Postgres does not answer", job_id=hint.job_id, why=repr(e))
            await message.nack(delay=AWAY)
            return
        await self._ack(message)
        if errand is not None:
            # in a task of its own: the subscriber's is cancelled without the chance of another await
            task = asyncio.create_task(self._errand(errand))
            self._errands.add(task)
            task.add_done_callback(self._errands.discard)
            await asyncio.wait({task})

    async def _errand(self, errand: Errand) -> None:
        store = self.line.store
        structlog.contextvars.bind_contextvars(job_id=errand.job_id)
        current.job_id.set(errand.job_id)
        renewing = asyncio.ensure_future(self._renew(errand))
        try:
            await failpoints.reached(f"{self.role}.{errand.kind}.working", errand.job_id)
            result = await self.errands[errand.kind](errand, await store.get(errand.job_id))
            await store.finish_errand(errand, result)
            metrics.ERRANDS.labels(errand.kind, "done").inc()
            log.info("errand done", kind=errand.kind, result=result)
        except asyncio.CancelledError:
            metrics.ERRANDS.labels(errand.kind, "handed_back").inc()
            with contextlib.suppress(*POSTGRES_AWAY):
                await store.delay_errand(errand, 0, "handed back")
            raise
        except Exception as e:
            metrics.ERRANDS.labels(errand.kind, "failed").inc()
            log.exception("errand failed", kind=errand.kind, why=repr(e))
            with contextlib.suppress(*POSTGRES_AWAY):
                wait = min(2.0 ** min(errand.attempt, 10), ERRAND_AGAIN)
                await store.delay_errand(errand, wait, self.redactor.text(repr(e))[:SAID])
        finally:
            renewing.cancel()
            structlog.contextvars.unbind_contextvars("job_id")

    async def _renew(self, errand: Errand) -> None:
        while True:
            await asyncio.sleep(self.line.store.lease / 3)
            with contextlib.suppress(*POSTGRES_AWAY):
                await self.line.store.renew_errand(errand)


def _passes(error: Exception) -> bool:
    """Whether it lies outside, so that the same work may succeed later: what does not answer, not what is missing."""
    if isinstance(
        error, FileNotFoundError | FileExistsError | PermissionError | NotADirectoryError | IsADirectoryError
    ):
        return False
    return isinstance(error, POSTGRES_AWAY) or bool(getattr(error, "retry", False))


def working_states(role: Role) -> list[str]:
    return [s for s in OWNED_BY[role] if s in WORKING]
