"""Knows one command inside and all that came from it, from the server's side: its reaper, its pipes, its end."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import processes
from .errors import Refused, SandboxError
from .frames import CHUNK, WINDOW, Kind
from .pipes import Inlet, Outlet
from .record import Named

_REAPER = Path(__file__).with_name("reaper.py")
_LINGER = 1.0  # seconds that output is waited for when the command ended: a daemon may hold its stdout
_REAPER_TIME = 1.0  # seconds that a reaper has to end its tree before the server does it itself

Sink = Callable[[Kind, bytes], Awaitable[None]]


class Tree:
    """A command under its reaper. It ends with the command, by `end`, or when the reaper dies.

    `started` holds the command's pid or raises Refused; `gone` is set when no process of it is left, `over` when
    its last output was handed on as well.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        epoch: int,
        keep: bool,
        pipe: bool,
        end_orphans: Callable[[], Awaitable[None]],
    ) -> None:
        """Starts the reaper; what to run it is told when the caller next awaits, so a record can be written first.

        Raises Refused (`cannot-start`) where the machine has no process or descriptor left.
        """
        self.argv = list(argv)
        self.epoch = epoch
        self.keep = keep
        self.since = time.monotonic()
        self.code = -9  # the command's, negative for a signal
        self.child: Named | None = None
        self.started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.started.add_done_callback(lambda f: f.cancelled() or f.exception())  # it may be that nobody asks
        self.gone = asyncio.Event()
        self.over = asyncio.Event()
        self._ending = asyncio.Event()
        self._end_orphans = end_orphans
        self._said_gone = False
        self._sink: Sink | None = None
        self._attached = asyncio.Event()
        self._stdin: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._untaken = 0  # bytes in it: the caller's window
        self._inlet: Inlet | None = None
        self._outlets: dict[Kind, Outlet] = {}
        try:
            self._process, control = self._launch(pipe)
        except OSError as e:
            self._close_pipes()
            raise Refused(f"cannot start {self.argv[0]!r}: {e.strerror}", code="cannot-start") from e
        self.reaper = Named.of(self._process.pid)
        request = {"argv": self.argv, "cwd": str(cwd), "env": dict(env)}
        self._life = asyncio.create_task(self._live(control, json.dumps(request).encode() + b"\n"))

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    def end(self) -> None:
        """Everything of it is to end; `gone` tells when. May be called twice."""
        self._ending.set()

    def attach(self, sink: Sink | None) -> None:
        """Output goes there from now on; with None it is read and thrown away. Before this it waits."""
        self._sink = sink
        self._attached.set()

    def feed(self, data: bytes | None) -> None:
        """Bytes for the command's stdin, None for its end. Raises Refused (`window`) where too much is under way."""
        self._untaken += len(data or b"")
        if self._untaken > WINDOW:
            raise Refused(f"more than {WINDOW} bytes of stdin under way: wait for TAKEN", code="window")
        self._stdin.put_nowait(data)

    def _launch(self, pipe: bool) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        stdin = stdout = stderr = subprocess.DEVNULL
        try:
            if pipe:
                stdin, write = os.pipe()
                self._inlet = Inlet(write)
                read, stdout = os.pipe()
                self._outlets[Kind.STDOUT] = Outlet(read)
                read, stderr = os.pipe()
                self._outlets[Kind.STDERR] = Outlet(read)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_REAPER), str(theirs.fileno())],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd="/",
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for fd in {stdin, stdout, stderr} - {subprocess.DEVNULL}:
                os.close(fd)
        return process, ours

    async def _live(self, control: socket.socket, request: bytes) -> None:
        """From the reaper's start until nothing is left."""
        reader, writer = await asyncio.open_connection(sock=control)
        writer.write(request)
        relays = [asyncio.create_task(self._relay(kind, outlet)) for kind, outlet in self._outlets.items()]
        pouring = asyncio.create_task(self._pour(self._inlet)) if self._inlet else None
        hearing = asyncio.create_task(self._hear(reader, relays))
        ending = asyncio.create_task(self._ending.wait())

        await asyncio.wait({hearing, ending}, return_when=asyncio.FIRST_COMPLETED)
        self.end()
        if not hearing.done():
            writer.write_eof()  # the reaper's sign
            await asyncio.wait({hearing}, timeout=_REAPER_TIME)
        await self._bury()
        self.gone.set()

        hearing.cancel()
        writer.close()
        if pouring:
            pouring.cancel()
        if not self.started.done():
            self.started.set_exception(SandboxError(f"{self.argv[0]!r} was ended before it began", code="not-started"))
        for outlet in self._outlets.values():
            outlet.finish()
        for relay in relays:
            await relay  # may wait for a stalled caller, and only for it
        self._close_pipes()
        self.over.set()

    async def _hear(self, reader: asyncio.StreamReader, relays: Collection[asyncio.Task[None]]) -> None:
        """The reaper's reports, until it is gone."""
        lingering: asyncio.Task[None] | None = None
        while line := await _line(reader):
            report: dict[str, Any] = json.loads(line)
            if "pid" in report:
                self.child = Named(report["pid"], report["birth"])
                self.started.set_result(report["pid"])
            elif "refused" in report:
                self.started.set_exception(Refused(report["message"], code=report["refused"]))
            elif "exit" in report:
                self.code = report["exit"]
                lingering = asyncio.create_task(self._linger(relays))
            elif "gone" in report:
                self._said_gone = True
        if lingering:
            lingering.cancel()

    async def _linger(self, relays: Collection[asyncio.Task[None]]) -> None:
        if relays:
            await asyncio.wait(relays, timeout=_LINGER)
        self.end()

    async def _bury(self) -> None:
        """Waits for the reaper's own end; where it hung or was killed, ends by hand what it leaves."""
        if not self._said_gone:
            now = processes.table()
            processes.kill(processes.descendants([self._process.pid], now), now)
        self._process.kill()
        while self._process.poll() is None:
            await asyncio.sleep(0.002)
        if not self._said_gone:
            await self._end_orphans()

    async def _relay(self, kind: Kind, outlet: Outlet) -> None:
        await self._attached.wait()
        while data := await outlet.read(CHUNK):
            await self._hand_on(kind, data)

    async def _pour(self, inlet: Inlet) -> None:
        while (data := await self._stdin.get()) is not None:
            try:
                await inlet.write(data)
            except BrokenPipeError:
                pass  # it reads no more: what still comes is thrown away, so that the caller is not held up
            self._untaken -= len(data)
            await self._hand_on(Kind.TAKEN, json.dumps({"bytes": len(data)}).encode())
        inlet.close()

    async def _hand_on(self, kind: Kind, data: bytes) -> None:
        if self._sink is None:
            return
        try:
            await self._sink(kind, data)
        except ConnectionError:
            self._sink = None  # the caller is gone; its connection's own handler decides what that means

    def _close_pipes(self) -> None:
        for pipe in (self._inlet, *self._outlets.values()):
            if pipe:
                pipe.close()


