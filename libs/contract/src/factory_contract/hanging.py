"""Whether a test command hangs: its runner has told its results, and it goes on without a word.

A watch mode does so, and a server or a timer that a test has left open: jest and mocha wait for those for ever.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable

from factory_contract import proc

SILENT = 120.0  # seconds; a second program that runs beside the runner is likely to say something in that time
MARGIN = 0.02  # seconds; the kernel dates processes by hundredths
LOOK = 1.0
# vitest, mocha, jest
WATCHING = re.compile(
    r"(?:Waiting|Watching) for file changes\.\.\.|\[mocha\] waiting for changes\.\.\.|^Watch Usage$", re.M
)


class Ear:
    """Knows when a command has spoken last."""

    def __init__(self) -> None:
        self.spoke = _now()
        self.fresh = False  # it has said something since somebody looked
        self.midline = False  # its last line has no end yet

    def hear(self, data: bytes) -> None:
        self.spoke, self.fresh, self.midline = _now(), True, not data.endswith(b"\n")


async def why(ear: Ear, tail: Callable[[], str], told: Callable[[str], bool], silent: float = SILENT) -> str:
    """Returns when the command hangs, with the reason; else never.

    tail: the end of its output, as text. told: whether a runner's results are in a text.
    """
    while True:
        await asyncio.sleep(min(LOOK, silent / 4))
        if ear.fresh:
            ear.fresh = False
            said = tail()
            if WATCHING.search(said[-500:]) and told(said):
                return "it watches for changes instead of ending: let it run once, as `vitest run` does"
        elif _now() - ear.spoke > silent and not _went_on(ear.spoke) and told(tail()):
            return (
                f"it told its results, did not end, and was ended after {silent:.0f} s without a word (an open handle?)"
            )


def _went_on(since: float) -> bool:
    """Whether something beneath this process is younger: then the command is at something else. True where that is not known."""
    if not proc.LINUX:
        return True
    table = proc.table()
    ticks = os.sysconf("SC_CLK_TCK")
    beneath = proc.descendants([os.getpid()], table)
    return any(int(table[pid].started) / ticks > since - MARGIN for pid in beneath)


def _now() -> float:
    """By the clock that the kernel dates processes with."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if proc.LINUX else time.monotonic()
