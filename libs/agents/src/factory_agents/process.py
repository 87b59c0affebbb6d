"""A running agent's pipes: what a driver needs of a process, its stderr kept short, its lines read as messages."""

import asyncio
import codecs
import json
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

TAIL = 8000  # characters of stderr that are kept for errors
CHUNK = 65536  # bytes of stderr read at once


class Stdin(Protocol):
    """The part of asyncio.StreamWriter that a driver uses."""

    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...


class Process(Protocol):
    """What `factory_sandbox.Sandbox.spawn` returns, with its pipes.

    `kill` ends the process and all that it started, also twice; `close` does so and lets go of the pipes.
    """

    @property
    def stdin(self) -> Stdin | None: ...
    @property
    def stdout(self) -> asyncio.StreamReader | None: ...
    @property
    def stderr(self) -> asyncio.StreamReader | None: ...
    async def wait(self) -> int: ...
    async def kill(self) -> None: ...
    async def close(self) -> None: ...


class StderrTail:
    """Reads stderr until its end, or the agent would stop at a full pipe; keeps the last `TAIL` characters."""

    def __init__(self, stream: asyncio.StreamReader, hear: Callable[[str], None]) -> None:
        self._pieces: deque[str] = deque()
        self._size = 0
        self._task = asyncio.create_task(self._drain(stream, hear))

    async def _drain(self, stream: asyncio.StreamReader, hear: Callable[[str], None]) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while chunk := await stream.read(CHUNK):
            text = decoder.decode(chunk)
            self._keep(text)
            hear(text)

    def _keep(self, text: str) -> None:
        self._pieces.append(text[-TAIL:])
        self._size += len(self._pieces[-1])
        while self._size - len(self._pieces[0]) >= TAIL:
            self._size -= len(self._pieces.popleft())

    async def text(self) -> str:
        """The end of what was said; waits a second at most for what a dead process left in the pipe."""
        await asyncio.wait({self._task}, timeout=1)
        return "".join(self._pieces)[-TAIL:]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


class JsonLines:
    """JSON-RPC messages, one a line, over a process's stdin and stdout: the SDK's `Transport`.

    The SDK's own wants an asyncio.StreamWriter, which a process in a sandbox does not have. `take` sees each message
    first and answers whether it was meant for it; `stray` gets lines that are no message (some agents print to stdout).
    """

    def __init__(
        self,
        stdin: Stdin,
        stdout: asyncio.StreamReader,
        take: Callable[[dict[str, Any]], bool],
        stray: Callable[[str], None],
    ) -> None:
        self._stdin, self._stdout = stdin, stdout
        self._take = take
        self._stray = stray
        self._sending = asyncio.Lock()
        self.fault = ""  # why reading stopped before the end

    async def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        async with self._sending:
            try:
                self._stdin.write(data)
                await self._stdin.drain()
            except (OSError, RuntimeError) as error:  # RuntimeError: the writer was closed
                raise ConnectionError(f"The agent takes no more input: {error}") from error

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None at the end, and where reading cannot go on (`fault` says why)."""
        while line := await self._line():
            message = self._parse(line)
            if message is not None and not self._take(message):
                return message
        return None

    async def _line(self) -> bytes:
        try:
            return await self._stdout.readline()
        except ValueError:  # asyncio's word for a line that is over the stream's limit
            self.fault = "it sent a line that is longer than the sandbox passes on"
        except OSError as error:
            self.fault = f"its output cannot be read: {error}"
        return b""

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if isinstance(message, dict):
            return message
        if line.strip():
            self._stray(line.decode(errors="replace"))
        return None

    async def close(self) -> None:
        self._stdin.close()
