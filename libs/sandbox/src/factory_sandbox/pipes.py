"""Knows a child's pipes from the server's side: read only when asked for, so that a stalled caller stalls its child.

asyncio's own pipe streams read ahead, and their reader cannot say "that was all" while a daemon holds the other end.
"""

import asyncio
import os


class Outlet:
    """The read end of a child's stdout or stderr."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._woken: asyncio.Future[None] | None = None
        self._finished = False

    async def read(self, at_most: int) -> bytes:
        """What is there, waiting for the first byte; empty at the end."""
        while True:
            try:
                return os.read(self._fd, at_most)
            except BlockingIOError:
                if self._finished:
                    return b""
            await self._readable()

    def finish(self) -> None:
        """What is in the pipe is still read; nothing more is waited for."""
        self._finished = True
        _wake(self._woken)

    def close(self) -> None:
        """May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        loop.add_reader(self._fd, _wake, self._woken)
        try:
            await self._woken
        finally:
            loop.remove_reader(self._fd)


class Inlet:
    """The write end of a child's stdin."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    async def write(self, data: bytes) -> None:
        """Waits until the child took it all. Raises BrokenPipeError where it reads no more."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                await self._writable()

    def close(self) -> None:
        """May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._fd, _wake, woken)
        try:
            await woken
        finally:
            loop.remove_writer(self._fd)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
