"""Knows how the services reach into a sandbox: run, read, write, connect, look.

Each call is a connection of its own to the server's socket, so calls never wait for one another.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from . import credentials
from .credentials import node_key
from .errors import Refused, SandboxError, SandboxLost
from .frames import CHUNK, FILE_CHUNK, MAX_FRAME, VERSION, WINDOW, Kind, Wire, unpack
from .handle import Handle
from .sockets import address

__all__ = ["ExecResult", "Process", "Sandbox", "node_key"]

_ANSWER_TIME = 30.0  # seconds for a server to answer a hello: ending a lower epoch's spawns is in it
_OVERTIME = 15.0  # seconds that a command's end may be late after its timeout before the server counts as lost
_KILL_TIME = 5.0  # seconds that the end of a killed command is waited for
_LINE_LIMIT = 64 * 1024 * 1024  # bytes: agents speak JSON in lines, and a line may carry a picture


@dataclass(frozen=True)
class ExecResult:
    code: int  # negative: the signal that ended it
    stdout: bytes  # the last `max_output` bytes of it
    stderr: bytes
    timed_out: bool
    seconds: float
    truncated: bool  # one of the two was longer: its beginning is missing


class Sandbox:
    """One placement as its callers see it. Paths and `cwd` are relative to the checkout.

    Every call raises SandboxLost where the server does not answer, and Refused where it will not do what is asked;
    calls that act (`exec`, `spawn`, `write`, `destroy`) raise Fenced where a higher epoch is in force, also while
    they run. With `epoch` None only looking calls can be made.
    """

    def __init__(self, handle: Handle, node_key: bytes, epoch: int | None) -> None:
        self.handle = handle
        self.epoch = epoch
        self._key = credentials.placement_key(node_key, handle.job_id, handle.placement)

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
        max_output: int = 1 << 20,
        on_output: Callable[[str, bytes], None] | None = None,
    ) -> ExecResult:
        """Runs a command to its end; whatever it left running is ended before this returns.

        `timeout` in seconds, after which all of it is killed. `on_output` gets every piece as ("stdout"|"stderr",
        bytes), also what the result no longer holds. Cancelling this ends the command.
        Raises Refused: `no-such-command`, `no-such-directory`, `cannot-start`, `bad-path`, `secret-in-environment`.
        """
        started = time.monotonic()
        kept = {"stdout": _Tail(max_output), "stderr": _Tail(max_output)}
        async with await self._open("exec", _command(argv, cwd, env, timeout=timeout), acting=True) as call:
            feeding = asyncio.create_task(call.feed(stdin))
            try:
                async with asyncio.timeout(None if timeout is None else timeout + _OVERTIME):
                    ended = await _collect(call, kept, on_output)
            except TimeoutError:
                raise SandboxLost(f"{self.handle.socket} is silent: {argv[0]!r} should have ended by now") from None
            except SandboxError:
                raise  # the server ended it
            except BaseException:
                await call.kill()
                raise
            finally:
                feeding.cancel()
        return ExecResult(
            code=ended["code"],
            stdout=bytes(kept["stdout"].data),
            stderr=bytes(kept["stderr"].data),
            timed_out=ended["timed_out"],
            seconds=time.monotonic() - started,
            truncated=any(tail.truncated for tail in kept.values()),
        )

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        keep: bool = False,
        pipe: bool = True,
    ) -> "Process":
        """Starts a command that is talked to while it runs; it dies with its connection, or at a higher epoch.

        `keep` lets it live until `destroy`, or `Process.kill`: for `factory supervise` alone, one at a time; where
        one lives, that one is given back, without its streams. `pipe` False gives it /dev/null.
        Raises Refused as `exec` does, and `not-kept`.
        """
        call = await self._open("spawn", _command(argv, cwd, env, keep=keep, pipe=pipe), acting=True)
        try:
            return await Process.following(call, keep=keep, pipe=pipe)
        except BaseException:
            call.close()
            raise

    async def read(self, path: str, *, offset: int = 0, max_bytes: int = 16 * 1024 * 1024) -> bytes:
        """At most `max_bytes` bytes of a regular file beneath the checkout.

        Raises Refused: `no-such-file`, `link` (any part of the path), `not-a-file`, `bad-path`, `unreadable`.
        """
        return b"".join([chunk async for chunk in self._chunks(path, offset, max_bytes)])

    def read_chunks(self, path: str, offset: int = 0) -> AsyncIterator[bytes]:
        """As `read`, to the file's end, in pieces of 192 KiB at most."""
        return self._chunks(path, offset, None)

    async def _chunks(self, path: str, offset: int, max_bytes: int | None) -> AsyncIterator[bytes]:
        async with await self._open("read", {"path": path, "offset": offset, "max_bytes": max_bytes}) as call:
            while True:
                kind, payload = await call.receive()
                if kind is Kind.END:
                    return
                yield payload

    async def write(self, path: str, data: bytes | AsyncIterable[bytes], *, mode: int = 0o644) -> int:
        """Writes a regular file beneath the checkout, missing directories too; the bytes written.

        The file takes its name when it is whole: after any error the old one is there. Raises Refused as `read`
        does, and `unwritable`.
        """
        async with await self._open("write", {"path": path, "mode": mode}, acting=True) as call:
            answer = asyncio.create_task(call.receive())
            try:
                async for chunk in _pieces(data):
                    if answer.done() or not await call.send(Kind.DATA, chunk):
                        break  # refused in the middle: the answer says why
                else:
                    await call.send(Kind.END)
                return unpack((await answer)[1])["bytes"]
            finally:
                answer.cancel()

    async def connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to what listens on this port inside, on 127.0.0.1 or else on ::1.

        Raises Refused (`no-listener`).
        """
        call = await self._open("connect", {"port": port})
        return call.wire.reader, call.wire.writer

    async def status(self) -> dict[str, Any]:
        """What the server has: {epoch, seconds, spawns: [{pid, command, epoch, seconds}], kept: the same or None,
        checkout: {present, git, free_bytes}, ports: [first, last], dirs: {home, tmp, bin},
        server: {pid, peak_rss_bytes, descriptors}}."""
        async with await self._open("status", {}) as call:
            return call.answer

    async def take(self) -> dict[str, Any]:
        """As `status`, but it acts: with it this epoch comes into force and what lower ones spawned is ended."""
        async with await self._open("status", {}, acting=True) as call:
            return call.answer

    async def destroy(self) -> None:
        """Ends every process inside and the server; the directories go with the provider's `destroy`.

        Raises SandboxError (`processes-left`).
        """
        async with await self._open("destroy", {}, acting=True):
            pass

    async def _open(self, verb: str, args: Mapping[str, Any], *, acting: bool = False) -> "_Call":
        """A connection on which the server has said OK."""
        if acting and self.epoch is None:
            raise Refused(f"{verb} acts: it needs the epoch of a lease", code="no-epoch")
        epoch = self.epoch if acting else None
        hello = {
            "v": VERSION,
            "verb": verb,
            "job": self.handle.job_id,
            "placement": self.handle.placement,
            "epoch": epoch,
            "mac": credentials.sign(self._key, epoch),
            "args": args,
        }
        path = address(Path(self.handle.socket))
        try:
            async with asyncio.timeout(_ANSWER_TIME):
                reader, writer = await asyncio.open_unix_connection(path, limit=2 * MAX_FRAME)
                call = _Call(Wire(reader, writer), self.handle.socket)
                try:
                    await call.greet(hello)
                except BaseException:
                    call.close()
                    raise
        except TimeoutError:
            raise SandboxLost(f"{self.handle.socket} is silent for {_ANSWER_TIME:.0f} s") from None
        except OSError as e:
            raise SandboxLost(f"{self.handle.socket} does not answer: {e.strerror or e}") from e
        return call


class Process:
    """A spawned command. Its streams are None without pipes; read both, or the fuller one stalls the other.

    As an async context manager it is ended on the way out; a kept one is only let go of.
    """

    pid: int
    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader | None  # its lines may be 64 MiB long
    stderr: asyncio.StreamReader | None

    def __init__(self, call: "_Call", keep: bool) -> None:
        self.pid = call.answer["pid"]
        self.stdin = self.stdout = self.stderr = None
        self._call = call
        self._keep = keep
        self._valves = {Kind.STDOUT: _Valve(), Kind.STDERR: _Valve()}
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._exit.add_done_callback(lambda f: f.cancelled() or f.exception())  # it may be that nobody waits
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def following(cls, call: "_Call", *, keep: bool, pipe: bool) -> Self:
        """The process that an open call has started; made by `Sandbox.spawn`."""
        self = cls(call, keep)
        if pipe and not call.answer["again"]:
            self.stdout, self.stderr = (_reader(valve) for valve in self._valves.values())
            ours, theirs = socket.socketpair()
            _, self.stdin = await asyncio.open_connection(sock=ours)
            reader, writer = await asyncio.open_connection(sock=theirs)
            self._tasks.append(asyncio.create_task(_pass_on(reader, writer, call)))
        self._tasks.append(asyncio.create_task(self._follow()))
        return self

    async def wait(self) -> int:
        """Its exit code, negative for a signal, once all of it is gone. Raises SandboxLost, Fenced."""
        return await asyncio.shield(self._exit)

    async def kill(self) -> None:
        """Ends it and all that came from it; returns when nothing is left. Raises SandboxError (`processes-left`)."""
        for valve in self._valves.values():
            valve.stay_open()
        if not self._exit.done():
            await self._call.send(Kind.KILL)
        await asyncio.wait({self._exit}, timeout=_KILL_TIME)
        if not self._exit.done():
            raise SandboxError(f"process {self.pid} inside does not end", code="processes-left")

    async def close(self) -> None:
        """Lets go of it: a kept one lives on, another is ended first."""
        try:
            if not self._keep:
                await self.kill()
        finally:
            for task in self._tasks:
                task.cancel()
            if self.stdin:
                self.stdin.close()
            self._call.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _follow(self) -> None:
        """Output to the readers, the end to whoever waits."""
        readers = {Kind.STDOUT: self.stdout, Kind.STDERR: self.stderr}
        try:
            while True:
                for valve in self._valves.values():
                    await valve.opened.wait()
                kind, payload = await self._call.receive()
                if kind is Kind.EXIT:
                    self._exit.set_result(unpack(payload)["code"])
                    self._call.close()
                    return
                if kind is Kind.TAKEN:
                    self._call.window.give(unpack(payload)["bytes"])
                elif reader := readers.get(kind):
                    reader.feed_data(payload)
        except SandboxError as e:
            self._exit.set_exception(e)
        finally:
            for reader in readers.values():
                if reader:
                    reader.feed_eof()


class _Call:
    """One open call: what it was answered, and what goes to and fro after that."""

    def __init__(self, wire: Wire, path: str) -> None:
        self.wire = wire
        self.window = _Window()
        self.answer: dict[str, Any] = {}
        self._path = path

    async def greet(self, hello: dict[str, Any]) -> None:
        self.wire.put_json(Kind.HELLO, hello)
        self.answer = unpack((await self.receive())[1])

    async def receive(self) -> tuple[Kind, bytes]:
        """The server's next frame. Raises what an ERROR says; SandboxLost where the connection ends."""
        frame = await self.wire.receive()
        if frame is None:
            raise SandboxLost(f"{self._path} broke off: the sandbox's server is gone")
        if frame[0] is Kind.ERROR:
            raise SandboxError.from_dict(unpack(frame[1]))
        return frame

    async def send(self, kind: Kind, payload: bytes = b"") -> bool:
        """False where the server reads no more; `receive` then says why."""
        try:
            await self.wire.send(kind, payload)
        except ConnectionError:
            return False
        return True

    async def feed(self, stdin: bytes) -> None:
        """All of the command's stdin, and its end."""
        for at in range(0, len(stdin), CHUNK):
            await self.window.take(piece := stdin[at : at + CHUNK])
            await self.send(Kind.STDIN, piece)
        await self.send(Kind.END)

    async def kill(self) -> None:
        """Ends the command and waits for its end, which is the connection's."""
        try:
            async with asyncio.timeout(_KILL_TIME):
                if await self.send(Kind.KILL):
                    while await self.wire.reader.read(CHUNK):
                        pass
        except (TimeoutError, ConnectionError):
            pass  # the server ends it when the connection closes

    def close(self) -> None:
        self.wire.writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class _Window:
    """How much stdin may still be sent before the command took some, so that a KILL never stands behind it."""

    def __init__(self) -> None:
        self._left = WINDOW
        self._changed = asyncio.Event()

    async def take(self, data: bytes) -> None:
        while self._left < len(data):
            self._changed.clear()
            await self._changed.wait()
        self._left -= len(data)

    def give(self, count: int) -> None:
        self._left += count
        self._changed.set()


