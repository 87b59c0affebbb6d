"""Knows the machine's processes: who descends from whom, who is still the same, and how to end them.

On Linux from `/proc`; elsewhere from `ps` (written for macOS, not run there). Every reaper imports this module before
its command starts, so it imports little.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

LINUX = sys.platform == "linux"
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


class Process(NamedTuple):
    pid: int
    ppid: int
    pgid: int
    birth: (
        str  # start time since boot (Linux: clock ticks); with the pid it tells one process from its number's next user
    )
    zombie: bool


def table() -> dict[int, Process]:
    """All processes that this one may see, by pid."""
    if not LINUX:
        return _table_by_ps()
    found = (_look(pid) for pid in _pids())
    return {p.pid: p for p in found if p is not None}


def look(pid: int) -> Process | None:
    """The process of this number; None where there is none or only its zombie."""
    found = _look(pid) if LINUX else _table_by_ps().get(pid)
    return None if found is None or found.zombie else found


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _look(pid: int) -> Process | None:
    """proc(5), `/proc/<pid>/stat`: the command in brackets may hold anything, so fields count from the last `)`."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None  # it ended between the listing and the look
    fields = stat[stat.rindex(b")") + 2 :].split()
    return Process(pid, int(fields[1]), int(fields[2]), fields[19].decode(), fields[0] in (b"Z", b"X"))


def _table_by_ps() -> dict[int, Process]:
    out = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,pgid=,state=,lstart="], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in out.splitlines():
        pid, ppid, pgid, state, birth = line.split(maxsplit=4)
        found[int(pid)] = Process(int(pid), int(ppid), int(pgid), birth, state.startswith("Z"))
    return found


def descendants(of: Iterable[int], among: Mapping[int, Process]) -> list[Process]:
    """All living processes below these pids, without themselves."""
    children: dict[int, list[Process]] = {}
    for p in among.values():
        children.setdefault(p.ppid, []).append(p)
    below: list[Process] = []
    ahead = list(of)
    seen = set(ahead)
    while ahead:
        for child in children.get(ahead.pop(), ()):
            if child.pid not in seen:
                seen.add(child.pid)
                ahead.append(child.pid)
                below.append(child)
    return [p for p in below if not p.zombie]


def marked(variable: str, value: str) -> set[int]:
    """Pids of processes that were started with this variable (Linux; elsewhere none can be told)."""
    if not LINUX:
        return set()
    mark = f"{variable}={value}".encode()
    found = set()
    for pid in _pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or another user's
        if mark in environment.split(b"\0"):
            found.add(pid)
    return found


def kill(victims: Collection[Process], among: Mapping[int, Process]) -> None:
    """SIGKILL to these processes, and at once to each group in which nobody else is.

    Killing by group is what catches one that forks faster than `/proc` can be read: the kernel refuses fork(2) to a
    process with a fatal signal pending.
    """
    pids = {p.pid for p in victims}
    groups = {p.pgid for p in victims} - {p.pgid for p in among.values() if p.pid not in pids and not p.zombie}
    for pgid in groups - {0, 1, os.getpgrp()}:
        _send(os.killpg, pgid)
    for pid in pids:
        _send(os.kill, pid)


def kill_group_of_dead(pid: int) -> None:
    """SIGKILL to the group that a dead process was in, which must not be waited for yet: that keeps the number ours.

    This is what ends a chain of processes of which each forks and exits before anybody sees it alive.
    """
    dead = _look(pid) if LINUX else None
    if dead and dead.pgid not in (0, 1, os.getpgrp()):
        _send(os.killpg, dead.pgid)


def kill_one(pid: int) -> None:
    """SIGKILL to this process alone."""
    _send(os.kill, pid)


def _send(how: Callable[[int, int], None], number: int) -> None:
    try:
        how(number, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # gone already, or (macOS) a zombie; whoever is left is seen by the next look


def boot() -> str:
    """What tells this boot of the machine from others: start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip() if LINUX else ""


def become_subreaper() -> None:
    """Descendants whose parents die become children of this process, not of init: prctl(2). Linux only."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """Other processes of the same user cannot attach to this one or read its memory: prctl(2). Linux only."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if not LINUX:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")
