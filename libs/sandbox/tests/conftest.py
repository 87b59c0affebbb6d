"""A node's directory, placements in it, and the certainty that nothing of them outlives a test."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.handle import Handle
from factory_sandbox.layout import MARK, Layout
from factory_sandbox.local import Local, Spec
from factory_sandbox.processes import look, marked, table

# What stands for `factory supervise`: it says that it is up, starts a service, and stays.
SUPERVISOR = """
import subprocess, sys, time
service = subprocess.Popen(["sleep", "1001"], start_new_session=True)
with open("supervisor.pids", "w") as f:
    f.write(f"{service.pid}")
print("up", sys.argv[1:], flush=True)
time.sleep(1000)
"""

# Forks twice, makes two sessions, and appends to `beats` for ever; argv[1] says what the first process does then:
# `stay`, or `end`, with the daemon holding its stdout.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.setsid() if os.getpid() != os.getsid(0) else None
    with open("daemon.pid.new", "w") as f:
        f.write(str(os.getpid()))
    os.rename("daemon.pid.new", "daemon.pid")
    while True:
        with open("beats", "a") as f:
            f.write(f"{os.getpid()} {time.time()}\\n")
        time.sleep(0.02)
while not os.path.exists("daemon.pid"):
    time.sleep(0.01)
print("daemon up", flush=True)
if sys.argv[1] == "stay":
    time.sleep(1000)
"""


@dataclass
class Placed:
    """One placement and what tests do with it."""

    local: Local
    spec: Spec
    handle: Handle

    @property
    def layout(self) -> Layout:
        return Layout.of(self.handle)

    @property
    def checkout(self) -> Path:
        return self.spec.checkout

    @property
    def key(self) -> bytes:
        return node_key(self.spec.node_dir)

    def at(self, epoch: int | None) -> Sandbox:
        return Sandbox(self.handle, self.key, epoch)

    async def server_pid(self) -> int:
        return (await self.at(None).status())["server"]["pid"]

    def number_in(self, name: str) -> int:
        """The pid that a test's program left in a file of the checkout."""
        return int((self.checkout / name).read_text())

    async def open_in_server(self) -> int:
        """How many descriptors and children the server has."""
        server = (await self.at(None).status())["server"]
        return server["descriptors"] + len([p for p in table().values() if p.ppid == server["pid"]])

    def inside(self) -> list[int]:
        """Every living process that was started inside."""
        return [pid for pid in marked(MARK, str(self.layout.place)) if look(pid)]


@pytest.fixture
def node_dir(tmp_path: Path) -> Path:
    return tmp_path / "node"


@pytest.fixture
def spec(node_dir: Path) -> Spec:
    return spec_in(node_dir)


def spec_in(node_dir: Path) -> Spec:
    """A placement with an empty checkout, which is not made yet."""
    checkout = node_dir / "places" / "jaaaaaaaaaa-1" / "checkout"
    checkout.mkdir(parents=True)
    return Spec(
        node="n1",
        node_dir=node_dir,
        job_id="jaaaaaaaaaa",
        placement=1,
        checkout=checkout,
        shims={"factory": [sys.executable, "-I", "-S", "-c", SUPERVISOR]},
        env={"CACHE_DIR": "/somewhere"},
        ports=(4000, 4019),
    )


@pytest.fixture
async def placed(spec: Spec) -> AsyncIterator[Placed]:
    """A living placement at epoch 1, the test's own."""
    local = Local()
    here = Placed(local, spec, await local.create(spec, 1))
    try:
        yield here
    finally:
        await local.destroy(here.handle)
    assert here.inside() == []


@pytest.fixture(scope="module")
def placement_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placed]:
    local, spec = Local(), spec_in(tmp_path_factory.mktemp("shared") / "node")
    here = Placed(local, spec, asyncio.run(local.create(spec, 1)))
    yield here
    asyncio.run(local.destroy(here.handle))
    assert here.inside() == []


@pytest.fixture
def shared(placement_of_module: Placed) -> Iterator[Placed]:
    """A living placement at epoch 1 for tests that leave it so: one for each module, since a server takes its time."""
    yield placement_of_module
    for path in placement_of_module.checkout.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    give_up = time.monotonic() + 5
    while placement_of_module.inside():  # a caller that just left: its command is ended without it waiting
        assert time.monotonic() < give_up, "something of the test still runs"
        time.sleep(0.02)


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Waits for a condition, or fails."""

    async def wait(holds: Callable[[], object], seconds: float = 10.0) -> None:
        give_up = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < give_up, "it did not come to hold"
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def daemon(tmp_path: Path) -> list[str]:
    """A command that leaves a daemon behind (forked twice, sessions of its own) and stays; see DAEMON."""
    program = tmp_path / "daemon.py"
    program.write_text(DAEMON)
    return [sys.executable, "-I", "-S", str(program)]


@pytest.fixture
def another_process() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts Python programs that stand for other processes of the factory; whichever still runs is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str, *args: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program, *args]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
