"""What the `factory` command costs as a whole process: against an interpreter that does nothing, and against sh."""

import asyncio
import json
import os
import shutil
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import yaml
from pairs import Comparison, by_turns

NOTES = Path(__file__).resolve().parents[2] / "examples" / "notes"
BIN = Path(sys.executable).parent
FACTORY = str(BIN / "factory")
# one python3 for both sides, which is no shell script of a version manager, and keeps what it has compiled
ENV = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"PATH": f"{BIN}:{os.environ['PATH']}"}
NOTHING = "python3 -c pass"  # by the interpreter that runs `factory`

# What a person would write: start it, wait for its health URL, say so, and end it when stdin ends.
BY_HAND = """
( {command} ) >notes.log 2>&1 &
app=$!
trap "kill $app; wait $app" EXIT
trap "exit 1" TERM INT
until {check} 2>/dev/null; do
    kill -0 $app || exit 1
    sleep 0.1
done
echo ready
read -r _
exit 0
"""


async def measure(directory: Path) -> list[Comparison]:
    app = Path(shutil.copytree(NOTES, directory / "notes", ignore=shutil.ignore_patterns(".*", "__pycache__")))
    try:
        started = await _told(app, "start")
        status = await _status(app)
        await _told(app, "stop")
        return [status, await _help(app), await _start(app, started["ports"])]
    finally:
        await _told(app, "clean")


async def _status(app: Path) -> Comparison:
    async def status() -> float:
        return await _timed(app, FACTORY, "status", "--json")  # its exit code says that the app is ready

    return await by_turns("factory status --json", status, NOTHING, lambda: _nothing(app), goal=3)


async def _help(app: Path) -> Comparison:
    return await by_turns(
        "factory --help", lambda: _timed(app, FACTORY, "--help"), NOTHING, lambda: _nothing(app), goal=4
    )


async def _start(app: Path, ports: dict[str, int]) -> Comparison:
    service = yaml.safe_load((app / "factory.yaml").read_text())["services"]["notes"]
    script = BY_HAND.format(command=service["command"], check=service["healthcheck"])
    env = ENV | {name: str(port) for name, port in ports.items()}

    async def start() -> float:
        took = await _timed(app, FACTORY, "start")
        await _told(app, "stop")
        return took

    async def by_hand() -> float:
        begun = time.perf_counter()
        sh = await asyncio.create_subprocess_exec("sh", "-c", script, cwd=app, env=env, stdin=PIPE, stdout=PIPE)
        try:
            assert sh.stdout is not None
            assert await sh.stdout.readline() == b"ready\n", (app / "notes.log").read_text()
            took = time.perf_counter() - begun
            await sh.communicate(b"")  # its stdin ends, so the app does
        finally:
            await _end(sh)
        return took

    return await by_turns("factory start, examples/notes", start, "sh: &, until healthy", by_hand, goal=1.5, seconds=20)


async def _nothing(app: Path) -> float:
    return await _timed(app, sys.executable, "-c", "pass")


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
