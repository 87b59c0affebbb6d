"""A repo in a temporary directory, driven by the real `factory` command; at the end nothing of it may be left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from factory_contract import answers, checkout, live, ports, proc, schemas, state

# a web server that starts in milliseconds: answers 200 to anything, on the port that it is given
SERVE = """
import socket, sys
family = socket.AF_INET6 if "--v6" in sys.argv else socket.AF_INET
s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", int(sys.argv[1]))); s.listen(20)
print("serving on", sys.argv[1], flush=True)
while True:
    c, _ = s.accept()
    c.recv(4096); c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"); c.close()
"""

# double fork, session of its own, working directory /: as daemons do
DAEMON = """
import os, sys, time
pid = os.path.abspath(sys.argv[1])
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.chdir("/")
open(pid + ".part", "w").write(str(os.getpid())); os.rename(pid + ".part", pid)
time.sleep(60)
"""

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # what a shell starts in the background inherits that, and so would `factory`
    signal.signal(signal.SIGINT, signal.default_int_handler)


def assert_documented(told: dict[str, Any]) -> None:
    """What a command prints with `--json` is what docs/schemas/ says, with not a field more."""
    _validator(told["command"] if told["command"] in answers.ANSWERS else None).validate(told)


@cache
def _validator(verb: str | None) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_closed(schemas.answer(verb) if verb else schemas.failure()))


def _closed(schema: Any) -> Any:
    """Consumers have to bear more fields; here each of them has to be documented."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: part if key == "if" else _closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed["additionalProperties"] = False
    return closed


class Repo:
    """One checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("FACTORY_")}
        root.mkdir(parents=True, exist_ok=True)
        self.write("serve.py", SERVE)

    def write_daemon(self) -> None:
        """`python3 daemon.py FILE` leaves a daemon, which writes its pid there."""
        self.write("daemon.py", DAEMON)

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def contract(self, text: str) -> None:
        self.write("factory.yaml", text)

    def popen(self, *args: str, **kw: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "factory_contract", *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.root, env=self.env, **{**pipes, **kw})

    def run(self, *args: str, timeout: float = 50) -> "subprocess.CompletedProcess[str]":
        p = self.popen(*args)
        out, err = p.communicate(timeout=timeout)
        return subprocess.CompletedProcess(args, p.returncode, out, err)

    def json(self, *args: str, code: int | None = 0) -> dict[str, Any]:
        """The one object that `--json` prints; stdout has to hold nothing else."""
        done = self.run(*args, "--json")
        assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        told = json.loads(done.stdout)
        assert told["command"] == args[0]
        assert_documented(told)
        return told

    def look(self) -> dict[str, Any]:
        """What `status` would say, without a process for it: for waiting."""
        return live.look(self.here).fields

    def service(self, name: str) -> dict[str, Any]:
        return next(s for s in self.look()["services"] if s["name"] == name)

    @property
    def here(self) -> checkout.Checkout:
        return checkout.Checkout(self.root, self.root / "factory.yaml")

    def ports(self) -> dict[str, int]:
        return state.named(self.here).ports

    def processes(self) -> list[int]:
        """Everything that lives of this checkout, by the environment that it was started with."""
        name = state.named(self.here).worktree
        mine = (pid for pid in proc.table() if proc.environ(pid).get("FACTORY_WORKTREE") == name)
        return sorted(pid for pid in mine if self.root.name in name)

    def listened(self) -> list[int]:
        return [port for port in self.ports().values() if not ports.is_free(port)]


@pytest.fixture
def make_repo(tmp_path: Path) -> Iterator[Callable[..., Repo]]:
    yield from _made(tmp_path)


@pytest.fixture(scope="module")
def make_lasting_repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Repo]]:
    """For what many tests of one file look at."""
    yield from _made(tmp_path_factory.mktemp("lasting"))


def _made(top: Path) -> Iterator[Callable[..., Repo]]:
    made: list[Repo] = []

    def make(contract: str | None = None, name: str | None = None) -> Repo:
        # the name shows in worktree ids, so it is this test's own
        repo = Repo(top / (name or f"r{os.getpid()}-{len(made)}"))
        if contract is not None:
            repo.contract(contract)
        made.append(repo)
        return repo

    yield make
    for repo in made:
        if repo.here.state_dir.exists():
            leased = repo.ports()
            repo.run("clean")
            assert repo.processes() == [], "something of the repo is still running"
            assert not [p for p in leased.values() if (ports.SHARED / f"{p}.json").exists() and _mine(p, repo)]


def _mine(port: int, repo: Repo) -> bool:
    return json.loads((ports.SHARED / f"{port}.json").read_text() or "{}").get("checkout") == str(repo.root)


@pytest.fixture
def repo(make_repo: Callable[..., Repo]) -> Repo:
    return make_repo()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits until something is true and returns it."""

    def wait(what: Callable[[], Any], seconds: float = 15) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.03)
        return found

    return wait


@pytest.fixture
def kill() -> Callable[[int], None]:
    """SIGKILL, and gone when this returns."""

    def end(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        while proc.look(pid):
            time.sleep(0.01)

    return end
