"""One service at run time: started, watched until it is ready, kept healthy, started again when it falls, ended."""

import asyncio
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from factory_contract import health, listeners, logs, ports, proc
from factory_contract.environment import Environment
from factory_contract.errors import (
    BadAddress,
    ContractError,
    NotReady,
    PortLost,
    PortUnused,
    ServiceExited,
    ServiceFell,
    ServiceLeft,
    TaskFailed,
)
from factory_contract.listeners import Listener
from factory_contract.logs import Log
from factory_contract.process import Child, Children

if TYPE_CHECKING:
    from factory_contract.model import Service

# seconds to the first look at a service that gets ready, then slowly longer: about a tenth of its time so far
FIRST_LOOK = 0.01
FIRST_COMMAND = 0.05  # the same by a command, which takes the machine from a service that only begins
LONGEST_LOOK = 0.5
SLOWER = 1.1
SETTLED = 0.3  # seconds that a service with nothing to look at has to live before it counts as ready
BACKOFF = 0.5  # seconds before the first new start, doubled each time
LONGEST_BACKOFF = 10.0
BEFORE_READY = 2  # new starts of a service that was never ready
IN_A_ROW = 5  # new starts of one that was; counted anew after it was ready for a minute
STEADY = 60.0
PATIENCE = 1.0  # seconds until people are told what a stop waits for


class Home(Protocol):
    """What a unit needs of its supervisor."""

    children: Children
    environment: Environment

    def changed(self, unit: "Unit") -> None:
        """Tells whoever listens that the unit's state is another."""
        ...

    def note(self, text: str) -> None:
        """Tells whoever listens what people should know."""
        ...


class Trouble(NamedTuple):
    """What is wrong with a service of an app that was ready, and what to do next."""

    service: str
    what: str
    hint: str


