"""The sweep's patience: nobody is judged before Postgres has answered for long enough, without a pause."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factory_chassis import sweep as sweep_module
from factory_chassis.lives import Lives
from factory_chassis.sweep import Sweep
from factory_jobs import events as ev
from factory_jobs.errors import Stale
from factory_jobs.machine import Role


class FakeStore:
    """What the sweep asks of the store; `away` and `takes` say how Postgres is."""

    def __init__(self, clock: "Clock") -> None:
        self.clock, self.away, self.takes = clock, False, 0.0
        self.expired: list[Any] = [SimpleNamespace(id="jaaaaaaaaaa", version=3)]
        self.due: list[Any] = []
        self.held: dict[str, list[Any]] = {}
        self.free: list[str] = []

    async def held_by(self, owner: str) -> list[Any]:
        if self.away:
            raise ConnectionRefusedError
        return self.held.get(owner, [])

    async def let_go(self, owner: str) -> None:
        self.free.append(owner)

    async def swept(self) -> list[tuple[Any, ev.Event]]:
        self.clock.now += self.takes
        if self.away:
            raise ConnectionRefusedError
        return [(job, ev.LeaseExpired()) for job in self.expired]

    async def due_hints(self, states: list[str]) -> list[Any]:
        return self.due

    async def due_errands(self, role: Role) -> list[Any]:
        return []


class FakeLine:
    """Keeps what would have been written and hinted."""

    def __init__(self, store: FakeStore) -> None:
        self.store, self.publisher = store, self
        self.applied: list[str] = []
        self.hinted: list[Any] = []
        self.stale: set[str] = set()

    async def apply(self, job: Any, event: ev.Event, *, actor: str) -> Any:
        if job.id in self.stale:
            raise Stale(job.id)
        self.applied.append(job.id)
        return SimpleNamespace(id=job.id, version=job.version + 1, state="planned")

    async def hint(self, job: Any) -> None:
        self.hinted.append(job)


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


Swept = tuple[Sweep, FakeStore, FakeLine, Callable[[float], Any]]


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Swept:
    """A sweep with 30 s of patience, and `passes(seconds)`: it looks every second for that long."""
    clock = Clock()
    monkeypatch.setattr(sweep_module, "time", clock)
    store = FakeStore(clock)
    line = FakeLine(store)
    lives = Lives(tmp_path, "test")
    lives.begin()
    sweep = Sweep(line, Role.PLANNER, lives, actor="test", patience=30)  # type: ignore[arg-type]

    async def passes(seconds: float) -> None:
        ends = clock.now + seconds
        while clock.now < ends:
            try:
                await sweep.judge()
            except OSError:
                assert store.away
            clock.now += 1

    return sweep, store, line, passes


async def test_nobody_is_judged_at_the_start(swept: Swept) -> None:
    """A lease that ran out before we came is judged when we have looked for 30 s, and not before."""
    _, _, line, passes = swept
    await passes(30)
    assert line.applied == []
    await passes(1)
    assert line.applied == ["jaaaaaaaaaa"]


async def test_an_outage_begins_the_patience_anew(swept: Swept) -> None:
    """What ran out while Postgres was away gets 30 s to be renewed."""
    _, store, line, passes = swept
    store.expired = []
    await passes(40)
    store.away = True
    await passes(20)
    store.away, store.expired = False, [SimpleNamespace(id="jbbbbbbbbbb", version=1)]
    await passes(30)
    assert line.applied == []
    await passes(2)
    assert "jbbbbbbbbbb" in line.applied


async def test_a_postgres_that_hung_is_an_outage(swept: Swept) -> None:
    """No error came, but the answer took 25 s: holders could not renew either."""
    _, store, line, passes = swept
    store.expired = []
    await passes(40)
    store.takes, store.expired = 25, [SimpleNamespace(id="jbbbbbbbbbb", version=1)]
    await passes(1)
    store.takes = 0
    await passes(29)
    assert line.applied == []
    await passes(3)
    assert "jbbbbbbbbbb" in line.applied


async def test_a_slow_answer_is_none(swept: Swept) -> None:
    """Two seconds are no outage: on a busy machine somebody has to judge."""
    _, store, line, passes = swept
    store.takes = 2
    await passes(40)
    assert line.applied


async def test_the_dead_are_judged_at_once(swept: Swept) -> None:
    """Their jobs go on without any patience, once; while Postgres is away it is not forgotten that they have died."""
    sweep, store, line, passes = swept
    store.expired = []
    died = Lives(sweep.lives.directory, "planner@n1.vm.1")
    died.begin()
    store.held = {"planner@n1.vm.1": [SimpleNamespace(id="jbbbbbbbbbb", version=1)]}
    await passes(1)
    assert line.applied == []
    assert died._mine
    died._mine.close()
    store.away = True
    await passes(3)
    assert line.applied == []
    store.away = False
    await passes(3)
    assert (line.applied, store.free) == (["jbbbbbbbbbb"], ["planner@n1.vm.1"])


async def test_a_row_that_somebody_else_swept(swept: Swept) -> None:
    """The loser of the race goes on with the next."""
    _, store, line, passes = swept
    store.expired = [SimpleNamespace(id="jaaaaaaaaaa", version=1), SimpleNamespace(id="jbbbbbbbbbb", version=1)]
    line.stale = {"jaaaaaaaaaa"}
    await passes(31)
    assert line.applied == ["jbbbbbbbbbb"]


async def test_hints_need_no_patience(swept: Swept) -> None:
    """What is due is hinted from the first look on; a service without a role hints nothing."""
    sweep, store, line, _ = swept
    store.due = ["a job"]
    await sweep.hint()
    assert line.hinted == ["a job"]
    await Sweep(line, None, sweep.lives, actor="test").hint()  # type: ignore[arg-type]
    assert line.hinted == ["a job"]
