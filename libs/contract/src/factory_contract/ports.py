"""Named port leases: exclusive on this machine and across users, the same for a checkout until `factory clean`.

A lease is a file `<port>.json` in a directory that all users share. It names the checkout that has it, and it holds as long
as that checkout's own `leases.json` names the port too, so a checkout that is deleted gives its ports back by itself. `flock`
on the file guards every change; a supervisor keeps the lock while it lives.
"""

import errno
import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from factory_contract import listeners, state
from factory_contract.checkout import STATE, Checkout
from factory_contract.errors import BadPortRange, NoFreePort, PortsDirectory, PortTaken

SHARED = Path("/tmp/software-factory-ports")  # not TMPDIR: every user has to mean the same directory
LOW, HIGH = 46200, 47999


class Range(NamedTuple):
    low: int
    high: int

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.low <= port <= self.high


DEFAULT = Range(LOW, HIGH)
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
LONGEST = 64 * 1024  # bytes of a file that another user may have written
NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


def parse_range(text: str, size: int) -> Range:
    """`LO-HI`, or `LO` for `size` ports from LO on. Raises BadPortRange."""
    low, dash, high = text.strip().partition("-")
    if not low.isdecimal() or (dash and not high.isdecimal()):
        raise BadPortRange(text=text)
    found = Range(int(low), int(high) if dash else min(int(low) + size - 1, 65535))
    if not 1024 <= found.low <= found.high <= 65535:
        raise BadPortRange(text=text)
    return found


class Leases:
    """The ports of one checkout, in this process."""

    def __init__(self, checkout: Checkout, shared: Path = SHARED) -> None:
        self._checkout, self._shared = checkout, shared
        self._locks: dict[int, int] = {}  # port -> descriptor of the lease's file, locked

    def add(self, names: Iterable[str], fixed: Mapping[str, int], worktree: str) -> dict[str, int]:
        """As `take`, but what was leased before is taken as it is: a supervisor may be using it."""
        had = state.leased(self._checkout)
        kept = {name: port for name, port in had.ports.items() if name in set(names)} if had else {}
        missing = [name for name in names if name not in kept]
        if missing or had is None:
            make_shared(self._shared)
            for name in sorted(missing, key=lambda name: name not in fixed):
                kept[name] = self._one(name, fixed.get(name), None, DEFAULT, taken=set(kept.values()))
            self._write({**(had.ports if had else {}), **kept}, worktree)
        return kept

    def take(self, names: Iterable[str], fixed: Mapping[str, int], within: Range, worktree: str) -> dict[str, int]:
        """Leases a port for each name and writes them down; the checkout's old ones are kept where they are free and in range.

        Raises PortTaken, NoFreePort, PortsDirectory, StateUnwritable.
        """
        make_shared(self._shared)
        had = (state.read(self._checkout.leases_file) or {}).get("ports", {})  # a moved checkout asks for its old ones
        got: dict[str, int] = {}
        try:
            for name in sorted(names, key=lambda name: name not in fixed):  # fixed ones first
                got[name] = self._one(name, fixed.get(name), had.get(name), within, taken=set(got.values()))
        except BaseException:
            self.let_go()
            raise
        # written before the leases that are not wanted any more go, so that none is held by nobody's word
        self._write(got, worktree)
        self.free(set(had.values()) - set(got.values()))
        return got

    def _write(self, leased: dict[str, int], worktree: str) -> None:
        what = {"worktree": worktree, "root": str(self._checkout.root), "ports": leased}
        state.write(self._checkout.leases_file, what)

    def _one(self, name: str, fixed: int | None, had: int | None, within: Range, taken: set[int]) -> int:
        if fixed is not None:
            if not self._try(fixed, name):
                raise PortTaken(port=fixed, name=name, owner=self._owner(fixed))
            return fixed
        first = [had] if had is not None and had in within else []
        for port in [*first, *range(within.low, within.high + 1)]:
            if port not in taken and self._try(port, name):
                return port
        raise NoFreePort(name=name, low=within.low, high=within.high)

    def _try(self, port: int, name: str) -> bool:
        if port in self._locks:
            return is_free(port)  # ours from an earlier `take`
        fd = self._open(port)
        if fd is None:
            return False
        lease = _read(fd)
        mine = lease.get("checkout") == str(self._checkout.root)
        if (not mine and _holds(lease, port)) or not is_free(port):
            if not lease:  # made by us just now
                self._path(port).unlink(missing_ok=True)
            os.close(fd)
            return False
        record = {"checkout": str(self._checkout.root), "name": name, "port": port, "uid": os.getuid()}
        self._locks[port] = fd
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(record).encode(), 0)
        except OSError as e:
            raise PortsDirectory(directory=str(self._shared), why=e.strerror) from e
        return True

    def _open(self, port: int) -> int | None:
        """The lease's file, locked; None where somebody else has the lock or the file may not be written."""
        path = self._path(port)
        for _ in range(5):
            try:
                # without O_CREAT first: Linux refuses it on another user's file in a sticky directory (protected_regular)
                try:
                    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                except FileNotFoundError:
                    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
                    os.fchmod(fd, 0o666)  # whoever finds the lease void may take it over
            except FileExistsError:
                continue
            except OSError as e:
                if e.errno in FULL:
                    raise PortsDirectory(directory=str(self._shared), why=e.strerror) from e
                return None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                return None
            try:
                if os.path.samestat(os.fstat(fd), path.stat(follow_symlinks=False)):
                    return fd
            except OSError:
                pass  # it was removed between open and lock: another try
            os.close(fd)
        return None

    def let_go(self) -> None:
        """Drops the locks; the leases stay the checkout's."""
        for fd in self._locks.values():
            os.close(fd)
        self._locks.clear()

    def touch(self) -> None:
        """Programs that tidy up /tmp take what is old."""
        for fd in self._locks.values():
            os.utime(fd)

    def release(self) -> list[int]:
        """Gives every lease of this checkout back and says which."""
        had = state.leased(self._checkout)
        self._checkout.leases_file.unlink(missing_ok=True)
        self.let_go()
        return self.free(had.ports.values()) if had else []

    def free(self, ports: Iterable[int]) -> list[int]:
        """Removes those of these leases that name this checkout while it does not mean them, and says which."""
        freed = []
        for port in sorted(ports):
            if (fd := self._locks.pop(port, None)) is None and (fd := self._open(port)) is None:
                continue
            lease = _read(fd)
            if lease.get("checkout") == str(self._checkout.root) and not _holds(lease, port):
                try:
                    self._path(port).unlink()
                except OSError:  # another user's file that we had taken over: empty says free as well
                    os.ftruncate(fd, 0)
                freed.append(port)
            os.close(fd)
        return freed

    def _owner(self, port: int) -> str:
        for listener in listeners.on([port]):
            return listeners.owner(listener)
        try:
            return f"the checkout {_told(self._path(port))['checkout']}"
        except (OSError, KeyError):
            return "another process"

    def _path(self, port: int) -> Path:
        return self._shared / f"{port}.json"


