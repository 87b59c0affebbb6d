"""`python -m factory_envkeeper.seen NODE_DIR` prints what this machine holds of a node's places, as JSON.

For an audit, which compares it with the ledger in Postgres; nothing is changed. `{places, processes, listeners}`:

- places: name (`<job>-<placement>`) → what there is of it: `ledger`, `directory`, `run`; `served`: its server lives
- processes: `{pid, command, place, held}` of each whose environment or working directory names a place; `held`: it
  descends from the place's server, so that it ends with it
- listeners: `{port, pid, command, place}` of each port that is listened on; pid 0 where the process cannot be seen

Processes and listeners are known on Linux alone (proc(5)).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factory_sandbox import processes
from factory_sandbox.layout import MARK, Layout
from factory_sandbox.record import Named, Record

LISTEN = "0A"  # proc(5), /proc/net/tcp


def seen(node_dir: Path) -> dict[str, Any]:
    """See the module. Raises SandboxError (`bad-record`)."""
    places = _places(node_dir)
    held: set[int] = set()
    table = processes.table()
    for name, place in places.items():
        roots = _roots(Layout(node_dir, *_split(name)))
        place["served"] = bool(roots)
        held |= {*roots, *(p.pid for p in processes.descendants(roots, table))}
    of_places = {pid: name for pid in table if (name := _place_of(pid, node_dir))} if processes.LINUX else {}
    found = [
        {"pid": pid, "command": _command(pid), "place": name, "held": pid in held}
        for pid, name in sorted(of_places.items())
        if not table[pid].zombie
    ]
    return {"places": places, "processes": found, "listeners": list(_listeners(of_places))}


def _split(name: str) -> tuple[str, int]:
    job_id, _, placement = name.rpartition("-")
    return job_id, int(placement)


def _places(node_dir: Path) -> dict[str, dict[str, Any]]:
    """By what lies on the disk."""
    found: dict[str, dict[str, Any]] = {}
    for kind, where, suffix in (("ledger", "ledger", ".jsonl"), ("directory", "places", ""), ("run", "run", ".json")):
        for path in sorted((node_dir / where).glob(f"*{suffix}")):
            name = path.name.removesuffix(suffix)
            if name.rpartition("-")[2].isdigit():
                found.setdefault(name, {"ledger": False, "directory": False, "run": False})[kind] = True
    return found


def _roots(layout: Layout) -> set[int]:
    """The server and its reapers, where the server lives."""
    record = Record.read(layout.record)
    if record.server is None or record.boot != processes.boot() or not _lives(record.server):
        return set()
    return {record.server.pid, *(each.pid for each in record.reapers if _lives(each))}


def _lives(named: Named) -> bool:
    now = processes.look(named.pid)
    return now is not None and now.birth == named.birth


def _place_of(pid: int, node_dir: Path) -> str:
    """The place that a process says it is in, or works in; empty for all others."""
    places = f"{node_dir / 'places'}/"
    proc = Path("/proc") / str(pid)
    try:
        environment = (proc / "environ").read_bytes().split(b"\0")
        where = str((proc / "cwd").readlink())
    except OSError:  # gone, or another user's
        return ""
    mark = next((v.decode(errors="replace") for v in environment if v.startswith(f"{MARK}={places}".encode())), "")
    inside = mark.removeprefix(f"{MARK}=") or where
    return inside.removeprefix(places).split("/")[0].split(" ")[0] if inside.startswith(places) else ""


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()[:120]


def _listeners(of_places: dict[int, str]) -> Iterator[dict[str, Any]]:
    listening = dict(_listening())
    holders = _holders(set(listening)) if listening else {}
    for inode, port in sorted(listening.items(), key=lambda each: each[1]):
        pid = holders.get(inode, 0)
        yield {"port": port, "pid": pid, "command": _command(pid) if pid else "", "place": of_places.get(pid, "")}


def _listening() -> Iterator[tuple[str, int]]:
    """Inode and port of each listening TCP socket."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:  # no Linux, or no IPv6
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTEN:
                yield fields[9], int(fields[1].rpartition(":")[2], 16)


def _holders(inodes: set[str]) -> dict[str, int]:
    """Who has these sockets open; of several the one that was started last, for it may be a child of the place."""
    found: dict[str, int] = {}
    for pid in sorted(processes.table()):
        try:
            names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - thousands of them
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")  # noqa: PTH115 - likewise
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in inodes:
                found[target[8:-1]] = pid
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m factory_envkeeper.seen NODE_DIR")
    print(json.dumps(seen(Path(sys.argv[1]).resolve())))  # noqa: T201 - this is what it is for


if __name__ == "__main__":
    main()
