"""Knows how two sides talk over a sandbox's socket: frames of a length, a kind and a payload.

    length (4 bytes, big-endian, of what follows)  kind (1 byte)  payload

A frame is 256 KiB at most. One call is one connection: HELLO, then OK or ERROR, then what the verb says.
Everything but bytes of streams is JSON.
"""

import asyncio
import json
from enum import IntEnum
from typing import Any

from .errors import Refused

VERSION = 1
MAX_FRAME = 256 * 1024
CHUNK = 64 * 1024  # bytes of a stream in one frame: what a pipe holds
FILE_CHUNK = 3 * CHUNK  # bytes of a file in one frame
WINDOW = 1024 * 1024  # bytes of stdin that a caller may have under way before the child took them
_HEAD = 4


class Kind(IntEnum):
    HELLO = 1  # caller: {v, verb, job, placement, epoch, mac, args}
    OK = 2  # server: what the verb answers
    ERROR = 3  # server: {kind, code, message}; nothing follows
    STDIN = 4  # caller: bytes for the child
    STDOUT = 5  # server: bytes of the child
    STDERR = 6  # server: bytes of the child
    TAKEN = 7  # server: {bytes}: so much stdin was taken, so much more may be sent
    KILL = 8  # caller: end this spawn
    EXIT = 9  # server: {code, timed_out}; nothing follows
    DATA = 10  # both: bytes of a file
    END = 11  # both: no more DATA, or no more STDIN


class Wire:
    """One side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def receive(self) -> tuple[Kind, bytes] | None:
        """The next frame; None where the other side is gone.

        Raises Refused (`bad-frame`) on a length or a kind that is none.
        """
        try:
            length = int.from_bytes(await self.reader.readexactly(_HEAD))
            if not 1 <= length <= MAX_FRAME - _HEAD:
                raise Refused(f"a frame of {length} bytes: 1 to {MAX_FRAME - _HEAD} are legal", code="bad-frame")
            body = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        try:
            return Kind(body[0]), body[1:]
        except ValueError:
            raise Refused(f"a frame of the unknown kind {body[0]}", code="bad-frame") from None

    def put(self, kind: Kind, payload: bytes | bytearray | memoryview = b"") -> None:
        """Queues a frame without waiting. Raises Refused (`frame-too-long`)."""
        if len(payload) >= MAX_FRAME - _HEAD:
            raise Refused(
                f"{kind.name} of {len(payload)} bytes does not fit a frame of {MAX_FRAME}: "
                "hand long input over stdin or a file",
                code="frame-too-long",
            )
        self.writer.write((len(payload) + 1).to_bytes(_HEAD) + bytes((kind,)) + payload)

    async def send(self, kind: Kind, payload: bytes | bytearray | memoryview = b"") -> None:
        """Queues a frame and waits until the other side keeps up. Raises ConnectionError where it is gone."""
        self.put(kind, payload)
        await self.writer.drain()

    def put_json(self, kind: Kind, data: dict[str, Any]) -> None:
        self.put(kind, json.dumps(data).encode())

    def close(self) -> None:
        self.writer.close()


def unpack(payload: bytes) -> dict[str, Any]:
    """The JSON object in a payload. Raises Refused (`bad-frame`)."""
    try:
        data = json.loads(payload)
    except ValueError as e:
        raise Refused(f"a frame that should hold JSON does not: {e}", code="bad-frame") from e
    if not isinstance(data, dict):
        raise Refused("a frame that should hold a JSON object holds something else", code="bad-frame")
    return data
