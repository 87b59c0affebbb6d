"""A service of a Compose file at run time: its child is `docker start --attach`, whose output and exit code are the container's."""

import shlex
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory_contract import health, listeners
from factory_contract.compose.members import Member
from factory_contract.compose.project import Container, Project
from factory_contract.errors import ContainerFailed, ContractError, ForeignListener
from factory_contract.listeners import Listener
from factory_contract.model import Service
from factory_contract.process import Child
from factory_contract.unit import SETTLED, Home, Unit

# Seconds that a connection to a published port has to last. The engine's proxy accepts from the first moment and hangs up when
# nobody listens within; into a network that is just coming up its own first try can be lost, and is repeated after a second.
HELD = 1.2
KILLED = 137
GRACE = 5.0  # seconds for the attached command when its container has ended


class ContainerUnit(Unit):
    """As `Unit`, with a container in the place of a process. The engine publishes its ports, so it says whose they are."""

    left_hint = (
        "If it is meant to run once, let what needs it say so in the Compose file: "
        "`condition: service_completed_successfully`."
    )

    def __init__(self, name: str, service: Service, home: Home, log: Path, member: Member, project: Project) -> None:
        super().__init__(name, service, home, log)
        self.project = project
        self._member = member
        self._container: Container | None = None
        self._seen_running: float | None = None  # since when, by time.monotonic
        self._inside: tuple[str, int] | None = None  # where its port is in its own network

    @property
    def once(self) -> bool:
        return self._member.once

    async def _spawn(self) -> Child:
        self._seen_running = self._inside = None
        self._container = container = await self.project.container(self.name)
        environment = self._home.environment
        return self._home.children.spawn(
            f"exec docker start --attach {container.id}",
            owner=self.name,
            env=environment.of(self.name),
            cwd=environment.root,
            output=self._log.feed,
        )

    async def _end_child(self, child: Child) -> bool:
        """The container first: what is attached to it can be killed and says nothing about it then."""
        assert self._container is not None
        stop = self.service.stop
        own = "timeout" not in stop.model_fields_set  # the container has its `stop_grace_period`
        try:
            await self.project.engine.stop(self._container.id, None if own else stop.timeout)
        finally:
            await self._home.children.end(child, grace=GRACE)
        return child.exit.result() != KILLED

    # --- looking ------------------------------------------------------------------------------------------------------

    def _rhythm(self) -> health.Rhythm:
        usual, own = super()._rhythm(), self._container
        if self.service.healthcheck is not None or own is None or not own.test:
            return usual
        return health.Rhythm(own.interval, own.timeout, own.retries, max(own.start_period, usual.start_period))

    def _look(self) -> health.Look | None:
        """Its healthcheck in factory.yaml, else the container's own, else a connection to its port, else whether it runs."""
        check, container = self.service.healthcheck, self._container
        assert container is not None
        if check is not None and check.tcp is None:
            return super()._look()
        if check is None and container.test:
            # asked at once and often: the engine itself waits for a whole interval before its first look
            command = shlex.join(["docker", "exec", container.id, *container.test])
            return lambda: self._look_by_command(command, shlex.join(container.test))
        address = self._tcp_address()
        return self._look_whether_it_runs if address is None else lambda: self._look_at_port(*address)

    async def _look_at_port(self, host: str, port: int) -> health.Outcome:
        """In the container itself, where this machine reaches it; else through the engine's proxy."""
        if self._inside is None:
            container = await self._inspect()
            if _published(container).get(port, "").endswith("/udp"):
                return await self._look_whether_it_runs()
            self._inside = _inside(container, port)
        if self._inside is not None:
            return await health.tcp(*self._inside)
        return await health.tcp(host, port, held=HELD)

    async def _look_whether_it_runs(self) -> health.Outcome:
        """It has to be seen running for a moment: many that fail do so at once."""
        state, now = await self._state(), time.monotonic()
        runs = bool(state.get("Running"))
        self._seen_running = (self._seen_running or now) if runs else None
        settled = self._seen_running is not None and now - self._seen_running >= SETTLED
        return health.Outcome(settled, f"the container is {state.get('Status')}")

    # --- this app's own port ------------------------------------------------------------------------------------------

    async def _unused_port(self) -> ContractError | None:
        port = self._home.environment.main_port(self.name)
        if port is None or port in _published(await self._inspect()):
            return None
        return self._unused(port)

    async def _refuse_strangers(self) -> list[Listener]:
        """A container that the engine could not start, for one because somebody has its port."""
        why = (await self._state()).get("Error")
        if not why:
            return []
        for name, port in self._home.environment.ports_of(self.name).items():
            for listener in listeners.on([port]):
                raise ForeignListener(name=name, port=port, owner=listeners.owner(listener))
        raise ContainerFailed(**self._where(), why=why)

    def _refuse_clients(self) -> None:
        """The engine has its ports, and says so itself."""

    async def _inspect(self) -> Mapping[str, Any]:
        assert self._container is not None
        return await self.project.engine.inspect(self._container.id)

    async def _state(self) -> Mapping[str, Any]:
        return (await self._inspect())["State"]


def _published(container: Mapping[str, Any]) -> dict[int, str]:
    """The ports of this machine that lead into a running container → its own: `80/tcp`; of one number for two, tcp's."""
    ports: Mapping[str, Any] = container["NetworkSettings"].get("Ports") or {}
    ordered = sorted(ports.items(), key=lambda port: port[0].endswith("/tcp"))
    return {int(binding["HostPort"]): inner for inner, bindings in ordered for binding in bindings or ()}


def _inside(container: Mapping[str, Any], port: int) -> tuple[str, int] | None:
    """Where the container listens behind a port of this machine, if the gateway of its network is this machine.

    So it is with an engine on Linux; where it runs in a virtual machine or without root, that address may be a stranger's.
    """
    inner = _published(container).get(port)
    networks: Mapping[str, Any] = container["NetworkSettings"].get("Networks") or {}
    for network in networks.values():
        if inner is not None and network.get("IPAddress") and _is_ours(network.get("Gateway") or ""):
            return network["IPAddress"], int(inner.partition("/")[0])
    return None


def _is_ours(address: str) -> bool:
    """Whether it is an address of this machine (IPv4)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.bind((address, 0))
        except OSError:
            return False
    return address not in ("", "0.0.0.0")
