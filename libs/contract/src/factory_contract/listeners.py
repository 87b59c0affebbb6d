"""Who listens on a port of this machine: /proc/net/tcp and /proc/<pid>/fd (proc(5)). Linux only; elsewhere nothing is known."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from factory_contract import proc
from factory_contract.errors import ForeignListener

LISTEN = "0A"
LINE = 150  # bytes; what the kernel is asked for at a time
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class Listener(NamedTuple):
    """One listening socket."""

    port: int
    inode: str
    uid: int


def on(ports: Iterable[int]) -> list[Listener]:
    """The sockets that listen on `ports`, on any address."""
    wanted = {f":{port:04X}": port for port in ports}
    found = []
    for table in TABLES if proc.LINUX and wanted else ():
        try:
            with table.open("rb", buffering=LINE) as f:
                f.readline()  # the names of the columns
                for line in f:
                    fields = line.decode().split()
                    if fields[3] != LISTEN:
                        break  # listeners are listed first (proc_net_tcp.rst); looking for all connections takes milliseconds
                    if port := wanted.get(fields[1][-5:]):
                        found.append(Listener(port, fields[9], int(fields[7])))
        except OSError:  # no IPv6 in this kernel
            continue
    return found


def user(port: int) -> str:
    """Who has a port without listening on it, for messages: a client whose connection has got it from the kernel, for one."""
    wanted = f":{port:04X}"
    for table in TABLES if proc.LINUX else ():
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[1].endswith(wanted) and fields[9] != "0":
                return owner(Listener(port, fields[9], int(fields[7])))
    return "another process"


def held_by(pids: Iterable[int]) -> set[str]:
    """The inodes of all sockets that these processes have open."""
    inodes = set()
    for pid in pids:
        directory = f"/proc/{pid}/fd"
        try:
            with os.scandir(directory) as entries:
                names = [e.name for e in entries]
        except OSError:  # gone, or another user's
            continue
        for name in names:
            try:
                target = os.readlink(f"{directory}/{name}")  # noqa: PTH115 - thousands of them
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    return inodes


def owner(listener: Listener) -> str:
    """The owner of a socket, for messages: process and command, or only the user where more cannot be seen."""
    for pid in proc.table():
        if listener.inode in held_by([pid]):
            where = proc.environ(pid).get("FACTORY_WORKTREE")
            return f"pid {pid} ({proc.command(pid)})" + (f" of the environment {where}" if where else "")
    return f"a process of user {listener.uid}"


def refuse_strangers(ports: Mapping[str, int], near: Iterable[int] = ()) -> list[Listener]:
    """The listeners on these ports (name → number), each of a process beneath this one. Raises ForeignListener.

    near: pids beneath this one that are looked at first, because looking at all takes long where there are many.
    """
    found = on(ports.values())
    if not found or {listener.inode for listener in found} <= held_by(near):
        return found
    ours = held_by(proc.descendants([os.getpid()], proc.table()))
    for listener in found:
        # one that is not ours may have closed since it was seen
        if listener.inode not in ours and listener in on([listener.port]):
            name = next(n for n, p in ports.items() if p == listener.port)
            raise ForeignListener(name=name, port=listener.port, owner=owner(listener))
    return found