class Unit:
    """A service and its process. `ready` is set while others may lean on it; `outcome` tells how the bring-up ended."""

    left_hint = ServiceLeft.hint

    def __init__(self, name: str, service: "Service", home: Home, log: Path) -> None:
        self.name, self.service = name, service
        self.state = "pending"
        self.child: Child | None = None
        self.exit_code: int | None = None
        self.restarts = 0
        self.since = logs.now()
        self.health: dict[str, Any] | None = None
        self.error: ContractError | None = None  # why it was given up
        self.ready = asyncio.Event()
        self.outcome: asyncio.Future[None] = _quiet_future()
        self._home = home
        self._log = Log(log)
        self._keeper: asyncio.Task[None] | None = None
        self._line = asyncio.Event()  # `healthcheck: {log: …}` has seen its line

    @property
    def once(self) -> bool:
        """Whether it runs to its end, and others wait for that."""
        return self.service.type == "task"

    # --- from the supervisor ------------------------------------------------------------------------------------------

    def launch(self, needs: list["Unit"]) -> None:
        """Begins to bring the service up, as soon as `needs` are ready."""
        self.outcome = _quiet_future()
        self.restarts = 0
        self.exit_code = self.error = None
        self._to("pending")
        self._keeper = asyncio.create_task(self._keep(needs), name=f"keep {self.name}")
        self._keeper.add_done_callback(self._tell_a_bug)

    async def stop(self) -> None:
        """Ends the service: its `stop` command or signal, a named wait, then SIGKILL."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        self.ready.clear()
        if self.child is not None:
            await self._end(asked=True)
            self._to("stopped")
        elif self.state in ("pending", "starting", "ready", "exited"):
            self._to("stopped")

    def close(self) -> None:
        self._log.close()

    def snapshot(self) -> dict[str, Any]:
        """The service as `status` shows it."""
        environment = self._home.environment
        shown: dict[str, Any] = {
            "name": self.name,
            "type": self.service.type,
            "state": self.state,
            "pid": self.child.pid if self.child else None,
            "ports": environment.ports_of(self.name),
            "url": environment.url_of(self.name),
            "exit_code": self.exit_code,
            "restarts": self.restarts,
            "since": self.since,
            "health": self.health,
        }
        if self.error is not None:
            shown["error"] = {"code": self.error.code, "message": str(self.error)}
        if self._log.lost:
            shown["log_bytes_lost"] = self._log.lost
        return shown

    def trouble(self) -> Trouble | None:
        """Why it is not well, for `status`; None where it is."""
        hint = f"`factory logs --service {self.name}` says why"
        if self.state in ("ready", "completed"):
            return None
        if self.state == "unhealthy":
            detail = self.health["detail"] if self.health else ""
            return Trouble(self.name, f"{self.name} is unhealthy: {detail}", f"{hint}; `factory restart {self.name}`")
        what = f"{self.name} is {self.state}"
        if self.exit_code is not None:
            what = f"{self.name} ended with exit code {self.exit_code}"
        if self._keeper is not None and not self._keeper.done():
            return Trouble(self.name, f"{what} and is started again", hint)
        return Trouble(self.name, what, f"{hint}; `factory start` brings it back")

    # --- its life -----------------------------------------------------------------------------------------------------

    async def _keep(self, needs: list["Unit"]) -> None:
        try:
            for unit in needs:
                await unit.ready.wait()
            if self.once:
                await self._run_task()
            else:
                await self._run_process()
        except ContractError as e:
            await self._fail(e)

    async def _run_task(self) -> None:
        child = await self._start()
        self.exit_code = await child.wait()
        await self._end()
        await self._refuse_strangers()
        if self.exit_code != 0:
            raise TaskFailed(**self._where(), exit_code_of_command=self.exit_code)
        self._to("completed")
        self._is_ready()

    async def _run_process(self) -> None:
        """Starts the process, again and again where its policy says so."""
        in_a_row = 0
        while True:
            child = await self._start()
            was_ready = await self._until_ready(child)
            begun = time.monotonic()
            if was_ready:
                await self._until_end(child)
            self.ready.clear()
            self.exit_code = await child.wait()
            self._to("exited")
            await self._end()
            await self._refuse_strangers()
            if time.monotonic() - begun > STEADY:
                in_a_row = 0
            in_a_row += 1
            if not self._again(in_a_row):
                break
            await asyncio.sleep(min(BACKOFF * 2 ** (in_a_row - 1), LONGEST_BACKOFF))
            self.restarts += 1

    def _again(self, in_a_row: int) -> bool:
        """Whether the policy starts the process anew; raises when it has given up."""
        never_ready = not self.outcome.done()
        failed = self.exit_code != 0
        if self.service.restart == "always" or (self.service.restart == "on-failure" and failed):
            if in_a_row <= (BEFORE_READY if never_ready else IN_A_ROW):
                return True
        elif not never_ready:
            return False  # it may end: `exited` is its state
        if not never_ready:
            raise ServiceFell(**self._where(), times=in_a_row, exit_code_of_command=self.exit_code)
        if not failed:
            raise ServiceLeft(**self._where(), hint=self.left_hint)
        self._refuse_clients()
        raise ServiceExited(**self._where(), exit_code_of_command=self.exit_code)

    async def _start(self) -> Child:
        self._to("starting")
        environment = self._home.environment
        self._log.forget_tail()
        self._line.clear()
        self.health = None
        check = self.service.healthcheck
        if check is not None and check.log is not None:
            self._log.heard = self._listen_for(
                environment.fill(f"services.{self.name}.healthcheck.log", check.log, self.name)
            )
        self.child = await self._spawn()
        self._home.changed(self)
        return self.child

    async def _spawn(self) -> Child:
        environment = self._home.environment
        assert self.service.command is not None
        return self._home.children.spawn(
            self.service.command,
            owner=self.name,
            env=environment.of(self.name),
            cwd=environment.root / self.service.cwd,
            output=self._log.feed,
            stays=self.service.type == "process",
        )

    async def _until_ready(self, child: Child) -> bool:
        """True when the service is ready, False when its process has ended before. Raises NotReady, ForeignListener, PortUnused."""
        look, rhythm = self._look(), self._rhythm()
        allowed = rhythm.start_period + rhythm.retries * rhythm.interval
        deadline = time.monotonic() + allowed
        by_command = self.service.healthcheck is not None and self.service.healthcheck.command is not None
        pause = FIRST_COMMAND if by_command else FIRST_LOOK
        if look is None:
            if await _ends_within(child, SETTLED):
                return False
            self._is_ready()
            return True
        unused: ContractError | None = None
        while True:
            if await _ends_within(child, pause):
                return False
            begun = time.monotonic()
            outcome = await health.once(look, rhythm.timeout)
            took = time.monotonic() - begun  # a command that is asked without a pause would slow down what it asks for
            self._looked(outcome)
            if child.exit.done():
                return False
            if outcome.ok:
                unused = await self._unused_port()
                if unused is None:
                    self._is_ready()
                    return True
            if time.monotonic() >= deadline:
                raise unused or self._not_ready(allowed, outcome)
            pause = min(max(pause * SLOWER, took), LONGEST_LOOK)

    def _not_ready(self, seconds: float, outcome: health.Outcome) -> NotReady:
        hint = ""
        if self.service.healthcheck is None:
            names = ", ".join(self._home.environment.ports_of(self.name))
            hint = f"If {self.name} does not listen on {names}, say `ports: []`; if it does so elsewhere, write a healthcheck."
        return NotReady(**self._where(), seconds=seconds, detail=outcome.detail, hint=hint)

    async def _until_end(self, child: Child) -> None:
        """Looks at a ready service until its process ends; `unhealthy` is a state, no reason to end it."""
        look, rhythm = self._look(), self._rhythm()
        if look is None or (self.service.healthcheck is not None and self.service.healthcheck.log is not None):
            await child.wait()
            return
        failures = 0
        while not await _ends_within(child, max(rhythm.interval, 0.1)):
            outcome = await health.once(look, rhythm.timeout)
            failures = 0 if outcome.ok else failures + 1
            self._looked(outcome)
            if outcome.ok and self.state == "unhealthy":
                self._to("ready")
                self.ready.set()
            elif failures >= rhythm.retries and self.state == "ready" and not child.exit.done():
                self.ready.clear()
                self._to("unhealthy")

    async def _fail(self, error: ContractError) -> None:
        """Gives up: what is left of the process is ended, and who waits is told why."""
        self.ready.clear()
        error.data.setdefault("log_tail", self._log.tail())
        if self.child is not None:
            await self._end()
        self.error = error
        self._to("failed")
        if not self.outcome.done():
            self.outcome.set_exception(error)

    async def _end(self, *, asked: bool = False) -> None:
        """Ends the process and everything beneath it. asked: by a person, so the `stop` command comes first."""
        child = self.child
        assert child is not None
        stop = self.service.stop
        waits = asyncio.get_running_loop().call_later(PATIENCE, self._home.note, self._waited_for()) if asked else None
        if asked and stop.command is not None and not child.exit.done():
            await self._run_stop_command(child, stop.command, stop.timeout)
        try:
            gently = await self._end_child(child)
        finally:
            if waits is not None:
                waits.cancel()
            if child.exit.done():
                self.exit_code = child.exit.result()
            self.child = None
        if asked and not gently:
            said = f"{self.name} was still there after {stop.timeout:g} s and was killed"
            self._log.note(said)
            self._home.note(said)

    def _waited_for(self) -> str:
        stop = self.service.stop
        how = f"`{stop.command}` was run" if stop.command is not None else f"{stop.signal} was sent"
        return f"waiting for {self.name} to end: {how}; killed after {stop.timeout:g} s"

    async def _end_child(self, child: Child) -> bool:
        """True if nothing had to be killed."""
        stop = self.service.stop
        return await self._home.children.end(child, grace=stop.timeout, by=signal.Signals[stop.signal])

    async def _run_stop_command(self, child: Child, command: str, timeout: float) -> None:
        environment = self._home.environment
        children = self._home.children
        stopper = children.spawn(
            command,
            owner=f"{self.name} (stop)",
            env=environment.of(self.name),
            cwd=environment.root / self.service.cwd,
            output=self._log.feed,
            beside=True,
        )
        try:
            await asyncio.wait([stopper.exit], timeout=timeout)
            await asyncio.wait([child.exit], timeout=timeout)
        finally:
            await children.end(stopper, grace=0)

    # --- looking ------------------------------------------------------------------------------------------------------

    def _rhythm(self) -> health.Rhythm:
        return health.rhythm(self.service.healthcheck)

    def _look(self) -> health.Look | None:
        """How this service is looked at: its healthcheck, else a connection to its port, else not at all."""
        check, environment = self.service.healthcheck, self._home.environment
        port = environment.main_port(self.name)
        where = f"services.{self.name}.healthcheck"
        if check is None or check.tcp is not None:
            address = self._tcp_address()
            return None if address is None else lambda: health.tcp(*address)
        if check.log is not None:
            return self._look_at_log
        if check.command is not None:
            command = check.command
            return lambda: self._look_by_command(command)
        assert check.http is not None
        url = environment.fill(f"{where}.http", check.http, self.name)
        if url.startswith("/"):
            if port is None:
                raise BadAddress(where=f"{where}.http", text=url, hint=f"{self.name} has no port: write the whole URL.")
            url = f"http://localhost:{port}{url}"
        return lambda: health.http(url)

    def _tcp_address(self) -> tuple[str, int] | None:
        """What `healthcheck: {tcp: …}` says, else the service's own port."""
        check, environment = self.service.healthcheck, self._home.environment
        if check is None or check.tcp is None:
            port = environment.main_port(self.name)
            return None if port is None else ("localhost", port)
        where = f"services.{self.name}.healthcheck.tcp"
        return _address(where, environment.fill(where, check.tcp, self.name))

    async def _look_by_command(self, command: str, shown: str = "") -> health.Outcome:
        """shown: what people are told of the command, where that is not the whole."""
        environment, children = self._home.environment, self._home.children
        said = bytearray()
        probe = children.spawn(
            command,
            owner=f"{self.name} (healthcheck)",
            env=environment.of(self.name),
            cwd=environment.root / self.service.cwd,
            output=lambda data: said.extend(data[:2000]),
            beside=True,
        )
        try:
            code = await probe.wait()
        finally:
            await asyncio.shield(children.end(probe, grace=0))
        last = bytes(said[-400:]).decode(errors="replace").strip().rpartition("\n")[2]
        return health.Outcome(
            code == 0, f"`{shown or command}` ended with {code}" + (f": {last}" if code and last else "")
        )

    async def _look_at_log(self) -> health.Outcome:
        seen = self._line.is_set()
        return health.Outcome(seen, "the line was logged" if seen else "the line was not logged yet")

    def _listen_for(self, pattern: str) -> Callable[[str], None]:
        expected = re.compile(pattern)

        def heard(line: str) -> None:
            if expected.search(line):
                self._line.set()

        return heard

    # --- this app's own port ------------------------------------------------------------------------------------------

    async def _unused_port(self) -> ContractError | None:
        """None when the service's port is listened to by this environment. Raises ForeignListener when by a stranger."""
        port = self._home.environment.main_port(self.name)
        found = await self._refuse_strangers()
        if port is None or not proc.LINUX or any(listener.port == port for listener in found):
            return None
        return self._unused(port)

    def _unused(self, port: int) -> ContractError:
        name = next((n for n, p in self._home.environment.ports_of(self.name).items() if p == port), "")
        return PortUnused(**self._where(), name=name, port=port)

    async def _refuse_strangers(self) -> list[Listener]:
        near = [self.child.pid, *proc.beneath(self.child.pid)] if self.child is not None else []
        return listeners.refuse_strangers(self._home.environment.ports_of(self.name), near)

    def _refuse_clients(self) -> None:
        """A client's connection can have got the port from the kernel since it was leased. Raises PortLost."""
        for name, port in self._home.environment.ports_of(self.name).items():
            if not ports.is_free(port):
                raise PortLost(**self._where(), name=name, port=port, owner=listeners.user(port))

    # --- small --------------------------------------------------------------------------------------------------------

    def _tell_a_bug(self, keeper: "asyncio.Task[None]") -> None:
        """An error that is ours must not leave anybody waiting for this unit."""
        error = None if keeper.cancelled() else keeper.exception()
        if error is not None and not self.outcome.done():
            self.outcome.set_exception(error)

    def _looked(self, outcome: health.Outcome) -> None:
        self.health = {"ok": outcome.ok, "detail": outcome.detail, "at": logs.now()}

    def _is_ready(self) -> None:
        if self.state != "completed":
            self._to("ready")
        self.ready.set()
        if not self.outcome.done():
            self.outcome.set_result(None)

    def _to(self, state: str) -> None:
        if state != self.state:
            self.state, self.since = state, logs.now()
            self._home.changed(self)

    def _where(self) -> dict[str, Any]:
        return {"service": self.name, "log": str(self._log.path)}


async def _ends_within(child: Child, seconds: float) -> bool:
    await asyncio.wait([child.exit], timeout=seconds)
    return child.exit.done()


def _address(where: str, text: str) -> tuple[str, int]:
    """`PORT` or `HOST:PORT`. Raises BadAddress."""
    host, _, number = text.rpartition(":")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise BadAddress(where=where, text=text)
    return host or "localhost", int(number)


def _quiet_future() -> "asyncio.Future[None]":
    """A future that nobody has to look at."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda f: f.cancelled() or f.exception())
    return future
