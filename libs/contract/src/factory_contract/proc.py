"""Processes as the kernel sees them: who is whose child, since when, in whose environment. Standard library only.

Linux reads /proc (proc(5)); elsewhere `ps` is asked, and what it cannot tell (sessions, environments) is left out.
"""

import os
import sys
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

LINUX = sys.platform.startswith("linux")


class Seen(NamedTuple):
    """`started` and `pid` together name one process for good, a pid alone does not."""

    pid: int
    ppid: int
    pgid: int
    sid: int
    state: str
    started: str


def look(pid: int) -> Seen | None:
    """The process, or None where there is none or only its zombie."""
    seen = _from_proc(pid) if LINUX else next(iter(_from_ps(["-p", str(pid)])), None)
    return None if seen is None or seen.state.startswith("Z") else seen


def alive(pid: int, started: str) -> bool:
    seen = look(pid)
    return seen is not None and seen.started == started


def table() -> dict[int, Seen]:
    """Every living process that can be seen."""
    if LINUX:
        with os.scandir("/proc") as entries:
            found = [_from_proc(int(e.name)) for e in entries if e.name.isdecimal()]
        return {p.pid: p for p in found if p is not None and p.state != "Z"}
    return {p.pid: p for p in _from_ps(["-A"]) if not p.state.startswith("Z")}


def children(pid: int) -> set[int] | None:
    """The pids of its children, zombies too; None where the kernel does not tell. Quick: `table` looks at every process."""
    found: set[int] = set()
    try:
        with os.scandir(f"/proc/{pid}/task") as threads:
            for thread in threads:
                with open(f"{thread.path}/children", "rb") as f:  # noqa: PTH123 - as below
                    found.update(map(int, f.read().split()))
    except OSError:
        return None
    return found


def beneath(pid: int) -> set[int]:
    """The pids beneath a process, as far as the kernel tells them. One that is just being started can be missing."""
    found: set[int] = set()
    ahead = [pid]
    while ahead:
        fresh = (children(ahead.pop()) or set()) - found
        found |= fresh
        ahead.extend(fresh)
    return found


def descendants(roots: Iterable[int], processes: dict[int, Seen]) -> set[int]:
    """The pids beneath `roots`, without them."""
    children: dict[int, list[int]] = {}
    for p in processes.values():
        children.setdefault(p.ppid, []).append(p.pid)
    found: set[int] = set()
    ahead = list(roots)
    while ahead:
        fresh = [pid for pid in children.get(ahead.pop(), []) if pid not in found]
        found.update(fresh)
        ahead.extend(fresh)
    return found


def ancestors(pid: int, processes: dict[int, Seen]) -> set[int]:
    """The pids above `pid`."""
    found: set[int] = set()
    while (seen := processes.get(pid)) is not None and seen.ppid not in found:
        pid = seen.ppid
        found.add(pid)
    return found


def in_sessions(leaders: Container[int], processes: dict[int, Seen]) -> set[int]:
    """The pids whose session or process group one of `leaders` has founded."""
    return {p.pid for p in processes.values() if p.sid in leaders or p.pgid in leaders}


def environ(pid: int) -> dict[str, str]:
    """The environment that the process was started with; empty where it cannot be read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0") if item)
    return {name: value for name, _, value in pairs}


def command(pid: int) -> str:
    """How the process was called, for messages."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()[:120]


def boot_id() -> str:
    """Changes with every start of the machine; empty where that is not told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _from_proc(pid: int) -> Seen | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:  # noqa: PTH123 - a Path for each process would cost as much again
            stat = f.read()
    except OSError:
        return None
    # the command's name is in brackets and may hold anything, brackets too
    after = stat[stat.rindex(b")") + 2 :].split()
    return Seen(pid, int(after[1]), int(after[2]), int(after[3]), after[0].decode(), after[19].decode())


def _from_ps(which: list[str]) -> list[Seen]:
    import subprocess

    asked = ["ps", *which, "-o", "pid=,ppid=,pgid=,stat=,lstart="]
    lines = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    found = (line.split(None, 4) for line in lines)
    return [Seen(int(f[0]), int(f[1]), int(f[2]), 0, f[3], f[4]) for f in found if len(f) == 5]
