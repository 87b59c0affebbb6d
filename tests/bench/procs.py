"""What processes cost: their processor time and their share of memory, with those of all that they started (Linux)."""

import os
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def descendants(pids: Iterable[int]) -> set[int]:
    """These processes and all that come from them, as they live now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, ahead = set[int](), list(pids)
    while ahead:
        pid = ahead.pop()
        found.add(pid)
        ahead += children.get(pid, [])
    return found


def cpu(pids: Iterable[int]) -> float:
    """Seconds of processor time that they have used since they began."""
    return sum((int(stat[11]) + int(stat[12])) / TICKS for pid in descendants(pids) if (stat := _stat(pid)))


def pss(pids: Iterable[int]) -> dict[int, float]:
    """MB of each: its own pages, and its part of those that it shares (proc(5), smaps_rollup)."""
    return {pid: mb for pid in descendants(pids) if (mb := _pss(pid)) is not None}


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, from the state on; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def _pss(pid: int) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:")), None)