class Lease(NamedTuple):
    """One lease of this machine. `void`: the checkout that it names is gone or does not mean it any more."""

    port: int
    root: Path
    uid: int
    void: bool


def leases(shared: Path = SHARED) -> list[Lease]:
    """Every lease of this machine, of all users."""
    found = []
    for path in sorted(shared.glob("[0-9]*.json")):
        if not path.stem.isdecimal():
            continue
        try:
            lease = _told(path)
            if not str(lease["checkout"]).isprintable():
                continue  # it would be told on somebody's terminal
            found.append(
                Lease(int(path.stem), Path(lease["checkout"]), int(lease["uid"]), not _holds(lease, int(path.stem)))
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # free, or just being written
    return found


def make_shared(directory: Path) -> None:
    """Makes the directory in which all users may write, none another's files. Raises PortsDirectory."""
    try:
        try:
            directory.mkdir()
            directory.chmod(0o1777)
        except FileExistsError:
            pass
        if not stat.S_ISDIR(directory.lstat().st_mode):
            raise PortsDirectory(directory=str(directory), why="it is no directory")
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PortsDirectory(directory=str(directory), why="it is not writable")
    except OSError as e:
        raise PortsDirectory(directory=str(directory), why=e.strerror) from e


@contextmanager
def one_at_a_time(checkout: Checkout) -> Iterator[None]:
    """Between processes of one checkout: two that lease at the same moment would each find a lock of the other's."""
    checkout.make_state_dir()
    with (checkout.state_dir / "leases.lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def _told(path: Path) -> dict[str, Any]:
    """What a lease, or a checkout's leases.json, says. Another user can put a pipe or a link there."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _read(fd)
    finally:
        os.close(fd)


def _read(fd: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(fd, LONGEST, 0) or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _holds(lease: dict[str, Any], port: int) -> bool:
    """Whether the checkout that a lease names is there and still means it."""
    if not lease:
        return False
    try:
        own = _told(Path(lease["checkout"]) / STATE / "leases.json")
    except PermissionError:
        return True  # another user's, who is asked nothing
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return own.get("root") == lease["checkout"] and port in own.get("ports", {}).values()


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now, on both loopback addresses."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as s:
                s.setsockopt(
                    socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
                )  # what is left of old connections does not count
                s.bind((address, port))
                s.listen()
        except OSError as e:
            if family == socket.AF_INET6 and e.errno in NO_IPV6:
                continue
            return False
    return True
