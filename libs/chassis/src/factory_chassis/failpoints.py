"""Named places where a test can kill or stall this process: FACTORY_FAILPOINT=name:kill9|stop|sleep=SECONDS[:times].

Several stand with commas between; without `times` each acts once in the life of a process. A sleep holds up the work at
that place and leaves the loop free. Places: `<role>.before_claim`, `<role>.<state>.claimed|working|before_apply` and
`<role>.<errand>.working`.

FACTORY_FAILPOINT=/a/directory arms them while the process runs: a file there named `<place>` or `<place>@<job>` says
`kill9`, `stop` or `sleep=SECONDS`. Whoever comes there first, of all processes, takes the file away and does it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAME = "FACTORY_FAILPOINT"


class Failpoint(NamedTuple):
    """What is to happen at a place: `kill9`, `stop` or `sleep` for `seconds`, the first `times` that it is reached."""

    place: str
    act: str
    seconds: float = 0.0
    times: int = 1


_reached: Counter[Failpoint] = Counter()


@functools.lru_cache
def parse(text: str) -> tuple[Failpoint, ...]:
    """Raises ValueError naming the part that says nothing: a failpoint that is never hit would make a test pass."""
    if text.startswith("/"):
        return ()  # a directory; its files are read when somebody comes there
    return tuple(_one(part.strip()) for part in text.split(",") if part.strip())


def _one(text: str) -> Failpoint:
    place, *rest = text.split(":")
    act, _, argument = rest[0].partition("=") if rest else ("", "", "")
    try:
        seconds = float(argument) if argument else 0.0
        times = int(rest[1]) if len(rest) > 1 else 1
    except ValueError:
        place = ""
        seconds = times = 0
    if not place or act not in {"kill9", "stop", "sleep"} or len(rest) > 2 or (act == "sleep") is not (seconds > 0):
        raise ValueError(f"{text!r} is no name:kill9|stop|sleep=SECONDS[:times]")
    return Failpoint(place, act, seconds, times)


async def reached(place: str, job_id: str = "") -> None:
    """Does what FACTORY_FAILPOINT asks for at this place; nothing where it asks for nothing."""
    text = os.environ.get(NAME, "")
    for point in _armed(Path(text), place, job_id) if text.startswith("/") else _given(text, place):
        if point.act == "sleep":
            await asyncio.sleep(point.seconds)
        else:
            os.kill(os.getpid(), signal.SIGKILL if point.act == "kill9" else signal.SIGSTOP)


def _given(text: str, place: str) -> Iterator[Failpoint]:
    for point in parse(text):
        if point.place == place:
            _reached[point] += 1
            if _reached[point] <= point.times:
                yield point


def _armed(directory: Path, place: str, job_id: str) -> Iterator[Failpoint]:
    for armed in (directory / f"{place}@{job_id}", directory / place):
        try:
            act = armed.read_text()
            armed.unlink()
        except FileNotFoundError:
            continue  # not armed, or somebody else was first
        yield _one(f"{place}:{act.strip()}")
