"""Children: how they are started, what is read of them, and how they end, with everything that they have started themselves.

One loop owns the children. Each has a session of its own; this process is their subreaper on Linux (prctl(2)), so that what goes
into the background stays beneath it and can be found. Nothing else in this process may start or reap processes.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from factory_contract import proc, session
from factory_contract.errors import LeftBehind
from factory_contract.ledger import Ledger
from factory_contract.session import Begun

DRAIN = 1.0  # seconds that output is read on after the end: something in the background may hold the pipe for ever
KILL = 5.0  # seconds that SIGKILL gets; only a process in an uninterruptible wait needs more
CHUNK = 65536


class Child:
    """One child. `exit` is its exit code, as a shell counts: 128 + n for signal n."""

    def __init__(self, begun: Begun) -> None:
        self.popen, self.key, self.started = begun
        self.pid = self.popen.pid
        self.host = ""  # the FACTORY_HOST by which what has gone into the background is known
        self.exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.pipes = [pipe for pipe in (self.popen.stdout, self.popen.stderr) if pipe is not None]
        self.unread = len(self.pipes)  # of them have not come to their end
        self.drained = asyncio.Event()

    async def wait(self) -> int:
        """The exit code, when the process has ended and its output is read."""
        code = await asyncio.shield(self.exit)
        try:
            async with asyncio.timeout(DRAIN):
                await self.drained.wait()
        except TimeoutError:
            pass
        return code


class Children:
    """All children of this process. Use as `async with`; leaving ends what is left.

    begun: by owner, what was started before: it is taken up by the `spawn` that would start it.
    """

    def __init__(self, ledger: Ledger | None = None, begun: Mapping[str, Begun] | None = None) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._begun = {owner: Child(process) for owner, process in (begun or {}).items()}
        self._living = {child.pid: child for child in self._begun.values()}

    async def __aenter__(self) -> "Children":
        session.become_subreaper()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._reap()  # who has ended before the signal could be heard
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for child in list(self._living.values()):
                await self.end(child, grace=1)
        finally:
            self._loop.remove_signal_handler(signal.SIGCHLD)

    def spawn(
        self,
        command: str,
        *,
        owner: str,
        env: Mapping[str, str],
        cwd: Path,
        output: Callable[[bytes], None],
        errors: Callable[[bytes], None] | None = None,
        stays: bool = False,
        beside: bool = False,
    ) -> Child:
        """Starts `command` in a shell; `output` gets what it writes, stdout and stderr as they come.

        errors: gets stderr instead.
        stays: give it a stdin that never ends, because some dev servers leave when theirs does.
        beside: it comes and goes beside a service, as probes and `stop` commands do. All others are written into the ledger
        first, and what goes into the background with their FACTORY_HOST is theirs.
        """
        child = None if beside else self._begun.pop(owner, None)
        if child is None:
            ledger = None if beside else self._ledger
            child = Child(
                session.begin(
                    command, owner=owner, env=env, cwd=cwd, stays=stays, apart=errors is not None, ledger=ledger
                )
            )
            self._living[child.pid] = child
        child.host = "" if beside else env.get("FACTORY_HOST", "")
        for pipe, heard in zip(child.pipes, (output, errors or output), strict=False):
            self._read(child, pipe, heard)
        return child

    async def end(self, child: Child, *, grace: float, by: signal.Signals = signal.SIGTERM) -> bool:
        """Asks the child to end, waits `grace` seconds, kills what is left. True if nothing had to be killed.

        The process group is asked first and alone: a server that keeps its workers in sessions of their own (Postgres does)
        ends them in its own order. What has outlived its group is asked next.
        """
        deadline = self._loop.time() + grace
        if _signal_group(child.pid, by):
            await self._gone(child, deadline)
        left = self._members(child)
        if left:
            for pid in left:
                _signal(pid, by)
            await self._gone(child, min(deadline, self._loop.time() + 2))
            left = self._members(child)
        killed = bool(left)
        until = self._loop.time() + KILL
        while left:
            for pid in left:
                _signal(pid, signal.SIGKILL)
            await self._gone(child, until)
            left = self._members(child)
            if left and self._loop.time() >= until:
                raise LeftBehind(pids=sorted(left))
        await asyncio.shield(child.exit)
        self.forget(child)
        return not killed

    def forget(self, child: Child) -> None:
        """The child and everything of it is gone: crossed out in the ledger, its pipes closed."""
        if self._living.pop(child.pid, None) is None:
            return
        if child.popen.stdin is not None:
            child.popen.stdin.close()
        for pipe in child.pipes:
            self._loop.remove_reader(pipe.fileno())
            pipe.close()
        if self._ledger and child.key:
            self._ledger.ended(child.key)

    async def _gone(self, child: Child, deadline: float) -> None:
        """Waits until the deadline, or until the child, its session and all beneath it are gone."""
        pause = 0.005
        while members := self._members(child):
            while any(proc.look(pid) for pid in members):
                if self._loop.time() >= deadline:
                    return
                if child.exit.done():
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, 0.1)
                else:  # the rest goes with it, most often
                    await asyncio.wait([child.exit], timeout=min(0.1, deadline - self._loop.time()))

    def _members(self, child: Child) -> set[int]:
        """The child, its session and group, everything beneath, and what of it has gone into the background."""
        if child.exit.done() and not self._strays():
            return set()
        table = proc.table()
        # its number may not be used while its session lives; once reaped it can be, so its start counts
        own = {child.pid} if child.pid in table and table[child.pid].started == child.started else set[int]()
        found = own | proc.in_sessions({child.pid}, table)
        if not own and child.pid in table:
            found = set()
        orphans = (p.pid for p in table.values() if p.ppid == os.getpid() and p.pid not in self._living)
        found |= {pid for pid in orphans if child.host and proc.environ(pid).get("FACTORY_HOST") == child.host}
        return found | proc.descendants(found, table)

    def _strays(self) -> bool:
        """Whether there may be any that we have not started: what a child leaves behind when it ends is given to us."""
        seen, again = None, proc.children(os.getpid())
        while seen != again:  # one that ends while they are counted can hide the next
            seen, again = again, proc.children(os.getpid())
        return seen is None or not seen <= self._living.keys()

    def _read(self, child: Child, pipe: IO[bytes], output: Callable[[bytes], None]) -> None:
        fd = pipe.fileno()
        os.set_blocking(fd, False)

        def ready() -> None:
            try:
                data = os.read(fd, CHUNK)
            except BlockingIOError:
                return
            if data:
                output(data)
                return
            self._loop.remove_reader(fd)
            child.unread -= 1
            if not child.unread:
                child.drained.set()

        self._loop.add_reader(fd, ready)

    def _reap(self) -> None:
        """Every child that has ended, and the orphans that the kernel has given us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._living.get(pid)
            if child is None or child.exit.done():
                continue
            code = os.waitstatus_to_exitcode(status)
            child.popen.returncode = code  # Popen must not wait for a pid that is somebody else's by now
            child.exit.set_result(code if code >= 0 else 128 - code)


async def end_pids(pids: list[int], grace: float) -> None:
    """Ends processes that are not children of this one, with all beneath them. Raises LeftBehind."""
    for by, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, KILL)):
        table = proc.table()
        known = {pid: table[pid].started for pid in pids if pid in table}
        known |= {pid: table[pid].started for pid in proc.descendants(known, table)}
        for pid in known:
            _signal(pid, by)
        deadline = time.monotonic() + wait
        while any(proc.alive(pid, started) for pid, started in known.items()):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(0.02)
        else:
            return
    left = [pid for pid, started in known.items() if proc.alive(pid, started)]
    if left:
        raise LeftBehind(pids=left)


def _signal(pid: int, by: signal.Signals) -> None:
    try:
        os.kill(pid, by)
    except (ProcessLookupError, PermissionError):
        pass  # gone a moment ago; or of another user (a setuid program), which is still there for LeftBehind to name


def _signal_group(leader: int, by: signal.Signals) -> bool:
    """Whether the group was there. Its number stays taken while it has members, so it cannot be a stranger's."""
    try:
        os.killpg(leader, by)
    except (ProcessLookupError, PermissionError):
        return False
    return True
