"""Commands of the repo that run once, one after another: setup, seed, tests, clean."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from factory_contract.logs import Log
from factory_contract.process import Children

GRACE = 5.0  # seconds that a step, or what it leaves behind, gets to end


class Step(NamedTuple):
    """One command that has ended."""

    command: str
    seconds: float
    exit_code: int


async def run(
    children: Children,
    command: str,
    *,
    owner: str,
    env: Mapping[str, str],
    cwd: Path,
    log: Log,
    echo: Callable[[bytes], None] | None = None,
) -> Step:
    """Runs one command to its end, however that comes; what it has left running is ended too."""

    def output(data: bytes) -> None:
        log.feed(data)
        if echo is not None:
            echo(data)

    log.forget_tail()
    begun = time.monotonic()
    child = children.spawn(command, owner=owner, env=env, cwd=cwd, output=output)
    try:
        code = await child.wait()
        seconds = time.monotonic() - begun
    finally:
        await children.end(child, grace=GRACE)
    return Step(command, round(seconds, 3), code)


async def run_all(
    children: Children,
    commands: Iterable[str],
    *,
    owner: str,
    env: Mapping[str, str],
    cwd: Path,
    log: Log,
    echo: Callable[[bytes], None] | None = None,
    begin: Callable[[str], None] | None = None,
) -> list[Step]:
    """Runs commands until one of them fails; that one is the last in the list."""
    done: list[Step] = []
    for command in commands:
        if begin is not None:
            begin(command)
        done.append(await run(children, command, owner=owner, env=env, cwd=cwd, log=log, echo=echo))
        if done[-1].exit_code != 0:
            break
    return done
