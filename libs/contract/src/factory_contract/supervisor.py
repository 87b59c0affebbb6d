"""The supervisor of one checkout: one loop that owns every service, answers on the control socket, and says what is so.

It writes `state.json` at each change, for readers who come when it is gone.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from factory_contract import (
    control,
    errors,
    graph,
    leasing,
    ledger,
    listeners,
    live,
    logs,
    ports,
    proc,
    registry,
    remembered,
    state,
    steps,
    words,
)
from factory_contract.checkout import Checkout, slug
from factory_contract.environment import Environment
from factory_contract.errors import ContractError
from factory_contract.headstart import Head
from factory_contract.leasing import Options
from factory_contract.ledger import Ledger
from factory_contract.logs import Log
from factory_contract.process import Children, end_pids
from factory_contract.remembered import Remembered
from factory_contract.unit import Unit

if TYPE_CHECKING:  # loaded where there are containers
    from factory_contract.check import Loaded
    from factory_contract.compose.project import Project

STILL_THERE = 2.0  # seconds between two looks whether the checkout was deleted
FRESH = 3600.0  # seconds until leases get another time of change: programs that tidy up /tmp take what is old
GOODBYE = 1.0  # seconds that the last answers on the control socket get before the supervisor goes
LEFTOVER_GRACE = 5.0

Event = dict[str, Any]


class Supervisor:
    """Brings services up, keeps them, takes them down. `say` gets every change, as `progress` on the control socket does."""

    def __init__(
        self,
        checkout: Checkout,
        options: Options,
        children: Children,
        book: Ledger,
        say: Callable[[Event], None],
        head: Head | None = None,
    ) -> None:
        self.children = children
        self.checkout = checkout
        self.units: dict[str, Unit] = {}
        self.projects: dict[str, Project] = {}  # by Compose file
        self.environment: Environment = None  # pyright: ignore[reportAttributeAccessIssue]  # set by `adopt`, before any use
        self._options, self._ledger = options, book
        self._head = head
        self._leases = head.leases if head is not None else ports.Leases(checkout)
        self._record: int | None = None  # the lock on it
        self._listeners: list[Callable[[Event], None]] = [say]
        self._phase = "starting"
        self._error: dict[str, Any] | None = None
        self._since = logs.now()
        self._socket = ""
        self._changed = False  # since the state was written down
        me = proc.look(os.getpid())
        self._started = me.started if me else ""
        self._one_at_a_time = asyncio.Lock()
        self._work: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._down = asyncio.Event()  # nothing runs any more
        self._root = os.open(checkout.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._first_start: asyncio.Task[None] | None = None

    # --- the contract -------------------------------------------------------------------------------------------------

    def adopt(self, loaded: "Loaded | Remembered", environment: Environment | None = None) -> None:
        """Takes a version of the contract: its ports, its environment, a unit for each service. Nothing may be running.

        environment: if it was made already.
        """
        for path in loaded.compose.missing:
            raise errors.ComposeFileMissing(file=path, service=loaded.compose.of(path)[0])
        self.environment = environment or leasing.lease(self.checkout, loaded, self._options, self._leases)
        for name, port in self.environment.ports.items():
            self._ledger.made("port", name=name, port=port)
        self._close()
        self.projects = {path: self._project(path, loaded) for path in loaded.compose.files}
        self.units = {name: self._unit(name, loaded) for name in loaded.contract.services}
        self._register()

    def _register(self, project: "Project | None" = None) -> None:
        """In the machine's record of this environment: its supervisor, and a Compose project before anything of it is there."""
        root, environment = self.checkout.root, self.environment
        me = {"pid": os.getpid(), "since": self._since}
        with ports.one_at_a_time(self.checkout):
            registry.enter(
                root, environment.worktree, environment.ports, me, project and {project.name: project.docker}
            )
        if self._record is None:
            self._record = registry.hold(root, registry.PATIENCE)

    def _project(self, path: str, loaded: "Loaded | Remembered") -> "Project":
        from factory_contract.compose.engine import Engine
        from factory_contract.compose.project import Project

        joined = loaded.compose
        return Project(
            path,
            joined.files[path],
            {name: joined.members[name] for name in joined.of(path)},
            self.environment,
            Engine(self.children, self.environment.of(), owner=f"compose ({path})"),
            self._ledger,
            self.checkout.logs / "factory" / f"{slug(path)}.log",
            self.note,
            self._register,
        )

    def _unit(self, name: str, loaded: "Loaded | Remembered") -> Unit:
        service, log = loaded.contract.services[name], self.checkout.logs / f"{name}.log"
        member = loaded.compose.members.get(name)
        if member is None:
            return Unit(name, service, self, log)
        from factory_contract.compose.unit import ContainerUnit

        return ContainerUnit(name, service, self, log, member, self.projects[member.file])

    def _close(self) -> None:
        for logged in (*self.units.values(), *self.projects.values()):
            logged.close()

    # --- up and down --------------------------------------------------------------------------------------------------

    async def bring_up(self, names: Iterable[str] | None = None) -> None:
        """Starts services in the order of the graph, as much at once as it allows; returns when all are ready and seeded.

        names: only these, and what they need; without seed. Raises the error of the first that fails.
        """
        self._phase, self._error = "starting", None
        needs = {name: unit.service.depends_on for name, unit in self.units.items()}
        chosen = graph.with_needs(self.units if names is None else names, needs)
        to_start = [
            u for n, u in self.units.items() if n in chosen and u.state not in ("ready", "completed", "unhealthy")
        ]
        for unit in to_start:
            await unit.stop()  # one that has failed may still be waiting for something
        await self._make_containers(to_start)
        for unit in to_start:
            unit.launch([self.units[n] for n in needs[unit.name]])
        try:
            await asyncio.gather(*(unit.outcome for unit in to_start))
            listeners.refuse_strangers(self._ports_of_none())
            if names is None:
                await self._seed()
        except ContractError as e:
            self._failed(e)
            raise
        self._phase = "ready"
        self.changed()

    async def _make_containers(self, units: list[Unit]) -> None:
        """Begins with it; each unit waits for its own."""
        for project in self.projects.values():
            if names := [unit.name for unit in units if project.has(unit.name)]:
                await project.begin(names)

    def _ports_of_none(self) -> dict[str, int]:
        """Those that are no service's: each service proves its own when it gets ready."""
        owners = self.environment.owners
        return {name: port for name, port in self.environment.ports.items() if owners.get(name) not in self.units}

    async def take_down(self, names: Iterable[str] | None = None) -> None:
        """Ends services, those that lean on others first, as much at once as the graph allows."""
        chosen = set(self.units if names is None else names)
        above = graph.dependents({name: unit.service.depends_on for name, unit in self.units.items()})
        gone = {name: asyncio.Event() for name in chosen}

        async def end(name: str) -> None:
            for dependent in above[name] & chosen:
                await gone[dependent].wait()
            try:
                await self.units[name].stop()
            finally:
                gone[name].set()

        results = await asyncio.gather(*(end(name) for name in chosen), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error

    async def _leave_projects(self) -> None:
        """Containers and networks go; of a checkout that nobody can clean any more volumes and images, too."""
        for project in self.projects.values():
            await project.leave(everything=self._deleted)

    async def restart(self, names: list[str]) -> None:
        """Named services end and start again; without names the contract is read anew and everything starts from nothing."""
        if names:
            await self.take_down(names)
            await self.bring_up(names)
            return
        loaded = remembered.load(self.checkout)  # before anything is ended: what is wrong with it changes nothing
        await self.take_down()
        await self._leave_projects()
        try:
            self.adopt(loaded)
        except ContractError as e:
            self._failed(e)
            raise
        await self.bring_up()

    async def _seed(self) -> None:
        commands = self.environment.contract.seed
        if not commands:
            return
        log = Log(self.checkout.logs / "factory" / "seed.log")
        try:
            for command in commands:
                self._tell({"seed": command})
            done = await steps.run_all(
                self.children, commands, owner="seed", env=self.environment.of(), cwd=self.checkout.root, log=log
            )
            if done[-1].exit_code != 0:
                raise errors.SeedFailed(
                    command=done[-1].command,
                    exit_code_of_command=done[-1].exit_code,
                    log=str(log.path),
                    log_tail=log.tail(),
                )
        finally:
            log.close()

    def _failed(self, error: ContractError) -> None:
        self._phase, self._error = "failed", errors.tell(error)
        self.changed()

    # --- what is so ---------------------------------------------------------------------------------------------------

    def overall(self) -> str:
        states = {unit.state for unit in self.units.values()}
        if self._phase in ("starting", "failed", "stopped"):
            return self._phase
        if "failed" in states:
            return "failed"
        return "ready" if states <= {"ready", "completed"} else "degraded"

    def snapshot(self) -> dict[str, Any]:
        """The environment as `status` shows it, and what readers of `state.json` need beside."""
        urls = [u._asdict() for u in self.environment.urls()] if self.environment else []
        shown: dict[str, Any] = {
            "state": self.overall(),
            "worktree": self.environment.worktree if self.environment else state.named(self.checkout).worktree,
            "supervisor": {"pid": os.getpid(), "since": self._since},
            "services": [unit.snapshot() for unit in self.units.values()],
            "ports": self.environment.ports if self.environment else {},
            "urls": urls,
        }
        if error := self._error or self._trouble(shown["state"]):
            shown["error"] = error
        return shown

    def _trouble(self, overall: str) -> dict[str, Any] | None:
        """Why the app is not what it was: a service that was given up, else all that are not well."""
        for unit in self.units.values():
            if unit.error is not None:
                return errors.tell(unit.error)
        if overall != "degraded":
            return None
        found = [trouble for unit in self.units.values() if (trouble := unit.trouble())]
        what = "; ".join(trouble.what for trouble in found)
        return errors.tell(errors.Unhealthy(what=what, hint=found[0].hint, service=found[0].service))

    def changed(self, unit: Unit | None = None) -> None:
        """Tells who listens, and writes the state down: once for all changes of one moment."""
        if unit is not None:
            self._tell(self._event(unit))
        if not self._changed:
            self._changed = True
            asyncio.get_running_loop().call_soon(self._write)

    def note(self, text: str) -> None:
        self._tell({"note": text})

    def _event(self, unit: Unit) -> Event:
        return {"service": unit.name, "state": unit.state, "url": self.environment.url_of(unit.name)}

    def _write(self) -> None:
        self._changed = False
        if self._deleted:
            return
        try:
            state.write(
                self.checkout.state_file,
                {
                    **self.snapshot(),
                    "root": str(self.checkout.root),
                    "boot": proc.boot_id(),
                    "socket": self._socket,
                    "started": self._started,
                },
            )
        except errors.StateUnwritable as e:
            self.note(str(e))  # a full disk: the control socket goes on telling the truth

    def _tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except OSError:
                pass  # a terminal that is gone, a log on a full disk: nothing that may keep an app from running

    # --- the control socket -------------------------------------------------------------------------------------------

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(line: dict[str, Any]) -> None:
            if not writer.is_closing():
                writer.write(json.dumps(line).encode() + b"\n")

        def progress(event: Event) -> None:
            send({"progress": event})

        try:
            asked = json.loads(await reader.readline() or b"{}")
            do, names = asked.get("do"), asked.get("services") or []
            if do != "status":
                progress({"heard": do})
                for unit in self.units.values() if do == "start" else ():
                    progress(self._event(unit))
                self._listeners.append(progress)
            send({"done": await self._do(do, names)})
        except ContractError as e:
            send({"failed": errors.tell(e)})
        except (ValueError, AttributeError, ConnectionError):
            send({"failed": errors.tell(errors.Usage(problem="that was no request"))})
        finally:
            if progress in self._listeners:
                self._listeners.remove(progress)
            try:
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            except ConnectionError:
                pass  # who asked has gone; what was asked for is done all the same

    async def _do(self, do: str | None, names: list[str]) -> dict[str, Any]:
        for name in names:
            if name not in self.units:
                raise errors.NoSuchService(service=name, hint=words.suggestion(name, self.units))
        if do == "status":
            return self.snapshot()
        if do == "stop":
            return await self._stop(names)
        if do in ("start", "restart"):
            return await self._start(do, names)
        raise errors.Usage(problem=f"the supervisor does not know {do!r}")

    async def _stop(self, names: list[str]) -> dict[str, Any]:
        if not names:
            self._stopping.set()
            await self._down.wait()
            return {"stopped": True}
        await self._do_alone(self.take_down(names))
        return self.snapshot()

    async def _start(self, do: str, names: list[str]) -> dict[str, Any]:
        """Waits for the first start, then does what is still to be done; a first start that fails is everybody's."""
        if self._first_start is not None:
            await asyncio.shield(self._first_start)
        if do == "restart":
            await self._do_alone(self.restart(names))
        elif names or self.overall() != "ready":
            await self._do_alone(self.bring_up(names or None))
        return self.snapshot()

    async def _do_alone(self, work: Coroutine[Any, Any, None]) -> None:
        """One piece of work at a time; `stop` cuts it short. Raises Stopping."""
        async with self._one_at_a_time:
            self._work = asyncio.create_task(work)
            if self._stopping.is_set():
                self._work.cancel()
            await asyncio.wait([self._work])
            if self._work.cancelled():
                raise errors.Stopping()
            self._work.result()

    # --- its life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the first start to the end that a signal or `stop` asks for. Raises the error of a first start that fails."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(sig, self._stopping.set)
        answers: set[asyncio.Task[None]] = set()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            answers.add(task)
            try:
                await self._answer(reader, writer)
            finally:
                answers.discard(task)

        try:
            self._adopt_first()  # before anybody asks: it is long work in one piece
            path = control.socket_path(self.checkout.root)
            self._ledger.made("socket", path=str(path))
        except ContractError as e:
            self._failed(e)
            self._give_back()
            raise
        with control.listening(path) as listener:
            server = await asyncio.start_unix_server(answer, sock=listener)
            self._socket = str(path)
            self._write()
            watch = asyncio.create_task(self._watch())
            try:
                await self._live()
            finally:
                watch.cancel()
                try:
                    await self._leave()
                finally:
                    self._down.set()
                server.close()
                if answers:
                    await asyncio.wait(answers, timeout=GOODBYE)
                for task in answers:
                    task.cancel()

    def _adopt_first(self) -> None:
        head, self._head = self._head, None
        if head is None:
            self.adopt(remembered.load(self.checkout))
        else:
            self.adopt(head.loaded, head.environment)

    async def _watch(self) -> None:
        """A checkout that nobody can see any more cannot be stopped by name, so it stops itself."""
        fresh = time.monotonic()
        while not self._deleted:
            if time.monotonic() - fresh > FRESH:
                fresh = time.monotonic()
                self._leases.touch()
            await asyncio.sleep(STILL_THERE)
        self._stopping.set()

    @property
    def _deleted(self) -> bool:
        """Whether the checkout is; what is at its place by now is another one. A moved directory keeps its links."""
        return os.fstat(self._root).st_nlink == 0

    async def _live(self) -> None:
        self._first_start = asyncio.create_task(self._do_alone(self.bring_up()))
        self._first_start.add_done_callback(lambda f: f.cancelled() or f.exception())  # looked at below, or by nobody
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([self._first_start, stopping], return_when=asyncio.FIRST_COMPLETED)
        if self._first_start.done():
            self._first_start.result()
            self._first_start = None
        await stopping

    async def _leave(self) -> None:
        """Everything down, the state told, the ports' locks dropped; after an error its words stay in the state."""
        self._stopping.set()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
        try:
            try:
                await self.take_down()
            finally:
                await self._leave_projects()
        except ContractError as e:  # an engine that is silent, for one: containers are left
            self._phase, self._error = "failed", errors.tell(e)
            raise
        finally:
            self._close()
            if self._error is None:
                self._phase = "stopped"
            self._give_back()

    def _give_back(self) -> None:
        """The locks go; what a deleted checkout had leased goes too, as nobody could clean it."""
        if self._deleted and self.environment:
            self._leases.free(self.environment.ports.values())
            if not self.checkout.root.exists():
                registry.remove(self.checkout.root)
        self._leases.let_go()
        if self._record is not None:
            os.close(self._record)
        self._socket = ""
        self._write()


async def supervise(
    checkout: Checkout, options: Options, say: Callable[[Event], None], head: Head | None = None
) -> dict[str, Any]:
    """Supervises the checkout in the foreground until a signal or `stop`; returns the last snapshot. The lock has to be held.

    Raises whatever keeps the first start from getting ready, when everything is down again.
    """
    if head is None:
        await end_leftovers(checkout, say)
        ledger.tidy(checkout.ledger_file, checkout.root)
    before = live.projects(checkout)
    known = ledger.projects(checkout.ledger_file, checkout.root)
    book = head.ledger if head is not None else Ledger(checkout.ledger_file, checkout.root)
    for project in before:
        if project not in known:  # of a checkout that has moved: `clean` has to find their volumes
            book.made("compose", project=project.name, docker=project.docker)
            book.removed(project.name)
    async with Children(book, head.begun if head is not None else None) as children:
        supervisor = Supervisor(checkout, options, children, book, say, head)
        await supervisor.run()
        return supervisor.snapshot()


class Ended(NamedTuple):
    """What a supervisor that was killed had left: pids, and names of containers."""

    pids: list[int]
    containers: list[str]


async def end_leftovers(checkout: Checkout, say: Callable[[Event], None] | None = None) -> Ended:
    """Ends what a supervisor that was killed has left running. Raises LeftBehind, EngineSilent."""
    pids = live.left(checkout)
    if pids:
        if say is not None:
            say({"leftovers": pids})
        await end_pids(pids, LEFTOVER_GRACE)
    containers = await remove_projects(checkout, [p for p in live.projects(checkout) if p.left], everything=False)
    if containers and say is not None:
        say({"leftovers": containers})
    live.forget(checkout)
    return Ended(pids, containers)


async def remove_projects(checkout: Checkout, projects: list[ledger.Project], *, everything: bool) -> list[str]:
    """Removes Compose projects that no supervisor has any more. Returns the names of their containers."""
    names: list[str] = []
    if projects:
        from factory_contract.compose.engine import Engine

        book = Ledger(checkout.ledger_file, checkout.root)
        async with Children() as children:
            for project in projects:
                engine = Engine(children, {**os.environ, **project.docker})
                names += await engine.remove(project.name, everything=everything)
                book.removed(project.name)
    return names
