"""What reaching into a local sandbox costs against doing the same beside it: a command, and a file of 64 MiB."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from functools import partial
from pathlib import Path

from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.local import Local, Spec
from pairs import Comparison, by_turns

COMMANDS = 10  # in one turn, one after the other
CHUNK = 64 * 1024
SIZE = 64 * 1024 * 1024
NAME = "blob"


async def measure(directory: Path) -> list[Comparison]:
    spec = _spec(directory / "node")
    local = Local()
    handle = local.reserve(spec.node, spec.node_dir, spec.job_id, spec.placement)
    try:
        await local.create(spec, 1)
        sandbox = Sandbox(handle, node_key(spec.node_dir), 1)
        return [*await _commands(sandbox), await _file(sandbox, spec.checkout / NAME)]
    finally:
        await local.destroy(handle)


def _spec(node_dir: Path) -> Spec:
    checkout = node_dir / "places" / "jaaaaaaaaaa-1" / "checkout"
    checkout.mkdir(parents=True)
    return Spec(
        node="n1",
        node_dir=node_dir,
        job_id="jaaaaaaaaaa",
        placement=1,
        checkout=checkout,
        shims={},
        env={},
        ports=(4000, 4019),
    )


async def _commands(sandbox: Sandbox) -> list[Comparison]:
    async def inside() -> float:
        begun = time.perf_counter()
        for _ in range(COMMANDS):
            result = await sandbox.exec(["true"])
            assert result.code == 0, result
        return (time.perf_counter() - begun) / COMMANDS

    async def beside(*argv: str) -> float:
        begun = time.perf_counter()
        for _ in range(COMMANDS):
            process = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
            await process.communicate()
            assert process.returncode == 0, process
        return (time.perf_counter() - begun) / COMMANDS

    name, bare = 'exec(["true"])', (sys.executable, "-I", "-S", "-c", "pass")
    return [
        await by_turns(name, inside, 'create_subprocess_exec("true")', partial(beside, "true"), goal=10),
        # each command has a reaper, which is an interpreter: how much is there beyond its start
        await by_turns(name, inside, "an interpreter's start, python3 -I -S", partial(beside, *bare), goal=2),
    ]


async def _file(sandbox: Sandbox, path: Path) -> Comparison:
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    whole = path.read_bytes()

    async def inside() -> float:
        begun = time.perf_counter()
        found = await sandbox.read(NAME, max_bytes=SIZE)
        took = time.perf_counter() - begun
        assert found == whole, "other bytes came out than are in the file"
        return took

    async def beside() -> float:
        begun = time.perf_counter()
        with path.open("rb", buffering=0) as file:
            found = b"".join(iter(lambda: file.read(CHUNK), b""))
        took = time.perf_counter() - begun
        assert found == whole
        return took

    return await by_turns("read of 64 MiB", inside, "open().read(64 KiB), joined", beside, goal=3)
