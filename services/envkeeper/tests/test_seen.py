"""`python -m factory_envkeeper.seen`: what this machine holds of a node's places, and who holds it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from factory_envkeeper.seen import seen
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.handle import Handle
from factory_sandbox.local import Local, Spec

NAME = "jabcdefghij-1"


@pytest.fixture
async def handle(tmp_path: Path) -> AsyncIterator[Handle]:
    checkout = tmp_path / "places" / NAME / "checkout"
    checkout.mkdir(parents=True)
    handle = await Local().create(Spec("n1", tmp_path, NAME[:-2], 1, checkout, shims={}, env={}, ports=(2000, 2019)), 1)
    yield handle
    await Local().destroy(handle)


def start(argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, **options)


async def test_a_place_and_what_runs_in_it(tmp_path: Path, handle: Handle) -> None:
    """What the sandbox runs is held by it, with the port that it listens on; what only says so is not."""
    sandbox = Sandbox(handle, node_key(tmp_path), 1)
    code = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); time.sleep(600)"
    async with await sandbox.spawn(["python3", "-c", code]) as app:
        assert app.stdout is not None
        port = int(await app.stdout.readline())
        stray = start(["sleep", "600"], cwd=tmp_path / "places" / NAME)
        try:
            found = seen(tmp_path)
        finally:
            stray.kill()
            stray.wait()
    assert found["places"] == {NAME: {"ledger": True, "directory": True, "run": True, "served": True}}
    held = {p["pid"]: p["held"] for p in found["processes"]}
    assert held[stray.pid] is False and True in held.values()
    assert {p["place"] for p in found["processes"]} == {NAME}
    (listener,) = [each for each in found["listeners"] if each["port"] == port]
    assert listener["place"] == NAME and held[listener["pid"]] and "create_server" in listener["command"]


async def test_a_place_whose_server_is_dead(tmp_path: Path, handle: Handle) -> None:
    """Nothing is held any more, whatever still runs."""
    record = json.loads((tmp_path / "run" / f"{NAME}.json").read_text())
    os.kill(record["server"]["pid"], 9)
    while (Path("/proc") / str(record["server"]["pid"])).exists():
        await asyncio.sleep(0.02)
    stray = start(["sleep", "600"], env=os.environ | {"SANDBOX_PLACE": str(tmp_path / "places" / NAME)}, cwd="/")
    try:
        found = seen(tmp_path)
    finally:
        stray.kill()
        stray.wait()
    assert found["places"][NAME]["served"] is False
    assert [(p["pid"], p["held"]) for p in found["processes"]] == [(stray.pid, False)]


async def test_what_is_left_of_a_place(tmp_path: Path) -> None:
    """A directory and a line of the ledger, each by itself; names that are no place's are nobody's."""
    (tmp_path / "places" / "jzzzzzzzzzz-2").mkdir(parents=True)
    (tmp_path / "places" / "notes").mkdir()
    Local().reserve("n1", tmp_path, "jzzzzzzzzzz", 3)
    there = {
        name: [kind for kind, is_there in place.items() if is_there] for name, place in seen(tmp_path)["places"].items()
    }
    assert there == {"jzzzzzzzzzz-2": ["directory"], "jzzzzzzzzzz-3": ["ledger"]}


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_usage(arguments: list[str]) -> None:
    argv = [sys.executable, "-m", "factory_envkeeper.seen", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1 and "NODE_DIR" in done.stderr


def test_a_node_that_is_not_there(tmp_path: Path) -> None:
    """It holds nothing; listeners are the machine's."""
    argv = [sys.executable, "-m", "factory_envkeeper.seen", str(tmp_path / "none")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=50)
    found = json.loads(done.stdout)
    assert (found["places"], found["processes"]) == ({}, [])
