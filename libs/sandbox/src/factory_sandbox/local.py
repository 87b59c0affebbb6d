"""Knows the provider `local`: process trees on this machine, in a directory of their own, without any wall.

Whoever runs inside is the same user as the factory: it could read what the factory can, and replace the socket. The
lifetimes are those of every other provider.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import credentials, environment, ledger
from .client import Sandbox, node_key
from .errors import Fenced, Refused, SandboxError, SandboxLost
from .handle import Handle
from .layout import Layout
from .providers import Spec
from .record import Record, end_leftovers
from .sockets import address, forget
from .threads import in_thread

__all__ = ["Local", "Spec"]

_SERVER = Path(__file__).with_name("server.py")
_LOOK_TIME = 15.0  # seconds for a server to say that it lives, on a machine under load
_LOCK_TIME = 60.0  # seconds for another process to be done with this placement
_START_TIME = 20.0  # seconds for a server to detach
_LOG_TAIL = 2000  # characters of a server's log in an error


class Local:
    """Sandboxes that are directories and process trees of the node."""

    async def create(self, spec: Spec, epoch: int) -> Handle:
        """The sandbox of this placement, with `epoch` in force: made, found alive, or its dead server started again.

        A server that is found keeps the spec it was made with. Where a dead one had left processes they are ended
        first, the kept supervisor included.
        Raises Fenced, Refused (`bad-name`, `no-checkout`, `secret-in-environment`),
        SandboxError (`processes-left`, `server-failed`, `busy`).
        """
        layout, handle = _placed(spec.node, spec.node_dir, spec.job_id, spec.placement)
        environment.check(spec.env)
        async with _locked(layout):
            if await _take(layout, handle, epoch):
                return handle
            if not spec.checkout.is_dir():
                raise Refused(f"there is no checkout at {spec.checkout}", code="no-checkout")
            await self._end(layout)
            before = Record.read(layout.record).epoch
            if epoch < before:
                raise Fenced.by(epoch, before)
            await in_thread(_build, spec, layout, handle)
            await in_thread(_start, spec, layout, epoch)
            if not await _take(layout, handle, epoch):
                raise SandboxError(
                    f"the server of {layout.name} ended at once: {_tail(layout.log)}", code="server-failed"
                )
        return handle

    def reserve(self, node: str, node_dir: Path, job_id: str, placement: int) -> Handle:
        """The handle of a placement that is about to be made, in the node's ledger from now on: before its clone is.

        Who dies between this and `create` leaves something that `placements` names and `destroy` removes.
        """
        layout, handle = _placed(node, node_dir, job_id, placement)
        _own(layout, handle)
        return handle

    async def destroy(self, handle: Handle) -> None:
        """Ends everything of the placement and removes its directories; a checkout elsewhere stays.

        May be called again, also for one that was never wholly made. Raises SandboxError: `processes-left` (their
        pids), `files-left` (their paths), `busy`.
        """
        layout = Layout.of(handle)
        async with _locked(layout):
            await _ask_to_end(layout, handle)
            await self._end(layout)
            await in_thread(_remove, layout.place)
            for path in (layout.socket, layout.record, layout.log):
                path.unlink(missing_ok=True)
            ledger.Ledger(layout).close()
            if not self.placements(layout.node_dir):
                forget(layout.run)

    async def alive(self, handle: Handle) -> bool:
        """Whether the placement's server answers."""
        if not Path(handle.socket).exists():
            return False
        try:
            async with asyncio.timeout(_LOOK_TIME):
                await Sandbox(handle, node_key(Layout.of(handle).node_dir), None).status()
        except (SandboxLost, TimeoutError):
            return False
        return True

    def placements(self, node_dir: Path) -> list[Handle]:
        """What this node's ledger holds: living sandboxes, and those whose cleanup is not done."""
        return list(ledger.handles(node_dir))

    async def _end(self, layout: Layout) -> None:
        if left := await in_thread(end_leftovers, layout):
            raise SandboxError(f"processes of {layout.name} do not end: pids {left}; try again", code="processes-left")


def _placed(node: str, node_dir: Path, job_id: str, placement: int) -> tuple[Layout, Handle]:
    layout = Layout(node_dir.resolve(), job_id, placement)
    return layout, Handle("local", node, job_id, placement, str(layout.socket))


def _own(layout: Layout, handle: Handle) -> None:
    owned = ledger.Ledger(layout)
    owned.own("handle", json.dumps(handle.as_dict()))
    owned.own("directory", str(layout.place))


async def _take(layout: Layout, handle: Handle, epoch: int) -> bool:
    """Whether a server answers, with this epoch in force then. Raises Fenced."""
    if not layout.socket.exists():
        return False
    try:
        async with asyncio.timeout(_LOOK_TIME):
            await Sandbox(handle, node_key(layout.node_dir), epoch).take()
    except (SandboxLost, TimeoutError):
        return False
    return True