class Trees:
    """All trees of a server; whoever is below the server and in none of them is an orphan of a killed reaper."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._all: set[Tree] = set()
        self._burials: set[asyncio.Task[None]] = set()
        self._changed = changed  # called when a tree was added, knows its command, or is gone

    def __iter__(self) -> Iterator[Tree]:
        return iter(list(self._all))

    @property
    def kept(self) -> Tree | None:
        return next((tree for tree in self._all if tree.keep and not tree.gone.is_set()), None)

    def plant(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], epoch: int, keep: bool, pipe: bool
    ) -> Tree:
        """A new tree; it is in the record before its command exists.

        Raises Refused (`cannot-start`), SandboxError (`no-record`).
        """
        tree = Tree(argv, cwd=cwd, env=env, epoch=epoch, keep=keep, pipe=pipe, end_orphans=self._end_orphans)
        self._all.add(tree)
        tree.started.add_done_callback(lambda _: self._changed())
        burial = asyncio.create_task(self._forget_when_gone(tree))
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)
        try:
            self._changed()
        except OSError as e:
            tree.end()
            raise SandboxError(f"cannot record {argv[0]!r}, so it is not started: {e}", code="no-record") from e
        return tree

    def reapers(self) -> list[Named]:
        return [tree.reaper for tree in self._all]

    def commands(self) -> list[Named]:
        return [tree.child for tree in self._all if tree.child]

    def pids(self) -> list[int]:
        """The living processes of all trees, for a report of what is left."""
        now = processes.table()
        return sorted(p.pid for p in processes.descendants([os.getpid()], now))

    async def _forget_when_gone(self, tree: Tree) -> None:
        await tree.gone.wait()
        self._all.discard(tree)
        self._changed()

    async def _end_orphans(self) -> None:
        """Until the server has no child but reapers (Linux; elsewhere orphans go to init and are not seen again)."""
        pause = 0.002
        while True:
            now = processes.table()
            reapers = {tree.reaper.pid for tree in self._all}
            orphans = [p for p in now.values() if p.ppid == os.getpid() and p.pid not in reapers]
            if not orphans:
                return
            processes.kill(orphans + processes.descendants([p.pid for p in orphans], now), now)
            for orphan in orphans:
                if orphan.zombie:
                    os.waitpid(orphan.pid, os.WNOHANG)  # noqa: ASYNC222 - does not block
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ConnectionError:
        return b""  # the reaper was killed
