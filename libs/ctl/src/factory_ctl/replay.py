"""`factoryctl replay`: a fork of a job is worked through once more by services of its own, and nothing of it is done
outside. The services that it needs are started here, those but one that somebody wants to start under a debugger.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from factory_chassis.settings import Settings, node_name
from factory_forge.forges import Forges
from factory_jobs import events as ev
from factory_jobs.job import Job
from factory_jobs.machine import ERRAND_OWNER, PHASES, TERMINAL, WORKING, Role, State
from factory_jobs.records import Records
from factory_jobs.replay import LINE, CannotReplay
from factory_jobs.store import Store

from . import compare
from .jobs import looking, stay_line
from .processes import Child
from .up import CONFIG, PASSED_ON, UpError

ACTOR = "factoryctl replay"
TOLD_WITHIN = 15.0  # seconds for the notifier's last words
CLEAN_WITHIN = 120.0  # seconds for the place to go
LOOK = 0.3  # seconds
YOUNG = timedelta(seconds=10)  # in which whoever made a replay has marked it
MARK = "SELECT pg_{}advisory_lock(hashtext('replay:' || $1))"  # whoever runs the replay of this id lives
NOT_OURS = frozenset({"FACTORY_FAILPOINT", "FACTORY_HEALTH_PORT", "FACTORY_REPLAY"})


@dataclass(frozen=True)
class Options:
    """`state`: where it begins; `to`: after whose work it stops; `by_hand`: services that somebody else starts, with
    the words before the module in the command that is shown for them."""

    state: State | None = None
    to: Role | None = None
    agent: bool = False
    by_hand: Mapping[str, Sequence[str]] = field(default_factory=dict)


def options_of(state: str | None, to: str | None, *, agent: bool, wait_for: list[str], debug: list[str]) -> Options:
    """From words of a command line. Raises CannotReplay for a name that is none."""
    for name in (*wait_for, *debug):
        if name not in (*LINE, "notifier"):
            raise CannotReplay(f"{name} has no part in a replay; those that have: {', '.join(LINE)}, notifier")
    if state is not None and state not in set(State):
        raise CannotReplay(f"{state} is no state; states are: {', '.join(State)}")
    if to is not None and to not in LINE:
        raise CannotReplay(f"{to} works on no state; stop after one of: {', '.join(LINE)}")
    by_hand: dict[str, Sequence[str]] = {name: ("-m", "pdb") if name in debug else () for name in (*wait_for, *debug)}
    return Options(State(state) if state else None, Role(to) if to else None, agent, by_hand)


class Replay:
    """One run. `environ` are the factory's settings, `data` is where logs go."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], data: Path, options: Options, say: Callable[[str], None]
    ) -> None:
        self.settings, self.data, self.options, self.say = settings, data.absolute(), options, say
        base = {k: v for k, v in os.environ.items() if k in PASSED_ON}
        self.environ = base | {k: v for k, v in environ.items() if k not in NOT_OURS} | {"FACTORY_HEALTH_PORT": "0"}
        self.children: dict[str, Child] = {}
        self._asked_for: set[str] = set()
        self._orphans: list[str] = []

    async def run(self, job: Job) -> dict[str, Any]:
        """What came of it: `{job, of, state, path, differences, recorded, failure}`. Raises CannotReplay, UpError."""
        async with looking(self.settings) as (store, records), store.pool.acquire() as mark:
            store = Store(store.pool, replay=True)
            fork = await store.fork(job, self.options.state, to=self.options.to, agent=self.options.agent, actor=ACTOR)
            await mark.execute(MARK.format(""), fork.id)
            try:
                self._begin(fork)
                await self._end_orphans(store, mark, fork)
                fork = await self._follow(store, fork)
                await self._told(records, fork)
                return await self._result(store, records, job, fork)
            finally:
                await asyncio.shield(self._end(store, fork))

    async def _end_orphans(self, store: Store, mark: Any, fork: Job) -> None:
        """Whoever runs a replay marks it while they live. What nobody marks would be taken up by our services."""
        for other in await store.jobs(live=True, limit=100):
            young = fork.created_at - other.created_at < YOUNG
            if not young and await mark.fetchval(MARK.format("try_"), other.id):
                self.say(f"{other.id} was left behind by a replay that was killed; it is ended")
                await self._cancel(store, other)
                self._orphans.append(other.id)

    # ── services ──────────────────────────────────────────────────────────────

    def _begin(self, fork: Job) -> None:
        assert fork.replay is not None
        until = f", up to what {self.options.to} does" if self.options.to else ""
        self.say(f"{fork.id} replays {fork.replay_of} from {fork.replay.state}{until}; nothing is done outside")
        first = LINE.index(PHASES[State(fork.state)].owner)
        last = LINE.index(self.options.to) if self.options.to else len(LINE) - 1
        for name in (*LINE[first : last + 1], "notifier"):
            self._need(name)

    def _need(self, name: str) -> None:
        """Started, once; or asked for."""
        if name in self.children or name in self._asked_for:
            return
        if name in self.options.by_hand:
            self._asked_for.add(name)
            self.say(f"start {name} yourself; it is waited for:\n    {self._command(name)}")
            return
        argv = [sys.executable, "-m", f"factory_{name}", "--replay"]
        where = self.data if self.data.is_dir() else Path.cwd()
        child = Child(name, argv, self.data / "logs" / f"replay-{name}.log", env=self.environ, cwd=where)
        self.children[name] = child
        child.start()

    def _command(self, name: str) -> str:
        """For a shell: the factory's settings lie in a file that nobody else may read."""
        kept = self._settings_file
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.touch(mode=0o600)
        ours = {k: v for k, v in self.environ.items() if k.startswith("FACTORY_")}
        kept.write_text("".join(f"export {k}={shlex.quote(v)}\n" for k, v in ours.items()))
        argv = [sys.executable, *self.options.by_hand[name], "-m", f"factory_{name}", "--replay"]
        return f". {shlex.quote(str(kept))} && {shlex.join(argv)}"

    @property
    def _settings_file(self) -> Path:
        return self.data / f"replay.{os.getpid()}.env"

    def _check(self) -> None:
        """Raises UpError where a service has ended: nobody would go on."""
        for child in self.children.values():
            if (code := child.exit_code()) is not None and not child.stopping:
                why = "its configuration is broken" if code == CONFIG else f"exit code {code}"
                raise UpError(f"{child.name} ended ({why}). Log: {child.log}\n{child.tail()}")

    # ── the way ───────────────────────────────────────────────────────────────

    async def _follow(self, store: Store, fork: Job) -> Job:
        """Says each stay when it is over; returns the row when nobody goes on with it."""
        said = 0
        while True:
            fork = await store.get(fork.id)
            stays = await store.history(fork.id)
            over = self._over(fork)
            for stay in stays[said : None if over else -1]:
                self.say(stay_line(stay))
                said += 1
            if over:
                return fork
            self._check()
            self._need(PHASES[State(fork.state)].owner)
            await asyncio.sleep(LOOK)

    @staticmethod
    def _over(fork: Job) -> bool:
        return fork.lease_owner is None and (fork.state not in WORKING or fork.stopped or fork.waiting is not None)

    async def _told(self, records: Records, fork: Job) -> None:
        for _ in range(int(TOLD_WITHIN / LOOK)):
            if fork.id not in {job_id for job_id, *_ in await records.behind(replay=True)}:
                return
            await asyncio.sleep(LOOK)

    async def _result(self, store: Store, records: Records, job: Job, fork: Job) -> dict[str, Any]:
        events, mine = await store.events(job.id), await store.events(fork.id)
        mirror = await Forges.of(self.settings).mirror(self.settings.node_dir, job.repo)
        rounds = (await records.rounds(job.id), await records.rounds(fork.id))
        recorded = await records.recorded(fork.id)
        return {
            "job": fork.id,
            "of": job.id,
            "state": fork.state,
            "stopped": fork.stopped,
            "waiting": fork.waiting.asks if fork.waiting else None,
            "failure": fork.failure.message if fork.failure else None,
            "verdict": fork.verdict,
            "path": compare.steps(mine),
            "differences": await compare.differences(events, fork, mine, rounds, mirror),
            "recorded": sorted(recorded),
        }

    # ── the end ───────────────────────────────────────────────────────────────

    async def _end(self, store: Store, fork: Job) -> None:
        """Its place goes, by its own envkeeper; then the services."""
        try:
            await self._clean(store, fork)
        finally:
            await asyncio.gather(*(child.stop(wait=30) for child in self.children.values()))
            self._settings_file.unlink(missing_ok=True)

    @staticmethod
    async def _cancel(store: Store, fork: Job) -> None:
        for _ in range(2):  # work on what is proved falls back to it first
            if (await store.get(fork.id)).state not in TERMINAL:
                await store.tell(fork.id, ev.Cancel(by=ACTOR), actor=ACTOR)

    async def _clean(self, store: Store, fork: Job) -> None:
        await self._cancel(store, fork)
        for _ in range(int(CLEAN_WITHIN / LOOK)):
            left = [e.kind for job_id in (fork.id, *self._orphans) for e in await store.open_errands(job_id)]
            if not left:
                return
            for kind in left:
                self._need(ERRAND_OWNER[kind])
            self._check()
            await asyncio.sleep(LOOK)
        node = node_name(self.settings.node_dir)
        self.say(f"the place of {fork.id} on {node} is not gone yet; the next replay's envkeeper takes it away")


def summary(result: dict[str, Any]) -> list[str]:
    """What a person sees at the end."""
    lines = [f"{result['job']} came to {result['state']}"]
    if result["stopped"]:
        lines[0] += ", where it stops: nobody goes on with it"
    if result["waiting"]:
        lines.append(f"it asks, and nobody is asked in a replay: {result['waiting']}")
    if result["failure"]:
        lines.append(f"failed: {result['failure']}")
    kinds = Counter(key.split(":")[0] for key in result["recorded"])
    lines.append("recorded instead of done: " + (", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "nothing"))
    lines += [f"differs: {said}" for said in result["differences"]] or [f"as {result['of']} went"]
    return lines