class _Valve(asyncio.ReadTransport):
    """What a StreamReader turns off when nobody reads it: then the connection is not read, and the child stalls."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self.opened.set()
        self._stays_open = False

    def pause_reading(self) -> None:
        if not self._stays_open:
            self.opened.clear()

    def resume_reading(self) -> None:
        self.opened.set()

    def stay_open(self) -> None:
        self._stays_open = True
        self.opened.set()


class _Tail:
    """The last bytes of a stream: where errors are."""

    def __init__(self, at_most: int) -> None:
        self.data = bytearray()
        self.truncated = False
        self._at_most = at_most

    def add(self, piece: bytes) -> None:
        self.data += piece
        if len(self.data) > self._at_most:
            self.truncated = True
            del self.data[: len(self.data) - self._at_most]


def _command(argv: Sequence[str], cwd: str, env: Mapping[str, str] | None, **more: Any) -> dict[str, Any]:
    return {"argv": list(argv), "cwd": cwd, "env": dict(env or {}), **more}


async def _collect(
    call: _Call, kept: Mapping[str, _Tail], on_output: Callable[[str, bytes], None] | None
) -> dict[str, Any]:
    """What EXIT says, after all output."""
    while True:
        kind, payload = await call.receive()
        if kind is Kind.EXIT:
            return unpack(payload)
        if kind is Kind.TAKEN:
            call.window.give(unpack(payload)["bytes"])
        elif (name := kind.name.lower()) in kept:
            kept[name].add(payload)
            if on_output:
                on_output(name, payload)


def _reader(valve: _Valve) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    reader.set_transport(valve)
    return reader


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, call: _Call) -> None:
    """What is written to `Process.stdin` goes to the server as the window allows."""
    try:
        while data := await reader.read(CHUNK):
            await call.window.take(data)
            if not await call.send(Kind.STDIN, data):
                return
        await call.send(Kind.END)
    finally:
        writer.close()


async def _pieces(data: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that fit a frame."""
    if isinstance(data, bytes | bytearray | memoryview):
        for at in range(0, len(data), FILE_CHUNK):
            yield bytes(data[at : at + FILE_CHUNK])
        return
    async for chunk in data:
        for at in range(0, len(chunk), FILE_CHUNK):
            yield chunk[at : at + FILE_CHUNK]