async def _ask_to_end(layout: Layout, handle: Handle) -> None:
    """Destroys through the server where one answers: it knows its trees best. What remains is ended from outside."""
    if not layout.socket.exists():
        return
    key = node_key(layout.node_dir)
    try:
        async with asyncio.timeout(_LOOK_TIME):
            epoch = (await Sandbox(handle, key, None).status())["epoch"]
            await Sandbox(handle, key, epoch).destroy()
    except (SandboxError, TimeoutError):
        pass  # dead, hung, or at its wits' end with a process: the record is worked through next


def _build(spec: Spec, layout: Layout, handle: Handle) -> None:
    """The placement's directories and shims, each in the ledger before it is made."""
    _own(layout, handle)
    layout.place.mkdir(parents=True, exist_ok=True)
    for directory in (layout.home, layout.tmp):
        directory.mkdir(mode=0o700, exist_ok=True)
    shutil.rmtree(layout.bin, ignore_errors=True)
    layout.bin.mkdir()
    for name, command in spec.shims.items():
        shim = layout.bin / name
        shim.write_text(_shim(command))
        shim.chmod(0o755)


def _shim(command: Sequence[str]) -> str:
    return f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'


def _start(spec: Spec, layout: Layout, epoch: int) -> None:
    """A server that listens on a socket bound here. Returns when it is detached; its answer comes by the socket."""
    owned = ledger.Ledger(layout)
    owned.own("socket", str(layout.socket))
    owned.own("server", str(layout.record))
    layout.socket.unlink(missing_ok=True)
    listening = _listen(layout.socket)
    try:
        with layout.log.open("ab") as log:
            server = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SERVER), layout.name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_server_environment(),
                pass_fds=[listening.fileno()],
                start_new_session=True,
            )
            try:
                server.communicate(_config(spec, layout, epoch, listening.fileno()), timeout=_START_TIME)
            except subprocess.TimeoutExpired:
                server.kill()
                server.communicate()
    finally:
        listening.close()
    if server.returncode != 0:
        raise SandboxError(f"the server of {layout.name} does not start: {_tail(layout.log)}", code="server-failed")


def _listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(address(path))
        path.chmod(0o600)  # nobody can connect before listen()
        listening.listen(1024)
    except BaseException:
        listening.close()
        raise
    return listening


def _config(spec: Spec, layout: Layout, epoch: int, listening: int) -> bytes:
    key = credentials.placement_key(node_key(layout.node_dir), spec.job_id, spec.placement)
    config: dict[str, Any] = {
        "listen": listening,
        "key": key.hex(),
        "job": spec.job_id,
        "placement": spec.placement,
        "epoch": epoch,
        "checkout": str(spec.checkout.resolve()),
        "record": str(layout.record),
        "env": environment.of_placement(layout, spec.env),
        "dirs": {"home": str(layout.home), "tmp": str(layout.tmp), "bin": str(layout.bin)},
        "shim": str(layout.bin / "factory") if "factory" in spec.shims else "",
        "ports": list(spec.ports),
    }
    return json.dumps(config).encode()


def _server_environment() -> Mapping[str, str]:
    """The server's own needs; what children get is in its config."""
    wanted = ("PATH", "LANG", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in wanted if name in os.environ}


@contextlib.asynccontextmanager
async def _locked(layout: Layout) -> AsyncIterator[None]:
    """One process at a time makes or removes a placement. Raises SandboxError (`busy`)."""
    layout.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    give_up = time.monotonic() + _LOCK_TIME
    while (fd := _try_lock(layout.lock)) is None:
        if time.monotonic() > give_up:
            raise SandboxError(f"another process is busy with {layout.name} for {_LOCK_TIME:.0f} s", code="busy")
        await asyncio.sleep(0.05)
    try:
        yield
    finally:
        if not layout.ledger.exists():
            layout.lock.unlink(missing_ok=True)  # the placement is no more
        os.close(fd)


def _try_lock(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == path.stat().st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass  # held, or its holder removed the file that we opened
    os.close(fd)
    return None


def _remove(place: Path) -> None:
    """The directory with all that is in it, read-only directories (module caches) too.

    Raises SandboxError (`files-left`).
    """
    if not place.exists():
        return
    left: list[str] = []

    def open_up_and_retry(remove: Any, path: str, _: object) -> None:
        try:
            if Path(path) != place:
                Path(path).parent.chmod(stat.S_IRWXU)
            if stat.S_ISDIR(Path(path).lstat().st_mode):
                Path(path).chmod(stat.S_IRWXU)
                shutil.rmtree(path)
            else:
                Path(path).unlink()
        except FileNotFoundError:
            pass
        except OSError as e:
            left.append(f"{path} ({e.strerror})")

    shutil.rmtree(place, onerror=open_up_and_retry)
    if place.exists():
        raise SandboxError(f"{place} cannot be removed: {', '.join(left[:5]) or 'not empty'}", code="files-left")


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-_LOG_TAIL:].strip() or "its log is empty"
    except FileNotFoundError:
        return "it has no log"
