"""What the `factory` command costs as a whole process: against an interpreter that does nothing, against dev.sh, against the app itself."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

from pairs import Comparison, by_turns

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
BIN = Path(sys.executable).parent
FACTORY = str(BIN / "factory")
# one python3 for both sides, which is no shell script of a version manager, and keeps what it has compiled
ENV = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"PATH": f"{BIN}:{os.environ['PATH']}"}
NOTHING = "python3 -c pass"  # by the interpreter that runs `factory`
LIMIT = 300.0  # where examples/diffie-shaped was set up it is started 16 times

# A server that lets its clients finish: a second from SIGTERM to its end.
DRAINS = "import signal, sys, time; signal.signal(15, lambda *_: (time.sleep(1), sys.exit())); open('up', 'w'); time.sleep(600)"
SLOW = f"""
name: slow
services:
  drains: {{command: "exec python3 -c \\"{DRAINS}\\"", healthcheck: test -e up}}
  quick: {{command: exec sleep 600, depends_on: [drains]}}
"""


async def measure(directory: Path) -> list[Comparison]:
    pilot = Path(shutil.copytree(EXAMPLES / "pilot", directory / "pilot", ignore=shutil.ignore_patterns(".*", "var")))
    found = [await _start(pilot, "pilot_by_hand.sh"), *await _answers(pilot), await _stop(directory / "slow")]
    if (EXAMPLES / "diffie-shaped" / "node_modules").exists():
        diffie = directory / "diffie-shaped"
        shutil.copytree(EXAMPLES / "diffie-shaped", diffie, symlinks=True, copy_function=os.link)
        found.append(await _start(diffie, "diffie_by_hand.sh"))
    else:
        print("contract: examples/diffie-shaped was not set up (`factory setup` there), so it is not started")
    return found


async def _answers(app: Path) -> list[Comparison]:
    """Of a running app, whose exit code says that it is ready."""
    try:
        await _told(app, "start")
        nothing = lambda: _timed(app, sys.executable, "-c", "pass")  # noqa: E731
        status = lambda: _timed(app, FACTORY, "status", "--json")  # noqa: E731
        usage = lambda: _timed(app, FACTORY, "--help")  # noqa: E731
        return [
            await by_turns("factory status --json", status, NOTHING, nothing, goal=3),
            await by_turns("factory --help", usage, NOTHING, nothing, goal=4),
        ]
    finally:
        await _told(app, "clean")


async def _start(app: Path, script: str) -> Comparison:
    first = _free(12)

    async def start() -> float:
        took = await _timed(app, FACTORY, "start")
        await _told(app, "stop")
        return took

    async def by_hand() -> float:
        begun = time.perf_counter()
        argv = ["sh", str(HERE / script), str(first)]
        sh = await asyncio.create_subprocess_exec(*argv, cwd=app, env=ENV, stdin=PIPE, stdout=PIPE)
        try:
            assert sh.stdout is not None
            assert await sh.stdout.readline() == b"ready\n", f"{script} has failed, see its logs"
            took = time.perf_counter() - begun
            await sh.communicate(b"")  # its stdin ends, so the app does
        finally:
            await _end(sh)
        return took

    try:
        return await by_turns(f"factory start, examples/{app.name}", start, script, by_hand, goal=1.1, seconds=20)
    finally:
        await _told(app, "clean")


async def _stop(app: Path) -> Comparison:
    app.mkdir()
    (app / "factory.yaml").write_text(SLOW)

    async def stop() -> float:
        (app / "up").unlink(missing_ok=True)
        await _told(app, "start")
        return await _timed(app, FACTORY, "stop")

    async def own() -> float:
        (app / "up").unlink(missing_ok=True)
        child = await asyncio.create_subprocess_exec("python3", "-c", DRAINS, cwd=app, env=ENV)
        while not (app / "up").exists():
            await asyncio.sleep(0.01)
        begun = time.perf_counter()
        child.send_signal(signal.SIGTERM)
        await child.wait()
        return time.perf_counter() - begun

    try:
        return await by_turns("factory stop", stop, "SIGTERM to its slowest service, by hand", own, goal=1.2)
    finally:
        await _told(app, "clean")


def _free(size: int) -> int:
    """The begin of a row of free ports, beneath those that factory leases and those that the kernel gives to clients."""
    for first in range(20000, 32000, size):
        try:
            for port in range(first, first + size):
                with socket.create_server(("", port)):
                    pass
        except OSError:
            continue
        return first
    raise AssertionError("no free ports on this machine")


async def _told(app: Path, verb: str) -> dict[str, Any]:
    """What `factory VERB --json` says. It must go well."""
    return json.loads(await _run(app, FACTORY, verb, "--json"))


async def _timed(app: Path, *argv: str) -> float:
    begun = time.perf_counter()
    await _run(app, *argv)
    return time.perf_counter() - begun


async def _run(app: Path, *argv: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*argv, cwd=app, env=ENV, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        out, err = await process.communicate()
    finally:
        await _end(process)
    assert process.returncode == 0, f"{' '.join(argv)} ended with {process.returncode}: {(err or out).decode()}"
    return out


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        await process.wait()
