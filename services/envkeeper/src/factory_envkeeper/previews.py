"""People's way to the apps of this node where the leased ports themselves cannot be reached: from outside of a container.

An app may listen on loopback alone, which no published port leads to, or on every address, beside which nobody else can
listen on that port. So each port of the range has a twin here, and what comes to the twin is piped into the sandbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio import StreamReader, StreamWriter
from functools import partial

import asyncpg
import structlog
from factory_chassis.settings import BadSettings
from factory_jobs.records import Records
from factory_sandbox.client import Sandbox
from factory_sandbox.errors import SandboxError

from . import ports
from .place import Places

log = structlog.get_logger()

CHUNK = 64 * 1024
DIAL_TIME = 10.0  # seconds for a sandbox to answer
AWAY = (SandboxError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Previews:
    """`twins` is where people come in, `leased` the node's range; the n-th of the one means the n-th of the other."""

    def __init__(
        self,
        records: Records,
        places: Places,
        *,
        leased: tuple[int, int],
        twins: tuple[int, int],
        host: str = "0.0.0.0",
    ) -> None:
        self.records, self.places = records, places
        self.leased, self.twins, self.host = leased, twins, host
        self._owners: dict[tuple[int, int], tuple[str, int]] = {}  # ports → (job, placement), as last heard

    async def run(self) -> None:
        """Raises BadSettings where a twin cannot be listened on."""
        async with contextlib.AsyncExitStack() as listening:
            for port in range(self.leased[0], self.leased[1] + 1):
                twin = self.twins[0] + port - self.leased[0]
                try:
                    server = await asyncio.start_server(partial(self._welcome, port), self.host, twin)
                except OSError as e:
                    why = os.strerror(e.errno) if e.errno else str(e)
                    raise BadSettings([f"FACTORY_PREVIEW_RANGE: cannot listen on {self.host}:{twin}: {why}"]) from None
                await listening.enter_async_context(server)
            log.info("previews", twins=f"{self.twins[0]}-{self.twins[1]}", ports=f"{self.leased[0]}-{self.leased[1]}")
            await asyncio.Event().wait()

    async def _welcome(self, port: int, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection; closed at once where nobody listens inside."""
        try:
            async with asyncio.timeout(DIAL_TIME):
                there = await self._dial(port)
            await _join((reader, writer), there)
        except AWAY as e:
            log.info("no preview", port=port, why=str(e) or repr(e))
        finally:
            writer.close()

    async def _dial(self, port: int) -> tuple[StreamReader, StreamWriter]:
        """What listens on this port in the sandbox that has leased it. Raises SandboxError, OSError, PostgresError."""
        if (known := self._owner(port)) is not None:
            try:
                return await self._sandbox(*known).connect(port)
            except SandboxError:
                pass  # it may be another's by now
        held = [o for o in await self.records.owned_on(self.places.node) if o.kind == "ports"]
        self._owners = {ports.parse(o.ref): (o.job_id, o.placement) for o in held}
        if (owner := self._owner(port)) is None:
            raise ConnectionRefusedError("no job has this port")
        return await self._sandbox(*owner).connect(port)

    def _owner(self, port: int) -> tuple[str, int] | None:
        return next((owner for (low, high), owner in self._owners.items() if low <= port <= high), None)

    def _sandbox(self, job_id: str, placement: int) -> Sandbox:
        return Sandbox(self.places.handle(job_id, placement), self.places.key, None)


async def _join(near: tuple[StreamReader, StreamWriter], far: tuple[StreamReader, StreamWriter]) -> None:
    """Bytes both ways until both have ended, or one side is gone."""
    both = [asyncio.create_task(_pour(near[0], far[1])), asyncio.create_task(_pour(far[0], near[1]))]
    try:
        await asyncio.gather(*both)
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        far[1].close()


async def _pour(source: StreamReader, sink: StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
    sink.write_eof()
